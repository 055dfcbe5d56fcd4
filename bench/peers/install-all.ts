/** Installs the peers that benchmarks and tests compare with: Ray, Ray's tools, Piscina. */
import { piscinaCommand, rayCommand, rayTools } from "./install.ts";

await rayCommand(console.log);
await rayTools(console.log);
await piscinaCommand(console.log);
