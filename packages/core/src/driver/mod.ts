export { type Driver, type DriverOptions, startDriver } from "./driver.ts";
export { type InlineOptions, startInline } from "./inline.ts";
