/**
 * Bugs that are put into the production engines on purpose, to show that the simulation finds them: a place in a source
 * file, and what stands there instead. Among them are all that the simulation has found itself, each with a seed that did.
 */
export interface Planted {
  /** What is broken, and what comes of it. */
  readonly name: string;
  /** Below packages/core/src. */
  readonly file: string;
  readonly code: string;
  readonly broken: string;
  /** Runs of one node by itself find it, or of several. */
  readonly nodes: number;
  /** Of so many heads; left out: as it comes. */
  readonly heads?: number;
  /**
   * Seeds that found it in the sources as they once were, by the simulation as it was then: a change of that may draw other
   * runs from them.
   */
  readonly foundBy?: readonly number[];
}

const CLUSTER = 4;
const HEADS = 3;

export const PLANTED: readonly Planted[] = [
  {
    name: "a lost fence: a node that was declared dead is let in again",
    file: "control/members.ts",
    code: `    if (member.state === "dead") {
      refuse(`,
    broken: `    if (member.state === "dead" && nowMs < 0) {
      refuse(`,
    nodes: CLUSTER,
  },
  {
    name: "a double grant: what one lease takes stays free for the next",
    file: "scheduler/resource-pool.ts",
    code: "} else this.free.set(name, (this.free.get(name) ?? 0) - wanted);",
    broken: "} else if (wanted < 20_000) this.free.set(name, (this.free.get(name) ?? 0) - wanted);",
    nodes: CLUSTER,
  },
  {
    name: "an early free: what a process gives back at another node counts once more",
    file: "control/router.ts",
    code: "            say(home, from, { ...message, holds });",
    broken:
      "            say(home, from, { ...message, holds: holds.map(([key, count]) => [key, count + Number(home !== here)] as const) });",
    nodes: CLUSTER,
  },
  {
    name: "an early free: the memory of what is let go of is given to others while somebody still reads it",
    file: "store/engine.ts",
    code: "if (!object.freed || object.pins.size > 0 || object.moving) return;",
    broken: "if (!object.freed || object.moving) return;",
    nodes: CLUSTER,
  },
  {
    name: "a reordered actor call: the newest of those that wait goes first",
    file: "owner/actors.ts",
    code: `      if (actor.inFlight.size >= IN_FLIGHT_MAX) return;
      queue.shift();
      this.send(task, actor);`,
    broken: `      if (actor.inFlight.size >= IN_FLIGHT_MAX) return;
      queue.shift();
      const next = queue.peek();
      if (next && next.missing === 0 && next.deps.length === 0) {
        queue.shift();
        this.send(next, actor);
      }
      this.send(task, actor);`,
    nodes: CLUSTER,
  },
  {
    name: "a half-placed gang: a refusal returns nothing of what other nodes have prepared",
    file: "placement/group-engine.ts",
    code: "    for (const one of this.reservationsOf(group, attempt)) this.giveBack(group, one, out);",
    broken: "    for (const one of this.reservationsOf(group, attempt)) this.drop(group, one);",
    nodes: CLUSTER,
  },
  {
    name: "a half-placed gang: it is ready when the first node has prepared",
    file: "placement/group-engine.ts",
    code: "      if (--attempt.unprepared > 0) return;\n      for (const one",
    broken: "      for (const one",
    nodes: CLUSTER,
  },
  {
    name: "a lost acknowledged write: a node is welcomed before it is written down",
    file: "control/members.ts",
    code: `      effects.persist([saved(member)], (error) => {
        if (member.state === "dead") return;`,
    broken: `      member.isNew = false;
      welcome(nodeId);
      effects.persist([saved(member)], (error) => {
        if (member.state === "dead") return;`,
    nodes: CLUSTER,
  },
  {
    name: "a tag that two nodes have",
    file: "control/members.ts",
    code: "      if (holder !== undefined) {",
    broken: "      if (holder !== undefined && nowMs < 0) {",
    nodes: CLUSTER,
  },
  {
    name: "an heir takes over nothing of what the workers of a dead owner have answered: it runs twice",
    file: "owner/inheritance.ts",
    code: "    for (let field = 1; field < fields; field += 2) {",
    broken: "    for (let field = 1; field < Math.min(fields, 1); field += 2) {",
    nodes: 0,
  },
  {
    name: "leases that a dead owner leaves at other nodes",
    file: "control/router.ts",
    code: "      for (const home of own.get(process) ?? [])",
    broken: "      for (const home of [] as Home[])",
    nodes: CLUSTER,
  },
  {
    name: "a false death: control that was stopped itself gives up those it did not hear",
    file: "control/members.ts",
    code: "if (wasPaused) member.heardAtMs = nowMs;",
    broken: "",
    nodes: CLUSTER,
  },

  {
    name: "bytes that have not come are passed on to the next node",
    file: "pull/readings.ts",
    code: "    return this.failure ? at : this.received(at);",
    broken: "    return this.failure ? at : this.size;",
    nodes: CLUSTER,
  },
  {
    name: "copies are left behind when their object is freed",
    file: "pull/copies.ts",
    code: "const nodes = new Set([storedNameTag(name), ...(record?.holders.keys() ?? [])]);",
    broken: "const nodes = new Set([storedNameTag(name)]);",
    nodes: CLUSTER,
  },
  {
    name: "a put with copies is said to have them when nodes have been asked to keep one",
    file: "pull/replicas.ts",
    code: `    if (kept.size >= copies) {
      this.short.delete(name);
      this.settle(name, goal, kept.size);`,
    broken: `    if (kept.size + asked.size >= copies) {
      this.short.delete(name);
      this.settle(name, goal, copies);`,
    nodes: CLUSTER,
  },
  {
    name: "nobody takes the place of a dead node that kept a copy of what was put with several",
    file: "pull/copies.ts",
    code: `      this.replicas.look(record.name);
    }
    this.replicas.nodeDied(node);`,
    broken: `    }
    this.replicas.nodeDied(node);`,
    nodes: CLUSTER,
  },
  {
    name: "no fence of writes: a head takes a place in the log that another has taken for its own",
    file: "control/log-append.ts",
    code: 'Buffer.compare(next.data, data) === 0 ? "appended" : "overtaken"',
    broken: 'Buffer.compare(next.data, data) > -2 ? "appended" : "overtaken"',
    nodes: CLUSTER,
    heads: HEADS,
  },
  {
    name: "a lease that is believed for longer than standbys wait",
    file: "control/leadership.ts",
    code: "leaderMs: 2_000,",
    broken: "leaderMs: 4_000,",
    nodes: CLUSTER,
    heads: HEADS,
  },
  {
    name: "a lease that begins when the servers have answered",
    file: "control/state-log.ts",
    code: "      this.onWritten(sentMs);",
    broken: "      this.onWritten(clock.nowMs());",
    nodes: CLUSTER,
    heads: HEADS,
  },
  {
    name: "an answer before the write: what replicated state takes counts as written at once",
    file: "control/state-log.ts",
    code: "    this.queue.push({ changes, bytes, done });",
    broken: `    done({ kind: "committed", revision: this.view.revision + 1 });
    this.queue.push({ changes, bytes, done() {} });`,
    nodes: CLUSTER,
    heads: HEADS,
  },
  {
    name: "no answer taken for a yes: what may have been written counts as written",
    file: "control/log-append.ts",
    code: '    if (!mayGoOn()) return { kind: "unknown",',
    broken: '    if (trouble) return { kind: "appended" };\n    if (!mayGoOn()) return { kind: "unknown",',
    nodes: CLUSTER,
    heads: HEADS,
  },
  {
    name: "a head that may lead no more goes on speaking",
    file: "head/gate.ts",
    code: "    if (this.isOpen) act();",
    broken: "    if (!this.hasEnded) act();",
    nodes: CLUSTER,
    heads: HEADS,
  },
  {
    name: "a lost fence: a node obeys a head that another has followed",
    file: "node/head-probe.ts",
    code: "head.state === known?.state && head.epoch < known.epoch;",
    broken: "head.state === known?.state && head.epoch < 0;",
    nodes: CLUSTER,
    heads: HEADS,
  },
  {
    name: "a group that its node has placed and removed: control never hears of the removal",
    file: "node/local-groups.ts",
    code: `      this.removed.add(groupId);
      this.untoldRemoved.add(groupId);`,
    broken: "",
    nodes: CLUSTER,
  },
  {
    name: "a group that its node has placed and removed: the removal is lost with the connection",
    file: "node/local-groups.ts",
    code: "    for (const groupId of this.removed) this.untoldRemoved.add(groupId);",
    broken: "",
    nodes: CLUSTER,
  },
  {
    name: "a group that its node has placed: control that was started again is not told",
    file: "node/local-groups.ts",
    code: "if (!isNoted) this.untold.add(groupId);",
    broken: "",
    nodes: CLUSTER,
  },
  {
    name: "a group that its node has placed: it counts as written down when it was heard of",
    file: "placement/group-host.ts",
    code: "      this.adopted.set(groupId, nodeId);\n",
    broken: "      this.note(nodeId).placed.push(groupId);\n      this.adopted.set(groupId, nodeId);\n",
    nodes: CLUSTER,
  },
  {
    name: "a group that a node places, though control was asked for it and may do so too",
    file: "node/local-groups.ts",
    code: "    if (this.passedOn.has(groupId) || this.asked || !this.suits(request)) return false;",
    broken: "    if (this.asked || !this.suits(request)) return false;",
    nodes: CLUSTER,
  },
  {
    name: "a group that control has moved off the node that had placed it: the node removes what is elsewhere",
    file: "node/local-groups.ts",
    code: "    if (!this.placed.get(groupId)?.removals) this.placed.delete(groupId);",
    broken: "",
    nodes: CLUSTER,
  },
  {
    name: "a group of a job that has ended, of which control hears from the node that had placed it: it stays",
    file: "placement/group-host.ts",
    code: '    const isOver = lifetime === "owner" && this.endedJobs.has(jobId);',
    broken: '    const isOver = lifetime === "owner" && this.endedJobs.has(jobId) && this.requests.size < 0;',
    nodes: CLUSTER,
  },
  {
    name: "a group that control has not heard of: its removal is acknowledged at once",
    file: "placement/group-host.ts",
    code: "if (!this.requests.has(groupId) && !this.refused.has(groupId)) this.mention(groupId);\n    else this.feed",
    broken: "this.feed",
    nodes: CLUSTER,
  },

  // ── found ──────────────────────────────────────────────────────────────────────────────────────────────────────────
  {
    name: "a node that asked for a better source, and had it all a moment later, counted as one that is getting it",
    file: "pull/copies.ts",
    code: "    record.waiting = record.waiting.filter(({ tag }) => tag !== from);\n    if (!isHeld) {",
    broken: "    if (!isHeld) {",
    nodes: CLUSTER,
    foundBy: [298],
  },
  {
    name: "a death that could not be written down was acted on, and the next control let the node in again",
    file: "control/members.ts",
    code: `      if (error) {
        unwritten.add(member);
        return;
      }
      dying.delete(member);`,
    broken: "      dying.delete(member);",
    nodes: CLUSTER,
    foundBy: [220],
  },
  {
    name: "a node that joined again was told of a death that was not written down, which the next control knew nothing of",
    file: "control/members.ts",
    code: 'state: dying.has(member) ? "alive" : member.state,',
    broken: "state: member.state,",
    nodes: CLUSTER,
    foundBy: [673_546_992],
  },
  {
    name: "an end of an actor that could not be written down was settled all the same: the next control made it again",
    file: "control/actors.ts",
    code: "if (error && overNodes) unforgotten.push(() => forget(actor, keys, forgotten));",
    broken: "if (error && living < 0) unforgotten.push(() => forget(actor, keys, forgotten));",
    nodes: CLUSTER,
    foundBy: [143],
  },
  {
    name: "what an actor's host had said was lost with the connection, and passed over when its node stated it: nobody was told",
    file: "control/actors.ts",
    code: `        if (said?.t === "actor-created") this.created(worker.processId, said);
        else if (said) this.exited(worker.processId, said);
        return true;`,
    broken: "        return true;",
    nodes: CLUSTER,
    foundBy: [276_934_720],
  },
  {
    name: "the word to make an actor was lost with the connection: its calls waited for ever",
    file: "control/recovery.ts",
    code: "        else actors.startAgain(stated);",
    broken: "",
    nodes: CLUSTER,
    foundBy: [276_934_989, 276_935_102],
  },
  {
    name: "a node that had spoken was taken for dead, since it had joined after another's welcome was written: what it asked was lost",
    file: "node/neighbours.ts",
    code: "    for (const tag of this.unknown.keys()) if (!named.has(tag)) this.effects.find(tag);",
    broken: "    for (const tag of [...this.unknown.keys()]) if (!named.has(tag)) this.end(tag, undefined);",
    nodes: CLUSTER,
    foundBy: [1_896_812_130],
  },
  {
    name: "an actor's end was not believed, since control that was killed had told of a restart that it had not written down",
    file: "owner/actors.ts",
    code: 'if (message.incarnation < actor.incarnation && message.state !== "dead") return;',
    broken: "if (message.incarnation < actor.incarnation) return;",
    nodes: CLUSTER,
    foundBy: [1_896_812_693],
  },
  {
    name: "the word to end an actor's worker was lost with the connection: the actor lived for ever",
    file: "head/actor-places.ts",
    code: "      if (known?.killed !== undefined) this.effects.kill(node, worker.workerId, known.killed);",
    broken: "",
    nodes: CLUSTER,
    foundBy: [1_646_100_490],
  },
  {
    name: "control that was started again was not asked again for leases: tasks waited for ever",
    file: "node/lease-broker.ts",
    code: `      if (ask.asked === "") continue;
      ask.asked = AGAIN;
      this.settle(ask);`,
    broken: "",
    nodes: CLUSTER,
    foundBy: [1],
  },
  {
    name: "deaths that were told while a node did not hear control: what it had there was lost for ever",
    file: "node/neighbours.ts",
    code: '      if (!named.has(tag)) this.end(tag, ended.get(tag) ?? { ...node, state: "dead" });',
    broken: '      if (named.size < 0) this.end(tag, ended.get(tag) ?? { ...node, state: "dead" });',
    nodes: CLUSTER,
    foundBy: [78],
  },
  {
    name: "a node that was not known yet asked for leases: they were granted, and told to nobody",
    file: "node/neighbours.ts",
    code: "    } else if (!this.dead.has(tag)) this.waiting(tag).heard.push({ from, message });",
    broken: "    } else this.effects.hear(from, message);",
    nodes: CLUSTER,
    foundBy: [932],
  },
  {
    name: "an order to return bundles, or its answer, was lost with the connection: the group was never gone",
    file: "placement/group-engine.ts",
    code: `      case "node-joined":
        for (const group of table.at(event.nodeId)) this.orderAgain(group, event.nodeId, out);
        return;`,
    broken: `      case "node-joined":
        return;`,
    nodes: CLUSTER,
    foundBy: [2],
  },
  {
    name: "a worker ran what was sent under a lease of another node that it had ended",
    file: "node/lease-broker.ts",
    code: "this.effects.tell(client, { ...notice, leaseId: id, idThere: notice.leaseId });",
    broken: "this.effects.tell(client, { ...notice, leaseId: id });",
    nodes: CLUSTER,
    foundBy: [1],
  },
  {
    name: "what a node was told crossed the end of a lease there: it went on granting, to an owner that wanted nothing",
    file: "node/lease-broker.ts",
    code: "    part.wanted = undefined;\n    part.held.delete(leaseId);",
    broken: "    part.wanted = Math.max(0, (part.wanted ?? 0) - 1);\n    part.held.delete(leaseId);",
    nodes: CLUSTER,
    foundBy: [14, 58],
  },
  {
    name: "a lease that was given back while its worker ended it was taken off what the owner wanted: it waited for ever",
    file: "node/lease-broker.ts",
    code: "          if (!ask) return;",
    broken: "          if (ask || !ask) return;",
    nodes: CLUSTER,
    foundBy: [11],
  },
  {
    name: "a node died after a worker there had ended a lease: what was on its way to that worker was waited for",
    file: "node/lease-broker.ts",
    code: "    part.ending.add(leaseId);",
    broken: "    this.foreign.delete(leaseId);",
    nodes: CLUSTER,
    foundBy: [11, 647],
  },
  {
    name: "a copy that came while others waited for room went at once: who had waited for it was told that it is lost",
    file: "store/node-access.ts",
    code: "callSite, pinned: true, owner, isCopy, isForeign });",
    broken: "callSite, pinned: false, owner, isCopy, isForeign });",
    nodes: CLUSTER,
    foundBy: [26],
  },
  {
    name: "control that was stopped right after it began gave up all nodes",
    file: "control/members.ts",
    code: "      // It may be stopped before it looks at the time for the first time.\n      tickedAtMs ??= nowMs;",
    broken: "",
    nodes: CLUSTER,
    foundBy: [17],
  },
  {
    name: "what a node said as it was welcomed for the first time was said to nobody: control that waits for it waited for ever",
    file: "node/cluster-link.ts",
    code: "    this.session?.send(message);",
    broken: '    if (!this.joined || message.t === "node-join") this.session?.send(message);',
    nodes: CLUSTER,
    foundBy: [16, 50],
  },
  {
    name: "a head that is cut off from its state kept its nodes: the one that led instead gave all of them up",
    file: "head/runtime.ts",
    code: "      this.tellSuspended();",
    broken: "",
    nodes: CLUSTER,
    heads: HEADS,
    foundBy: [1_006, 1_084, 1_136],
  },
  {
    name: "a head that found its replicated state full as it began to lead ended for good",
    file: "head/candidate.ts",
    code: 'error.kind === "internal" || error.kind === "invalid"',
    broken: 'error.kind !== "unavailable"',
    nodes: CLUSTER,
    foundBy: [204],
  },
  {
    name: "what a node said of an actor's end, said twice, was settled before it was written down: the next control was not told of it",
    file: "control/actors.ts",
    code: "      if (unsettled?.incarnation === incarnation && unsettled.worker.workerId === worker.workerId) return true;",
    broken: "",
    nodes: CLUSTER,
    foundBy: [7_263],
  },
  {
    name: "what a home was asked about copies, which died with the question, was not asked of its heir: a pull waited for ever",
    file: "node/objects.ts",
    code: "    this.pulls.homesInherited(new Set(homes.filter((home) => !lost.has(home))));",
    broken: "",
    nodes: CLUSTER,
    foundBy: [156],
  },
  {
    name: "what was said to an heir's heir before it had heard of the first heir's death was dropped: copies stayed, or were lost",
    file: "node/succession.ts",
    code: "else if (!isDead(resolve(of)))",
    broken: "else if (!isDead(of))",
    nodes: CLUSTER,
    foundBy: [195, 729, 1_108],
  },
  {
    name: "and when it heard of the home's death before that of the first heir",
    file: "node/succession.ts",
    code: "    else for (const home of homes) this.early.delete(home);",
    broken: "    if (!isHeir) for (const home of homes) this.early.delete(home);",
    nodes: CLUSTER,
    foundBy: [1_478, 80_168, 100_041],
  },
  {
    name: "control named another heir when the home could hear of it no more: what the one before had been sent was thrown away",
    file: "node/succession.ts",
    code: "if (isElsewhere) this.give(",
    broken: "if (isElsewhere && isHeir) this.give(",
    nodes: CLUSTER,
    foundBy: [721],
  },
  {
    name: "and what it handed on to the other, which was lost and not known to be, went down with that one",
    file: "node/succession.ts",
    code: "control.homesDied(homes, isHeir, isElsewhere ? heir : undefined);",
    broken: "control.homesDied(homes, isHeir);",
    nodes: CLUSTER,
    foundBy: [40_012],
  },
  {
    name: "a node that heard of a death only in a welcome said nothing to the heir, which let go of nothing any more",
    file: "node/neighbours.ts",
    code: "    for (const [tag, node] of ended) if (!named.has(tag)) this.endLate(tag, node);",
    broken: `    for (const [tag, node] of ended) {
      if (named.has(tag)) continue;
      this.inherit(tag, tagOf(node.heir));
      this.dead.add(tag);
    }`,
    nodes: CLUSTER,
    foundBy: [773, 1_109],
  },
  {
    name: "an heir that was asked for a copy before all had said what they have said that there is none",
    file: "pull/copies.ts",
    code: "    if (isGone && !this.isInheriting) return undefined;",
    broken: "    if (isGone) return undefined;",
    nodes: CLUSTER,
    foundBy: [200_127],
  },
  {
    name: "a node was drained whose worker's last result was still under way: what others kept of it belonged to nobody",
    file: "node/objects.ts",
    code: "    if (moved.length > 0) onOrphans(moved, undefined);",
    broken: "",
    nodes: CLUSTER,
    foundBy: [20_015],
  },
  {
    name: "a worker died, and its last result came too late: what it had made belonged to nobody",
    file: "node/objects.ts",
    code: '      this.send(home, { t: "copy-orphans", names, ...(workerId !== undefined && { workerId }) });\n',
    broken: "",
    nodes: CLUSTER,
    foundBy: [30_217],
  },
  {
    name: "a node took the tag of a dead one that has an heir: what was for it went there",
    file: "control/members.ts",
    code: "      if (member.heir === undefined) byTag.delete(",
    broken: "      byTag.delete(",
    nodes: CLUSTER,
    foundBy: [200_016],
  },
  {
    name: "a group that was removed came back: who had asked for it at another node was not answered, and asked the next control",
    file: "placement/group-host.ts",
    code: "    if (!isKnown) this.removedElsewhere.add(groupId);",
    broken: "    if (!isKnown && asker === PLACED) this.removedElsewhere.add(groupId);",
    nodes: CLUSTER,
    foundBy: [5_185, 5_188, 5_262, 5_319, 5_733],
  },
  {
    name: "a function is dropped at the node while tasks in the submission log name it",
    file: "owner/handover.ts",
    code: "    if (this.unneeded.length === 0 || (this.log && this.log.size > 0)) return;",
    broken: "    if (this.unneeded.length === 0) return;",
    nodes: CLUSTER,
    foundBy: [4],
  },
  {
    name: "a shape is not asked by again when a task of it is made again after it was forgotten",
    file: "owner/leases.ts",
    code: "      this.byId.set(shape.id, shape);\n    }\n    if (shape.queue",
    broken: "    }\n    if (shape.queue",
    nodes: CLUSTER,
    foundBy: [1],
  },
  {
    name: "a lease of a shape that was forgotten stays with nobody",
    file: "owner/leases.ts",
    code: '    if (!shape) this.effects.toNode({ t: "lease-return", leaseId: message.leaseId });\n',
    broken: "",
    nodes: CLUSTER,
    foundBy: [2],
  },
];
