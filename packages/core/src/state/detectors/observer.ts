/**
 * Gathers what detectors look at. Control is asked each second anyway. Owners are asked for their tasks, and nodes for their
 * objects, every few seconds, and less often when that takes long: looking may not cost more than a twentieth of the time.
 */
import { monotonicMs, wallMs } from "../../base/clock.ts";
import type { Ask } from "../control-client.ts";
import type { Links } from "../links.ts";
import type { NodeRow } from "../rows.ts";
import type { Sources } from "../sources.ts";
import type { Tasks } from "../tasks.ts";
import type { Alarms } from "./alarms.ts";
import { suspects } from "./deadlocked-waits.ts";
import type { DiskTraffic, LiveSeen, MachineSeen, Observation, SiteSeen } from "./detector.ts";
import { isNearlyFull } from "./store.ts";

export interface ObserverOptions {
  readonly links: Pick<Links, "askAll" | "get">;
  readonly ask: Ask;
  readonly sources: Pick<Sources, "waiting" | "groups" | "actorTable">;
  readonly tasks: Pick<Tasks, "functions" | "packed" | "puts" | "endedSummary">;
  readonly alarms: Alarms;
}

const TASKS_EVERY_MS = 5_000;
const OBJECTS_EVERY_MS = 10_000;
/** It rests so many times as long as an answer took; not so long that nothing is known of the time between. */
const REST_TIMES = 20;
const REST_MS_MAX = 25_000;
/** Of each owner, and of each node. */
const TASKS_MAX = 1_000;
const OBJECTS_MAX = 200;
/** Of control, about what waits for what, in one look. */
const WAITS_MAX = 200;
const PIDS_MAX = 3;

const NO_LIVE: LiveSeen = { tasks: [], counts: [], backlogs: new Map(), isWhole: true };

/** When it may ask again after what it has asked since then. */
function rested(beganMs: number): number {
  const nowMs = monotonicMs();
  return nowMs + Math.min(REST_MS_MAX, REST_TIMES * (nowMs - beganMs));
}

export class Observer {
  private readonly options: ObserverOptions;
  private live = NO_LIVE;
  private sites: readonly SiteSeen[] = [];
  private groups: Observation["groups"] = [];
  private waits: ReadonlyMap<string, readonly string[]> = new Map();
  private keptBacklogs: ReadonlySet<string> = new Set();
  private nextTasksMs = 0;
  private nextObjectsMs = 0;
  private objectsRestedMs = 0;
  /** Nodes whose stores were nearly full when objects were last asked for. */
  private askedWhileFull: ReadonlySet<string> = new Set();

  constructor(options: ObserverOptions) {
    this.options = options;
  }

  /** @throws ConnectionLostError when control does not answer; the next look is another one. */
  async look(nodes: readonly NodeRow[]): Promise<void> {
    const { alarms, sources } = this.options;
    const waiting = await sources.waiting();
    const seen = (): Observation => this.observation(nodes, waiting);
    const beganMs = monotonicMs();
    const full = new Set(nodes.filter(isNearlyFull).map(({ nodeId }) => nodeId));
    // So that what fills a store is known before its alarm is raised.
    const isFuller = [...full].some((nodeId) => !this.askedWhileFull.has(nodeId));
    if (beganMs >= (isFuller ? this.objectsRestedMs : this.nextObjectsMs)) {
      this.askedWhileFull = full;
      await this.askObjects();
      this.objectsRestedMs = rested(beganMs);
      this.nextObjectsMs = Math.max(beganMs + OBJECTS_EVERY_MS, this.objectsRestedMs);
      alarms.look("objects", seen());
    }
    alarms.look("control", seen());
    const tasksBeganMs = monotonicMs();
    if (tasksBeganMs >= this.nextTasksMs) {
      await this.askTasks();
      this.groups = (await sources.groups()).rows;
      this.waits = await this.askWaits(seen());
      this.nextTasksMs = Math.max(tasksBeganMs + TASKS_EVERY_MS, rested(tasksBeganMs));
      alarms.look("tasks", seen());
    }
  }

  private observation(nodes: readonly NodeRow[], waiting: Observation["waiting"]): Observation {
    const { links, sources, tasks } = this.options;
    const diskTraffic = new Map<string, DiskTraffic>();
    const machines = new Map<string, MachineSeen>();
    for (const { nodeId } of nodes) {
      const { sample } = links.get(nodeId) ?? {};
      const { spilledBytesTotal, restoredBytesTotal, cores, runnableWorkers } = sample ?? {};
      const cpuPercent = sample?.cpuPercent ?? null;
      if (cpuPercent !== null && cores !== undefined && runnableWorkers !== undefined)
        machines.set(nodeId, { cpuPercent, cores, runnableWorkers });
      if (spilledBytesTotal !== undefined && restoredBytesTotal !== undefined)
        diskTraffic.set(nodeId, { spilledBytes: spilledBytesTotal, restoredBytes: restoredBytesTotal });
    }
    const { live, sites, groups, waits } = this;
    let functions: Observation["functions"] | undefined;
    return {
      ...{ atMs: wallMs(), nodes, waiting, machines, diskTraffic, live, sites, groups, waits },
      actors: sources.actorTable,
      get functions() {
        functions ??= tasks.functions();
        return functions;
      },
      packed: tasks.packed(),
      puts: tasks.puts(),
      runTimes: () => tasks.endedSummary(),
    };
  }

  private async askTasks(): Promise<void> {
    const { answers, partial } = await this.options.links.askAll("live-tasks", { limit: TASKS_MAX });
    const backlogs = new Map<string, number>();
    for (const [, { backlogs: calls = [] }] of answers)
      for (const [actorId, count] of calls) backlogs.set(actorId, (backlogs.get(actorId) ?? 0) + count);
    // Who sends very many calls may be too busy to answer in time: what was said last counts for one look more.
    const isSilent = partial.length > 0 || answers.some(([, answer]) => answer.partial.length > 0);
    const kept = [...this.live.backlogs].filter(([id]) => isSilent && !backlogs.has(id) && !this.keptBacklogs.has(id));
    for (const [actorId, count] of kept) backlogs.set(actorId, count);
    this.keptBacklogs = new Set(kept.map(([actorId]) => actorId));
    this.live = {
      tasks: answers.flatMap(([, { rows }]) => rows),
      counts: answers.flatMap(([, { counts }]) => counts.map(([name, , state, count]) => ({ name, state, count }))),
      backlogs,
      isWhole: !isSilent,
    };
  }

  /** Of those who have what others wait for, and of those for whom they wait in turn. */
  private async askWaits(observation: Observation): Promise<ReadonlyMap<string, readonly string[]>> {
    const waits = new Map<string, readonly string[]>();
    let next = [...suspects(observation)];
    while (next.length > 0 && waits.size < WAITS_MAX) {
      const asked = next.slice(0, WAITS_MAX - waits.size);
      const answers = await Promise.all(asked.map((by) => this.options.ask("explain-wait", { by })));
      for (const [at, by] of asked.entries()) waits.set(by, answers[at]?.waitsFor ?? []);
      next = [...new Set(answers.flatMap(({ waitsFor }) => waitsFor))].filter((party) => !waits.has(party));
    }
    return waits;
  }

  private async askObjects(): Promise<void> {
    const { answers } = await this.options.links.askAll("object-details", { limit: OBJECTS_MAX });
    const sites = new Map<string, SiteSeen>();
    for (const [, { sites: own, objects }] of answers) {
      for (const site of own) {
        const { callSite } = site;
        const sum = sites.get(callSite) ?? {
          callSite,
          objects: 0,
          sizeBytes: 0,
          spilledBytes: 0,
          holders: 0,
          freedBytes: 0,
          ownerPids: [],
        };
        const pids = objects.flatMap((one) =>
          one.callSite === callSite && one.ownerPid !== null ? [one.ownerPid] : [],
        );
        sites.set(callSite, {
          callSite,
          objects: sum.objects + site.objects,
          sizeBytes: sum.sizeBytes + site.sizeBytes,
          spilledBytes: sum.spilledBytes + site.spilledBytes,
          holders: sum.holders + site.holders,
          freedBytes: sum.freedBytes + (site.freedBytes ?? 0),
          ownerPids: [...new Set([...sum.ownerPids, ...pids])].slice(0, PIDS_MAX),
        });
      }
    }
    this.sites = [...sites.values()].sort((a, b) => b.sizeBytes - a.sizeBytes);
  }
}
