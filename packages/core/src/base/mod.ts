export * from "./assert.ts";
export * from "./errors.ts";
export * from "./heap-shrinker.ts";
export * from "./ids.ts";
export * from "./limits.ts";
export * from "./prng.ts";
export * from "./resources.ts";
