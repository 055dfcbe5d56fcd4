/**
 * Part of the built package's bundles, which the build makes call it: what users import lies in them among everything
 * else, so where it is imported from has to be told.
 */
import { noteApi } from "../closure/mod.ts";

/** @param api what `mobula.cjs`, beside the folder of the bundles, exports. */
export function noteOwnApi<T extends object>(api: T): T {
  noteApi(new URL("../mobula.cjs", import.meta.url).href, api);
  return api;
}
