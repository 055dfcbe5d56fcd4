/** Names of the optional hooks of an actor's class. */
import { HOOKS } from "../worker/mod.ts";

/** `async [onStart]()` runs after the constructor. */
export const onStart: unique symbol = HOOKS.onStart as never;
/** `async [onRestart](context)` runs instead of `onStart` when the actor was restarted; `context.incarnation` counts from 1. */
export const onRestart: unique symbol = HOOKS.onRestart as never;
/** `async [onShutdown]()` has 30 s on exit, on the release of the last handle and on shutdown; not on kill or crash. */
export const onShutdown: unique symbol = HOOKS.onShutdown as never;
