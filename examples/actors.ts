/** Classes become actors: objects that live in a worker and keep their state between calls. */
import { ActorPool, get, getActor, init, isError, onRestart, Queue, remote, shutdown } from "mobula";

class Account {
  #balance = 0;
  #wasRestarted = false;

  deposit(amount: number): number {
    this.#balance += amount;
    return this.#balance;
  }
  wasRestarted(): boolean {
    return this.#wasRestarted;
  }
  pid(): number {
    return process.pid;
  }
  /** Called instead of starting afresh when the actor's process has died. */
  async [onRestart](): Promise<void> {
    this.#wasRestarted = true;
  }
}

await init();

// Calls of one caller run one after the other, in the order in which they were made.
const account = remote(Account, { name: "savings", maxRestarts: 1 }).remote();
for (const amount of [10, 20, 30]) account.deposit.remote(amount);
console.log("balance", await get(account.deposit.remote(0)));

// Others find it by its name.
const sameAccount = await getActor<Account>("savings");
console.log("by name", await get(sameAccount.deposit.remote(40)));

// When its process is killed it is made again. Its memory is gone: keep what must last elsewhere.
process.kill(await get(account.pid.remote()), "SIGKILL");
const restarted = async (): Promise<boolean> => {
  try {
    return await get(account.wasRestarted.remote());
  } catch (error) {
    // The call that was running when it died may or may not have happened; asking again is harmless here.
    if (isError(error, "ACTOR_UNAVAILABLE")) return restarted();
    throw error;
  }
};
console.log("restarted", await restarted(), "with balance", await get(account.deposit.remote(0)));

// Several actors as a pool: each does one call at a time.
class Squarer {
  square(x: number): number {
    return x * x;
  }
}
const squarers = remote(Squarer);
const pool = new ActorPool([squarers.remote(), squarers.remote()]);
const squares: number[] = [];
for await (const square of pool.map((actor, x: number) => actor.square.remote(x), [1, 2, 3, 4])) squares.push(square);
console.log("squares", squares);

// A queue between tasks.
const queue = new Queue<string>({ maxSize: 2 });
const produce = remote(async (to: Queue<string>) => {
  for (const word of ["one", "two", "three", "end"]) await to.put(word);
});
const produced = produce.remote(queue);
const words: string[] = [];
for (let word = await queue.get(); word !== "end"; word = await queue.get()) words.push(word);
await get(produced);
console.log("from the queue", words);

await shutdown();
