export { type MobulaPluginOptions, mobula } from "./plugin.ts";
