/** Where the dashboard was built to: beside the bundles in the package, and in its own folder in a checkout. */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const isSource = import.meta.url.endsWith(".ts");
// From src/state, or from dist/lib, where the bundle lies.
const place = fileURLToPath(new URL(isSource ? "../../../dashboard/dist" : "../dashboard", import.meta.url));

/** Undefined where it was not built. */
export const dashboardFiles = (): string | undefined => (existsSync(`${place}/index.html`) ? place : undefined);
