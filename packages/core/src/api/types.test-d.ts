/**
 * Checks the inference of the public types. The compiler is the test runner: `Equal` fails to compile when two types
 * differ, and every `@ts-expect-error` fails when the line below it compiles.
 */
import type {
  ActorHandle,
  Argument,
  GetFunction,
  ObjectRef,
  ObjectRefStream,
  PutFunction,
  RemoteFunction,
  RemoteFunctionFactory,
  Returned,
  RuntimeContextFunction,
  TaskOptions,
  WaitFunction,
} from "./types.ts";

declare const remote: RemoteFunctionFactory;
declare const get: GetFunction;
declare const wait: WaitFunction;
declare const put: PutFunction;
declare const runtimeContext: RuntimeContextFunction;

type Equal<A, B> = (<X>() => X extends A ? 1 : 2) extends <X>() => X extends B ? 1 : 2 ? true : false;
/** Compiles only when the type of `value` is exactly `Expected`. */
declare function exactly<Expected>(): <Actual>(
  value: Actual,
  ..._: Equal<Actual, Expected> extends true ? [] : [{ expected: Expected; actual: Actual }]
) => void;

declare const numberRef: ObjectRef<number>;
declare const stringRef: ObjectRef<string>;

// ── functions ────────────────────────────────────────────────────────────────────────────────────────────────────────
export async function functions(): Promise<void> {
  const square = remote((x: number) => x * x);
  exactly<ObjectRef<number>>()(square.remote(2));
  exactly<ObjectRef<number>>()(square.remote(numberRef));
  exactly<number>()(await get(square.remote(2)));
  // @ts-expect-error a string is not a number
  square.remote("2");
  // @ts-expect-error a ref of a string is not a number either
  square.remote(stringRef);
  // @ts-expect-error an argument is missing
  square.remote();
  // @ts-expect-error an argument too many
  square.remote(1, 2);
  // @ts-expect-error a remote function is not called directly
  square(2);

  const noArguments = remote(() => 5);
  exactly<ObjectRef<5>>()(noArguments.remote());
  // @ts-expect-error it takes no argument
  noArguments.remote(1);

  const readonlyRest = remote((first: string, ...rest: readonly number[]) => rest.length + first.length);
  exactly<ObjectRef<number>>()(readonlyRest.remote("a", 1, numberRef));
  // @ts-expect-error the rest are numbers
  readonlyRest.remote("a", "b");

  const optional = remote((a: string, b?: number, ...rest: boolean[]) => `${a}${b}${rest}`);
  optional.remote("a");
  optional.remote(stringRef, numberRef, true, false);
  // @ts-expect-error the rest are booleans
  optional.remote("a", 1, "no");

  exactly<ObjectRef<string>>()(remote(async (x: string) => x).remote("a"));
  exactly<ObjectRef<never>>()(
    remote(() => {
      throw new Error("always");
    }).remote(),
  );
  exactly<ObjectRef<void>>()(remote(() => {}).remote());
  exactly<ObjectRef<ObjectRef<number>>>()(remote(() => numberRef).remote());
  exactly<ObjectRef<number[]>>()(remote((n: number) => [n]).remote(1));
  exactly<ObjectRef<boolean>>()(remote((a: boolean) => a).remote(true));
  exactly<ObjectRef<Map<string, number>>>()(remote(() => new Map<string, number>()).remote());

  // A union parameter takes a value of either, and a ref of either.
  const either = remote((x: number | string) => x);
  either.remote(numberRef);
  either.remote(stringRef);
  either.remote("a");

  // Refs inside containers stay refs.
  const nested = remote((refs: readonly ObjectRef<number>[]) => refs.length);
  nested.remote([numberRef]);
  // A parameter that is a ref would be resolved before the call, so it must be wrapped.
  const takesRef = remote((ref: ObjectRef<number>) => ref.id);
  // @ts-expect-error see above
  takesRef.remote(numberRef);

  const anything = remote((x: unknown) => x);
  anything.remote(1);
  anything.remote(numberRef);
}

// ── overloads and generics ───────────────────────────────────────────────────────────────────────────────────────────
declare function overloaded(x: string): number;
declare function overloaded(x: number, y: number): Promise<string>;
declare function threeWays(x: string): number;
declare function threeWays(x: number): string;
declare function threeWays(x: Date, y: boolean): bigint;
declare function identity<T>(x: T): T;

export function overloads(): void {
  const f = remote(overloaded);
  exactly<ObjectRef<number>>()(f.remote("a"));
  exactly<ObjectRef<string>>()(f.remote(1, 2));
  // @ts-expect-error neither overload takes one number
  f.remote(1);
  const g = remote(threeWays);
  exactly<ObjectRef<number>>()(g.remote("a"));
  exactly<ObjectRef<string>>()(g.remote(1));
  exactly<ObjectRef<bigint>>()(g.remote(new Date(), true));
  // @ts-expect-error no overload takes nothing
  g.remote();
  exactly<ObjectRef<number>>()(remote(identity<number>).remote(1));
  exactly<ObjectRef<unknown>>()(remote(identity).remote(1));
}

// ── several results and streams ──────────────────────────────────────────────────────────────────────────────────────
export async function results(): Promise<void> {
  const pair = remote(() => [1, "a"] as const satisfies readonly [number, string], { numReturns: 2 });
  const [one, a] = pair.remote();
  exactly<ObjectRef<1>>()(one);
  exactly<ObjectRef<"a">>()(a);
  exactly<[1, "a"]>()(await get(pair.remote()));
  const list = remote((n: number) => Array.from({ length: n }, () => n), { numReturns: 3 });
  exactly<readonly [ObjectRef<number>, ObjectRef<number>, ObjectRef<number>]>()(list.remote(3));
  exactly<ObjectRef<number[]>>()(list.options({ numReturns: 1 }).remote(3));
  exactly<readonly [ObjectRef<number>, ObjectRef<number>]>()(
    remote(() => [1, 2])
      .options({ numReturns: 2 })
      .remote(),
  );
  const three = remote(async (): Promise<[number, string]> => [1, "a"], { numReturns: 3 });
  exactly<ObjectRef<never>>()(three.remote()[2]);
  // Other options keep the number of results.
  exactly<readonly [ObjectRef<number>, ObjectRef<number>, ObjectRef<number>]>()(list.options({ name: "x" }).remote(1));

  exactly<ObjectRefStream<number>>()(
    remote(function* (n: number) {
      for (let i = 0; i < n; i++) yield i;
    }).remote(2),
  );
  exactly<ObjectRefStream<string>>()(
    remote(async function* () {
      yield "a";
    }).remote(),
  );
  function* declared(): IterableIterator<number> {
    yield 1;
  }
  exactly<ObjectRefStream<number>>()(remote(declared).remote());
  exactly<ObjectRefStream<never>>()(null as unknown as Returned<AsyncGenerator<never>>);
  for await (const ref of remote(declared).remote()) exactly<ObjectRef<number>>()(ref);
  for await (const value of remote(declared).remote().values()) exactly<number>()(value);
}

// ── get, wait, put ───────────────────────────────────────────────────────────────────────────────────────────────────
export async function objects(): Promise<void> {
  exactly<[number, string]>()(await get([numberRef, stringRef] as const));
  exactly<[number, string]>()(await get([numberRef, stringRef]));
  const many = [1, 2].map(() => numberRef);
  exactly<number[]>()(await get(many));
  const readonlyMany: readonly ObjectRef<number>[] = many;
  exactly<number[]>()(await get(readonlyMany));
  // @ts-expect-error a value is not a ref
  await get(5);
  // @ts-expect-error nor is a promise
  await get(Promise.resolve(numberRef));
  const { ready, pending } = await wait(many, { numReturns: 2, timeoutMs: 10 });
  exactly<ObjectRef<number>[]>()(ready);
  exactly<ObjectRef<number>[]>()(pending);
  const mixed = await wait([numberRef, null as unknown as ObjectRefStream<string>]);
  exactly<(ObjectRef<number> | ObjectRefStream<string>)[]>()(mixed.ready);
  exactly<ObjectRef<number>>()(put(5 as number));
  exactly<ObjectRef<{ a: number }>>()(put({ a: 1 }));
  // @ts-expect-error a ref is not put again
  put(numberRef);
  // A ref is not thenable: awaiting it gives the ref.
  exactly<ObjectRef<number>>()(await numberRef);
  // Covariant: a ref of a number is a ref of something.
  const anyRef: ObjectRef = numberRef;
  // @ts-expect-error and not the other way round
  const back: ObjectRef<number> = anyRef;
  void back;
  exactly<number | ObjectRef<number>>()(null as unknown as Argument<number>);
}

// ── actors ───────────────────────────────────────────────────────────────────────────────────────────────────────────
class Counter {
  n = 0;
  readonly label: string;
  #secret = 1;
  constructor(start: number, label = "counter") {
    this.n = start + this.#secret;
    this.label = label;
  }
  add(by = 1): number {
    this.hidden();
    return this.guarded(by);
  }
  async slow(): Promise<string> {
    return this.label;
  }
  *count(to: number): Generator<number> {
    yield to;
  }
  pair(): [number, string] {
    return [1, "a"];
  }
  arrow = (x: string): string => x;
  id(): string {
    return "a method may be called id";
  }
  // biome-ignore lint/suspicious/noThenProperty: the point of the test is that it does not become part of the handle.
  then(): void {}
  private hidden(): void {}
  protected guarded(by: number): number {
    return by;
  }
}
abstract class Shape {
  abstract area(): number;
}
class Box<T> {
  value: T;
  constructor(value: T) {
    this.value = value;
  }
  read(): T {
    return this.value;
  }
}

export async function actors(): Promise<void> {
  const RemoteCounter = remote(Counter, { maxRestarts: 3, methods: { slow: { concurrencyGroup: "io" } } });
  const counter = RemoteCounter.remote(1);
  exactly<ActorHandle<Counter>>()(counter);
  RemoteCounter.remote(numberRef, "x");
  // @ts-expect-error the constructor takes a number
  RemoteCounter.remote("1");
  exactly<ObjectRef<number>>()(counter.add.remote(2));
  exactly<ObjectRef<number>>()(counter.add.remote());
  exactly<ObjectRef<string>>()(counter.slow.remote());
  exactly<ObjectRef<string>>()(counter.id.remote());
  exactly<ObjectRefStream<number>>()(counter.count.remote(3));
  exactly<ObjectRef<string>>()(counter.arrow.remote("a"));
  exactly<readonly [ObjectRef<number>, ObjectRef<string>]>()(counter.pair.options({ numReturns: 2 }).remote());
  // @ts-expect-error add takes a number
  counter.add.remote("2");
  // @ts-expect-error fields are not exposed
  counter.n;
  // @ts-expect-error private methods are not exposed
  counter.hidden;
  // @ts-expect-error protected methods are not exposed
  counter.guarded;
  // @ts-expect-error a handle is not thenable
  counter.then;
  // @ts-expect-error an abstract class has no instances
  remote(Shape);
  // @ts-expect-error there is no method of that name
  remote(Counter, { methods: { slwo: { concurrencyGroup: "io" } } });
  exactly<ObjectRef<number>>()(
    remote(Box<number>)
      .remote(1)
      .read.remote(),
  );
  using disposable = remote(Counter).remote(1);
  void disposable;
  // Handles travel as arguments.
  remote((handle: ActorHandle<Counter>) => get(handle.add.remote(1))).remote(counter);
  const self = runtimeContext<Counter>().self;
  if (self) exactly<ObjectRef<number>>()(self.add.remote(1));
}

// ── options ──────────────────────────────────────────────────────────────────────────────────────────────────────────
export function options(): void {
  const task = remote((x: number) => x, { numCpus: 2, retryExceptions: [TypeError, RangeError], priority: 3 });
  task.options({ retryExceptions: (error) => error instanceof Error });
  // @ts-expect-error unknown option beside known ones
  remote(() => 1, { numCpus: 1, numCpu: 2 });
  // @ts-expect-error an actor's option is not a task's
  task.options({ maxRestarts: 1 });
  // @ts-expect-error retryExceptions takes error classes
  task.options({ retryExceptions: [Date] });
  // @ts-expect-error a task's option is not an actor's
  remote(Counter, { maxCalls: 1 });
  const shared: TaskOptions = { numCpus: 1 };
  exactly<ObjectRef<1>>()(remote(() => 1, shared).remote());
  const typed: RemoteFunction<(x: number) => number> = task;
  exactly<ObjectRef<number>>()(typed.remote(1));
}
