/**
 * Ray's control store (its "GCS"), as far as Ray's tools ask it when they are given `host:port`: what cluster it is, and values by their
 * keys, by gRPC, on the port of HTTP. One of these values tells where the dashboard is; the tools ask everything else there.
 */
import type { Http2Server } from "node:http2";
import { wallMs } from "../base/clock.ts";
import { randomBytes } from "../base/random.ts";
import type { StateService, Verdict } from "../state/mod.ts";
import { clusterStatus } from "./cluster-status.ts";
import { createGrpcServer, GRPC, type GrpcCall, GrpcError } from "./grpc.ts";
import { RAY_VERSION } from "./job-routes.ts";
import { nodeStats, oneNode, storeStats } from "./memory-report.ts";
import { bytesField, bytesFields, MalformedMessageError, numberField } from "./protobuf.ts";
import { placesOf } from "./state-rows.ts";

export interface ControlStoreOptions {
  readonly state: Pick<StateService, "list" | "sources">;
  /** By the `authorization` of a request that changes nothing. */
  decide(authorization: string | undefined): Verdict;
  log(message: string): void;
}

/** `ray.rpc.GcsStatus`: where a key has no value, Ray's clients want to hear this. */
const NOT_FOUND = bytesField(1, Buffer.concat([numberField(1, 17), bytesField(2, "there is no such key")]));
const GOOD = bytesField(1, "");
const CLUSTER_ID_BYTES = 28;
const ALL = { filters: [], limit: Number.POSITIVE_INFINITY };

export function rayControlStore({ state, decide, log }: ControlStoreOptions): Http2Server {
  // Its clients send it along, and it is the same for as long as they may.
  const clusterId = randomBytes(CLUSTER_ID_BYTES);
  return createGrpcServer({
    letIn({ authorization }) {
      const verdict = decide(authorization);
      if ("role" in verdict) return;
      throw new GrpcError(verdict.status === 401 ? GRPC.unauthenticated : GRPC.permissionDenied, verdict.message);
    },
    async answer({ method, authority, message }) {
      switch (method) {
        case "/ray.rpc.NodeInfoGcsService/GetClusterId":
          return Buffer.concat([GOOD, bytesField(2, clusterId)]);
        case "/ray.rpc.InternalKVGcsService/InternalKVGet": {
          const value = await valueAt(state, authority, keyIn(message));
          return value === undefined ? NOT_FOUND : Buffer.concat([GOOD, bytesField(2, value)]);
        }
        case "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo":
          return Buffer.concat([GOOD, oneNode(authority, clusterId)]);
        case "/ray.rpc.NodeManagerService/GetNodeStats": {
          const [objects, nodes, workers] = await Promise.all([
            state.list("objects", ALL),
            state.list("nodes", ALL),
            state.list("workers", ALL),
          ]);
          return nodeStats(objects.rows, placesOf(nodes.rows, workers.rows));
        }
        case "/ray.rpc.NodeManagerService/FormatGlobalMemoryInfo": {
          const [objects, nodes] = await Promise.all([
            state.list("objects", { filters: [], limit: 0 }),
            state.list("nodes", ALL),
          ]);
          return storeStats(nodes.rows, objects.total);
        }
        default:
          throw new GrpcError(
            GRPC.unimplemented,
            `Mobula does not answer ${method}: this tool of Ray needs a cluster of Ray`,
          );
      }
    },
    log,
  });
}

/** Of an `InternalKVGetRequest`. @throws GrpcError */
function keyIn(message: GrpcCall["message"]): string {
  try {
    const fields = bytesFields(message);
    return `${fields.get(2) ?? ""}/${fields.get(1) ?? ""}`;
  } catch (error) {
    if (error instanceof MalformedMessageError) throw new GrpcError(GRPC.internal, error.message);
    throw error;
  }
}

/** @param key namespace and key. */
async function valueAt(
  state: ControlStoreOptions["state"],
  authority: string,
  key: string,
): Promise<string | undefined> {
  switch (key) {
    case "dashboard/dashboard":
      // As the client has come here, so that it comes through a tunnel too.
      return authority || undefined;
    case "cluster/CLUSTER_METADATA":
      return JSON.stringify({ ray_version: RAY_VERSION, python_version: "", ray_init_cluster: false });
    case "/__autoscaling_status": {
      const [nodes, groups, waiting] = await Promise.all([
        state.list("nodes", ALL),
        state.list("placement-groups", ALL),
        state.sources.waiting(),
      ]);
      return JSON.stringify(clusterStatus({ nodes: nodes.rows, groups: groups.rows, waiting }, wallMs()));
    }
    default:
      return undefined;
  }
}
