export { type Driver, type DriverOptions, startDriver } from "./driver.ts";
