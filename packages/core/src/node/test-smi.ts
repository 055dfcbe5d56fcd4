/** A stand-in for `nvidia-smi`: a real program that is found on PATH, and says what is in its files at the moment. */
import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface FakeSmi {
  /** Its folder is the first of it. */
  readonly path: string;
  /** The lines that it prints from now on, again and again. */
  say(lines: { readonly gpus?: string; readonly processes?: string }): void;
  remove(): void;
}

export function fakeSmi(): FakeSmi {
  const folder = mkdtempSync(join(tmpdir(), "mobula-smi-"));
  const say: FakeSmi["say"] = (lines) => {
    for (const [name, text] of Object.entries(lines)) {
      // It reads whole files only.
      writeFileSync(join(folder, `${name}.new`), text === "" ? "" : `${text.trimEnd()}\n`);
      renameSync(join(folder, `${name}.new`), join(folder, name));
    }
  };
  say({ gpus: "", processes: "" });
  // As the real one: fields that it is asked for, and every so many milliseconds with -lms.
  const script = `#!/bin/sh
case "$1" in
  --query-gpu=index,uuid) cut -d, -f1,2 ${folder}/gpus; exit ;;
  --query-gpu=index,uuid,utilization.gpu,memory.used,memory.total,temperature.gpu,power.draw,power.limit,name) of=gpus ;;
  --query-compute-apps=gpu_uuid,pid,used_gpu_memory) of=processes ;;
  *) echo "Field is not a valid field to query."; exit 2 ;;
esac
[ "$2 $3" = "--format=csv,noheader,nounits -lms" ] || exit 2
while :; do
  read -r first < ${folder}/$of
  case "$first" in
    hang) exec sleep 1000 ;;
    exit) exit 9 ;;
  esac
  cat ${folder}/$of
  sleep "$(printf '%d.%03d' $(($4 / 1000)) $(($4 % 1000)))"
done
`;
  writeFileSync(join(folder, "nvidia-smi"), script, { mode: 0o755 });
  return {
    path: `${folder}:${process.env.PATH}`,
    say,
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}
