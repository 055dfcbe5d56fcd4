/** The network of a cluster of `mobula/testing`; started by the kit as a worker thread. */
import { runNetworkThread } from "../testing/network-thread.ts";
import { runEntry } from "./entries.ts";

runEntry(() => runNetworkThread());
