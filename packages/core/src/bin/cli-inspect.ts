/** What `mobula stack` and `mobula profile` have in common: which process is meant, and how an inspection is read. */
import type { FoundProcess } from "../wire/inspection.ts";
import { actorCalled } from "./actor-called.ts";
import type { Asks } from "./cli-ask.ts";

export const WHICH_IDS = `The id is a pid; or that of a worker, of a task (runtimeContext().taskId), of a ref (ref.id) whose task runs, or of an
actor, which may also be named by its name or its class.`;

const LISTED_MAX = 20;

/** @param node the name or id of one, for a pid that several have. @throws when there is not exactly one. */
export async function processCalled(ask: Asks, id: string, node: string | undefined): Promise<FoundProcess> {
  const found = (await candidates(ask, id)).filter(
    ({ nodeId, nodeName }) => node === undefined || nodeId === node || nodeName === node,
  );
  const [first] = found;
  if (!first) {
    const where = node === undefined ? "" : ` on node ${node}`;
    throw new Error(`${id} is no worker and no driver${where}; \`mobula stack --all\` shows which there are`);
  }
  if (found.length === 1) return first;
  const named = found.map(({ pid, nodeName, nodeId }) => `  ${pid} on ${nodeName} (${nodeId})`);
  throw new Error(
    `${found.length} processes are called ${id}; say which with --node:\n${named.slice(0, LISTED_MAX).join("\n")}`,
  );
}

async function candidates(ask: Asks, id: string): Promise<readonly FoundProcess[]> {
  if (/^\d{1,10}$/.test(id) || /^[0-9a-f]{16}$/.test(id)) return ask("find-process", { id });
  const what = /^[0-9a-f]{24,}(\.[0-9a-z]+)?$/.test(id) ? id : await livingActor(ask, id);
  const { process, state, sentences } = await ask("explain-id", { id: what });
  if (!process) throw new Error(`${id} is in no process now: ${state}. ${sentences[0] ?? ""}`.trimEnd());
  const { pid, nodeId } = process;
  const found = await ask("find-process", { id: String(pid), nodeId });
  if (found.length === 0) throw new Error(`${id} was in process ${pid}, which has just ended`);
  return found;
}

async function livingActor(ask: Asks, name: string): Promise<string> {
  const found = await actorCalled(ask, name);
  if (!found || found.state === "dead") {
    throw new Error(`"${name}" is no pid and no id, and no actor that lives has that name or class`);
  }
  return found.actorId;
}
