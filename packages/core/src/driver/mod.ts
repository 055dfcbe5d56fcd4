export { type Driver, STOPPED, startDriver } from "./driver.ts";
export { startInline } from "./inline.ts";
