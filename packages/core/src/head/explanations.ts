/** Why things wait, or went where they did, as control knows it: of leases and actors itself, of tasks by asking their nodes. */
import { ActorNotFoundError, InvalidOptionError } from "../base/errors.ts";
import { type ActorId, type NodeId, nodeTag, nodeTagOf, objectKeyOwner } from "../base/ids.ts";
import type { Member } from "../control/mod.ts";
import { type Asks, keyOf } from "../node/mod.ts";
import type { Explanation } from "../wire/explanation.ts";
import type { Queries } from "../wire/queries.ts";
import type { LeaseDivisions } from "./lease-divisions.ts";

export interface HeadExplanationsOptions {
  readonly divisions: Pick<LeaseDivisions, "explain">;
  members(): Iterable<Member>;
  readonly asks: Asks;
  /** Since 1970. */
  wallMs(): number;
  actor(actorId: ActorId): Explanation | undefined;
  /** Undefined when nothing is known of it. */
  group(groupId: string): Explanation | undefined;
}

export class HeadExplanations {
  private readonly options: HeadExplanationsOptions;

  constructor(options: HeadExplanationsOptions) {
    this.options = options;
  }

  leases({ node, key, demand, at }: Queries["explain-leases"]["params"]): Explanation {
    const { divisions, group, wallMs } = this.options;
    const { bundle } = demand.placement ?? {};
    const explained = (bundle && group(bundle.groupId)) ?? divisions.explain(node, key, demand, at);
    return this.withAddresses({ waitsFor: [], ...explained, state: "waiting", since: wallMs() });
  }

  async byId(id: string): Promise<Explanation> {
    const { actor, group, asks, wallMs } = this.options;
    const key = keyOf(id);
    if (!key) {
      const ofActor = actor(id as ActorId);
      if (ofActor) return this.withAddresses(ofActor);
      const ofGroup = group(id);
      if (ofGroup) return this.withAddresses(ofGroup);
      if (/^[0-9a-f]{32}$/.test(id)) throw new ActorNotFoundError(`no actor or placement group ${id} is known`);
      throw new InvalidOptionError(
        `"${id}" is no id: that of an object has 56 hexadecimal digits, of a task 48, of an actor or a placement group 32`,
      );
    }
    const tag = nodeTagOf(objectKeyOwner(key));
    const home = [...this.options.members()].find(({ description }) => nodeTag(description.nodeId) === tag);
    if (!home) throw new InvalidOptionError(`no node is known whose id begins with ${tag}, as that of the owner does`);
    const { name, nodeId } = home.description;
    if (home.state !== "dead") return asks.ask(nodeId, "explain-id", { id: key });
    const sentence = `The node of its owner, ${name}, is dead, and what was known there is gone.`;
    return { state: "unknown", since: wallMs(), sentences: [sentence], waitsFor: [] };
  }

  /** Nodes by their names, and those that were considered with where they are. */
  private withAddresses(explanation: Explanation): Explanation {
    const nodes = new Map<NodeId, Member["description"]>();
    for (const { description } of this.options.members()) nodes.set(description.nodeId, description);
    const sentences = explanation.sentences.map((text) =>
      text.replaceAll(/node ([0-9a-f]{32})\b/g, (words, id: NodeId) => {
        const node = nodes.get(id);
        return node ? `node ${node.name}${node.address === null ? "" : ` (${node.address})`}` : words;
      }),
    );
    const considered = explanation.considered?.map((one) => ({
      ...one,
      address: nodes.get(one.nodeId)?.address ?? null,
    }));
    return { ...explanation, sentences, ...(considered && { considered }) };
  }
}
