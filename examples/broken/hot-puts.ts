/**
 * Each word is put by itself, and its ref passed to a task: the ref costs more than the word.
 *
 * Fixed: the words themselves in a list, `count.remote(words)`; or one `put(words)` that several tasks use.
 */
import { setTimeout as delay } from "node:timers/promises";
import { get, init, type ObjectRef, put, remote } from "mobula";

const { dashboardUrl } = await init({ resources: { cpu: 1 } });
console.log(dashboardUrl);

const count = remote(function count(words: readonly ObjectRef<string>[]) {
  return words.length;
});
const text = "to be or not to be that is the question".split(" ");
for (let line = 0; ; line++) {
  const refs: ObjectRef<string>[] = [];
  for (let at = 0; at < 500; at++) refs.push(put(`${text[at % text.length]} ${line}`));
  await get(count.remote(refs));
  await delay(50);
}
