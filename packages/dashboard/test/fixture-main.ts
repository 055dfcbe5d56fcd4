/** `npm run fixture --workspace packages/dashboard [-- PORT]`: builds the dashboard and serves it over a made-up cluster. */
import { buildDashboard } from "../scripts/build.ts";
import { startFixture } from "./fixture-server.ts";

const { url } = await startFixture({ files: await buildDashboard(), port: Number(process.argv[2] ?? 8299) });
console.log(url);
