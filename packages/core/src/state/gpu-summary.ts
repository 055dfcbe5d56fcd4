/** What the GPUs of a cluster are, in a few numbers. Pure. */
import type { NodeRow, Overview } from "./rows.ts";

export function gpusOf(nodes: readonly Pick<NodeRow, "gpus">[]): Overview["gpus"] {
  const all = nodes.flatMap(({ gpus }) => gpus);
  if (all.length === 0) return null;
  const used = all.flatMap(({ utilisationPercent }) => utilisationPercent ?? []);
  const withMemory = all.filter(
    ({ memoryUsedBytes, memoryTotalBytes }) => memoryUsedBytes !== null && memoryTotalBytes !== null,
  );
  return {
    count: all.length,
    utilisationPercent: used.length === 0 ? null : used.reduce((sum, percent) => sum + percent, 0) / used.length,
    memoryUsedBytes: withMemory.reduce((sum, { memoryUsedBytes }) => sum + (memoryUsedBytes ?? 0), 0),
    memoryTotalBytes: withMemory.reduce((sum, { memoryTotalBytes }) => sum + (memoryTotalBytes ?? 0), 0),
    problems: all.filter(({ problem }) => problem !== null).length,
  };
}
