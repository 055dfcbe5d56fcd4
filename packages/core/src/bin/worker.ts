/** A worker process of one node, which starts it with its configuration in MOBULA_WORKER. */

import { useWorkerClient } from "../api/mod.ts";
import { InvalidOptionError } from "../base/errors.ts";
import { dieWithParent, useNativePath } from "../store/mod.ts";
import type { WorkerConfig } from "../wire/mod.ts";
import { failExecution, installOutputTags, keepWatch, runWorker, shieldLoading, tagOutput } from "../worker/mod.ts";
import { ENDING } from "./code-cache-names.ts";
import { runEntry } from "./entries.ts";

runEntry(async () => {
  const text = process.env.MOBULA_WORKER;
  if (text === undefined) throw new InvalidOptionError("MOBULA_WORKER is not set; workers are started by their node");
  const config = JSON.parse(text) as WorkerConfig; // Written by the node of the same package.
  // Programs that a task starts are not workers.
  delete process.env.MOBULA_WORKER;
  // The terminal's Ctrl-C is the driver's business; ours ends by signal or with the node.
  if (!keepWatch()) process.on("SIGINT", () => {});
  shieldLoading();
  process.on("unhandledRejection", (error) => {
    if (!failExecution(error)) console.error("a promise of a task was rejected and nobody handled it:", error);
  });
  if (config.nativePath !== undefined) useNativePath(config.nativePath);
  installOutputTags();
  await runWorker(config, {
    onClient: useWorkerClient,
    tagOutput,
    onEnding: () => process.emit(ENDING as never),
  });
  // A node that was killed cannot end a worker in an endless loop, which does not see its connection close.
  if (!dieWithParent(config.nodePid)) process.kill(process.pid, "SIGKILL");
});
