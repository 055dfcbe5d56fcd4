export { type Driver, STOPPED, startDriver } from "./driver.ts";
export { startInline } from "./inline.ts";
export { PLACE, type Place } from "./place.ts";
