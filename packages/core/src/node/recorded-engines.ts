/** Which engines of a node are recorded (recording.ts). */
import { type Control, type ControlEffects, type ControlOptions, createControl } from "../control/mod.ts";
import { LeaseEngine, type LeaseEngineOptions } from "../scheduler/mod.ts";
import { LeaseBroker, type LeaseBrokerEffects } from "./lease-broker.ts";
import { LocalGroups, type LocalGroupsEffects } from "./local-groups.ts";
import { OwnGroups, type OwnGroupsOptions } from "./own-groups.ts";
import { type EngineKind, withWorld } from "./recording.ts";

type LeasesWorld = Pick<LeaseEngineOptions, "newWorkerId">;

export const LEASES: EngineKind<Omit<LeaseEngineOptions, keyof LeasesWorld>, LeasesWorld, LeaseEngine> = {
  name: "leases",
  make: (options, { newWorkerId }) => new LeaseEngine({ ...options, newWorkerId }),
  told: ["step"],
};

interface BrokerOptions extends Pick<LeaseBrokerEffects, "hasControl"> {
  readonly here: ConstructorParameters<typeof LeaseBroker>[0];
}

export const BROKER: EngineKind<BrokerOptions, Omit<LeaseBrokerEffects, "hasControl">, LeaseBroker> = {
  name: "broker",
  make: ({ here, hasControl }, world) => new LeaseBroker(here, withWorld({ hasControl }, world)),
  told: [
    ...(["clustered", "welcomed", "drain", "demand", "groupsChanged", "fromHere", "giveBack", "kept"] as const),
    ...(["clientGone", "divided", "limitsChanged", "fromNode", "nodeDied"] as const),
  ],
};

type LocalGroupsOptions = Pick<LocalGroupsEffects, "labels"> & Pick<LocalGroupsEffects["pool"], "total">;
type LocalGroupsWorld = Omit<LocalGroupsEffects, "labels" | "pool"> & Pick<LocalGroupsEffects["pool"], "freeOf">;

export const LOCAL_GROUPS: EngineKind<LocalGroupsOptions, LocalGroupsWorld, LocalGroups> = {
  name: "local-groups",
  make: ({ labels, total }, world) =>
    new LocalGroups(withWorld({ labels, pool: { total, freeOf: (name: string) => world.freeOf(name) } }, world)),
  told: ["create", "remove", "take", "order", "noted", "welcomed", "lost", "tell", "close"],
};

type OwnGroupsFixed = Pick<OwnGroupsOptions, "nodeId" | "name" | "total">;

export const OWN_GROUPS: EngineKind<OwnGroupsFixed, Omit<OwnGroupsOptions, keyof OwnGroupsFixed>, OwnGroups> = {
  name: "own-groups",
  make: (options, world) => new OwnGroups(withWorld(options, world)),
  told: ["query", "take", "misplaced", "jobEnded", "close"],
};

type Cluster = NonNullable<ControlOptions["cluster"]>;

interface HomeOptions extends Pick<ControlOptions, "nodeId" | "epoch"> {
  /** In a cluster. */
  readonly home: Pick<Cluster, "here" | "actors"> | undefined;
}

/** What others are to do with actors is the head's to say. */
type HomeWorld = Required<Omit<ControlEffects, "actorRecorded" | "actorSettled"> & Pick<Cluster, "resolve">> &
  Cluster["elsewhere"];

export const CONTROL: EngineKind<HomeOptions, HomeWorld, Control> = {
  name: "control",
  make: ({ nodeId, epoch, home }, world) => {
    const { nowMs, send, requestActorWorker, releaseActorWorker, explainRequest, killWorker } = world;
    const { backUp, keepUp, freeStored, persist, grant, release, resolve } = world;
    return createControl(
      {
        ...{ nowMs, send, requestActorWorker, releaseActorWorker, explainRequest, killWorker },
        ...{ backUp, keepUp, freeStored, persist },
      },
      { nodeId, epoch, ...(home && { cluster: { ...home, elsewhere: { grant, release }, resolve } }) },
    );
  },
  told: [
    ...(["processJoined", "processGone", "handle", "query", "actorWorkerReady", "actorWorkerRefused"] as const),
    ...(["workerDied", "tick", "shutdown", "keepFor", "dropFor", "homesDied", "valuesInherited"] as const),
    ...(["handedOn", "holdsInherited"] as const),
  ],
};
