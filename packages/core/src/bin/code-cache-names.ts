/** Names the file of a process's code cache; set by whoever starts it. */
export const CODE_CACHE_VARIABLE = "MOBULA_CODE_CACHE";
/** The event of `process` that a program sends before it ends in order. */
export const ENDING = Symbol.for("mobula.ending");
