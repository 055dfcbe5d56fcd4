export { type Driver, startDriver } from "./driver.ts";
export { startInline } from "./inline.ts";
