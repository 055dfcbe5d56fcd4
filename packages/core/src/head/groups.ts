/** Placement groups of the cluster: the group engine on the head's view, and the nodes that it orders about. */
import type { Clock } from "../base/clock.ts";
import type { MobulaError } from "../base/errors.ts";
import type { NodeId } from "../base/ids.ts";
import { persistThrough, type StateStore } from "../control/mod.ts";
import {
  answerGroupQuery,
  type ClusterView,
  GROUP_PREFIX,
  GroupHost,
  type GroupPreemption,
  type GroupQuotas,
  REMOVED_GROUP_PREFIX,
} from "../placement/mod.ts";
import type { BundlesAnswer, FromControl, GroupsPlaced } from "../wire/cluster-messages.ts";
import type { Answer, Query } from "../wire/messages.ts";

export interface HeadGroupsOptions {
  readonly state: Pick<StateStore, "epoch" | "list" | "commit">;
  readonly view: ClusterView;
  readonly quotas: GroupQuotas;
  readonly preemption: GroupPreemption;
  nowMs(): number;
  /** Since 1970. */
  wallMs(): number;
  /** Left out: as the engine has it. */
  readonly earmarkAfterMs: number | undefined;
  readonly later: Clock["later"];
  send(to: NodeId, message: FromControl): void;
  changed(): void;
  news(message: string): void;
}

export class HeadGroups {
  readonly host: GroupHost;
  private readonly options: HeadGroupsOptions;

  constructor(options: HeadGroupsOptions) {
    this.options = options;
    const { state, view, quotas, preemption, nowMs, wallMs, later, send, changed, news, earmarkAfterMs } = options;
    // What one does not hear that was a member before, it is told when it joins again.
    const effects = { nowMs, wallMs, send, noted: send, persist: persistThrough(state, later), changed, news };
    this.host = new GroupHost(view, state.epoch, effects, {
      quotas,
      preemption,
      earmarkAfterMs,
    });
  }

  /** @param living of the nodes: what others had died with them, which the control before may not have written down. */
  async recover(living: ReadonlySet<NodeId>): Promise<void> {
    const { state } = this.options;
    const nodes = this.host.restore(await state.list(GROUP_PREFIX), await state.list(REMOVED_GROUP_PREFIX));
    for (const node of nodes) if (!living.has(node)) this.nodeDied(node);
  }

  nodeJoined(node: NodeId): void {
    this.host.nodeJoined(node);
  }

  nodeDied(node: NodeId): void {
    this.host.nodeDied(node);
  }

  nodePlaced(node: NodeId, message: GroupsPlaced): void {
    this.host.nodePlaced(node, message);
  }

  hear(node: NodeId, answer: BundlesAnswer): void {
    this.host.hear(node, answer);
  }

  async answer(by: NodeId, { id, method, params }: Query): Promise<Answer> {
    const { wallMs, later } = this.options;
    try {
      const result = await answerGroupQuery(this.host, method, params, { nowMs: wallMs, later }, by);
      return { t: "answer", id, result };
    } catch (error) {
      const { code, kind, message } = error as MobulaError; // As the host throws.
      return { t: "answer", id, error: { code, kind, message } };
    }
  }
}

/** Tests do not wait for as long. */
export function earmarkAfterMs(): number | undefined {
  const ms = Number(process.env.MOBULA_EARMARK_AFTER_MS);
  return ms > 0 ? ms : undefined;
}

export { isAboutGroups } from "../placement/mod.ts";
