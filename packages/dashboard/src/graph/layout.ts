/**
 * Places the functions of a job in layers, callers above those they call.
 *
 * 1. Edges that close a cycle (recursion) are turned round for the layout and drawn as they are.
 * 2. A function's layer is the longest way to it from one that nobody calls.
 * 3. Edges over several layers get a bend in each, so that they run between the boxes.
 * 4. Functions without edges stand in rows below.
 * 5. Within layers the order follows the mean place of neighbours, up and down a few times; the best order is kept.
 *
 * @source Sugiyama, Tagawa, Toda 1981; Gansner et al. 1993 for the order by medians.
 */

export interface LayoutInput {
  readonly names: readonly string[];
  readonly edges: readonly { readonly from: string; readonly to: string }[];
}
export interface Point {
  readonly x: number;
  readonly y: number;
}
export interface Layout {
  readonly width: number;
  readonly height: number;
  /** The middle of each box. */
  readonly places: ReadonlyMap<string, Point>;
  /** For each edge of the input, in its order: from the lower side of the caller's box to the upper side of the other. */
  readonly paths: readonly (readonly Point[])[];
}

export const BOX_WIDTH = 212;
export const BOX_HEIGHT = 54;
const GAP_X = 28;
const GAP_Y = 62;
const BEND_WIDTH = 18;
const MARGIN = 24;
const SWEEPS = 12;

interface Slot {
  /** Undefined: a bend of an edge. */
  readonly name: string | undefined;
  readonly layer: number;
  readonly up: Slot[];
  readonly down: Slot[];
  order: number;
  x: number;
}

export function layoutGraph(input: LayoutInput): Layout {
  const linked = new Set(input.edges.filter(({ from, to }) => from !== to).flatMap(({ from, to }) => [from, to]));
  const alone = input.names.filter((name) => !linked.has(name));
  const layered = layoutLinked({ ...input, names: input.names.filter((name) => linked.has(name)) });
  return alone.length === 0 ? layered : withLoners(input, layered, alone);
}

/** Those that call nobody and are called by nobody stand in rows below: one layer of all of them would be too wide. */
function withLoners({ edges }: LayoutInput, layered: Layout, alone: readonly string[]): Layout {
  const perRow = Math.max(LONERS_IN_ROW, Math.floor((layered.width - MARGIN) / (BOX_WIDTH + GAP_X)));
  const columns = Math.min(perRow, alone.length);
  const width = Math.max(layered.width, MARGIN * 2 + columns * (BOX_WIDTH + GAP_X) - GAP_X);
  const top = layered.places.size === 0 ? MARGIN : layered.height;
  const shift = (width - layered.width) / 2;
  const places = new Map<string, Point>();
  for (const [name, { x, y }] of layered.places) places.set(name, { x: x + shift, y });
  const left = (width - columns * (BOX_WIDTH + GAP_X) + GAP_X) / 2;
  for (const [at, name] of alone.entries()) {
    places.set(name, {
      x: left + (at % columns) * (BOX_WIDTH + GAP_X) + BOX_WIDTH / 2,
      y: top + Math.floor(at / columns) * (BOX_HEIGHT + GAP_X) + BOX_HEIGHT / 2,
    });
  }
  const paths = edges.map(({ from, to }, index) => {
    const path = layered.paths[index] ?? [];
    return path.length > 0 ? path.map(({ x, y }) => ({ x: x + shift, y })) : selfLoop(places.get(from), from === to);
  });
  const rows = Math.ceil(alone.length / columns);
  return { width, height: top + rows * (BOX_HEIGHT + GAP_X) - GAP_X + MARGIN, places, paths };
}
const LONERS_IN_ROW = 4;

function layoutLinked({ names, edges }: LayoutInput): Layout {
  if (names.length === 0) return { width: 0, height: 0, places: new Map(), paths: edges.map(() => []) };
  const known = new Set(names);
  const isPlaced = ({ from, to }: { from: string; to: string }) => from !== to && known.has(from) && known.has(to);
  const reversed = findBackEdges(names, edges.filter(isPlaced));
  const forward = edges.map((edge) =>
    reversed.has(`${edge.from}\0${edge.to}`) ? { from: edge.to, to: edge.from } : { from: edge.from, to: edge.to },
  );
  const layerOf = longestWays(names, forward.filter(isPlaced));

  const slots = new Map<string, Slot>();
  const layers: Slot[][] = [];
  const add = (name: string | undefined, layer: number): Slot => {
    const slot: Slot = { name, layer, up: [], down: [], order: 0, x: 0 };
    let row = layers[layer];
    while (row === undefined) {
      layers.push([]);
      row = layers[layer];
    }
    slot.order = row.length;
    row.push(slot);
    return slot;
  };
  for (const name of names) slots.set(name, add(name, layerOf.get(name) ?? 0));
  const chains = forward.map((edge) => {
    const from = slots.get(edge.from);
    const to = slots.get(edge.to);
    if (from === undefined || to === undefined || from === to) return [];
    const chain = [from];
    for (let layer = from.layer + 1; layer < to.layer; layer++) chain.push(add(undefined, layer));
    chain.push(to);
    for (let at = 1; at < chain.length; at++) {
      const upper = chain[at - 1] as Slot;
      const lower = chain[at] as Slot;
      upper.down.push(lower);
      lower.up.push(upper);
    }
    return chain;
  });
  orderLayers(layers);
  const width = placeSlots(layers);

  const y = (layer: number) => MARGIN + layer * (BOX_HEIGHT + GAP_Y) + BOX_HEIGHT / 2;
  const places = new Map<string, Point>();
  for (const [name, { x, layer }] of slots) places.set(name, { x, y: y(layer) });
  const paths = edges.map((edge, index) => {
    const chain = chains[index] ?? [];
    if (chain.length === 0) return selfLoop(places.get(edge.from), edge.from === edge.to);
    const points = chain.flatMap(({ name, x, layer }, at): Point[] => {
      if (name === undefined) {
        // Straight beside the boxes of the layer.
        return [
          { x, y: y(layer) - BOX_HEIGHT / 2 },
          { x, y: y(layer) + BOX_HEIGHT / 2 },
        ];
      }
      return [{ x, y: y(layer) + (at === 0 ? BOX_HEIGHT / 2 : -BOX_HEIGHT / 2) }];
    });
    return reversed.has(`${edge.from}\0${edge.to}`) ? points.reverse() : points;
  });
  return { width, height: MARGIN * 2 + layers.length * BOX_HEIGHT + (layers.length - 1) * GAP_Y, places, paths };
}

/** Edges that lead back to a function on the way to them, found depth first without recursion. */
function findBackEdges(names: readonly string[], edges: LayoutInput["edges"]): Set<string> {
  const next = new Map<string, string[]>(names.map((name) => [name, []]));
  for (const { from, to } of edges) next.get(from)?.push(to);
  const called = new Set(edges.map(({ to }) => to));
  const state = new Map<string, "open" | "done">();
  const back = new Set<string>();
  // Those that nobody calls come first, so that what they call is below them.
  for (const start of [...names.filter((name) => !called.has(name)), ...names]) {
    if (state.has(start)) continue;
    const stack: { name: string; at: number }[] = [{ name: start, at: 0 }];
    state.set(start, "open");
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      const to = next.get(top.name)?.[top.at++];
      if (to === undefined) {
        state.set(top.name, "done");
        stack.pop();
      } else if (state.get(to) === "open") back.add(`${top.name}\0${to}`);
      else if (!state.has(to)) {
        state.set(to, "open");
        stack.push({ name: to, at: 0 });
      }
    }
  }
  return back;
}

function longestWays(names: readonly string[], edges: LayoutInput["edges"]): Map<string, number> {
  const layer = new Map<string, number>(names.map((name) => [name, 0]));
  const waits = new Map<string, number>(names.map((name) => [name, 0]));
  const next = new Map<string, string[]>(names.map((name) => [name, []]));
  for (const { from, to } of edges) {
    next.get(from)?.push(to);
    waits.set(to, (waits.get(to) ?? 0) + 1);
  }
  const ready = names.filter((name) => waits.get(name) === 0);
  for (const name of ready) {
    for (const to of next.get(name) ?? []) {
      layer.set(to, Math.max(layer.get(to) ?? 0, (layer.get(name) ?? 0) + 1));
      const left = (waits.get(to) ?? 1) - 1;
      waits.set(to, left);
      if (left === 0) ready.push(to);
    }
  }
  return layer;
}

function orderLayers(layers: Slot[][]): void {
  let best = layers.map((row) => [...row]);
  let fewest = countCrossings(layers);
  for (let sweep = 0; sweep < SWEEPS && fewest > 0; sweep++) {
    const isDown = sweep % 2 === 0;
    const rows = isDown ? layers : [...layers].reverse();
    for (const row of rows) {
      const mean = new Map(row.map((slot) => [slot, meanOrder(isDown ? slot.up : slot.down, slot.order)]));
      row.sort((a, b) => (mean.get(a) ?? 0) - (mean.get(b) ?? 0) || a.order - b.order);
      for (const [order, slot] of row.entries()) slot.order = order;
    }
    const crossings = countCrossings(layers);
    if (crossings < fewest) {
      fewest = crossings;
      best = layers.map((row) => [...row]);
    }
  }
  for (const [layer, row] of best.entries()) {
    layers[layer] = row;
    for (const [order, slot] of row.entries()) slot.order = order;
  }
}

function meanOrder(neighbours: readonly Slot[], own: number): number {
  return neighbours.length === 0 ? own : neighbours.reduce((sum, { order }) => sum + order, 0) / neighbours.length;
}

function countCrossings(
  layers: readonly (readonly { readonly order: number; readonly down: readonly { readonly order: number }[] }[])[],
): number {
  let crossings = 0;
  for (const row of layers) {
    const pairs = row.flatMap(({ order, down }) => down.map((to) => [order, to.order] as const));
    for (let a = 0; a < pairs.length; a++) {
      for (let b = a + 1; b < pairs.length; b++) {
        const [fromA, toA] = pairs[a] as readonly [number, number];
        const [fromB, toB] = pairs[b] as readonly [number, number];
        if ((fromA - fromB) * (toA - toB) < 0) crossings++;
      }
    }
  }
  return crossings;
}

const widthOf = ({ name }: Slot) => (name === undefined ? BEND_WIDTH : BOX_WIDTH);

/** Each slot comes as near to the mean of its neighbours as those beside it allow; returns the width of all. */
function placeSlots(layers: readonly (readonly Slot[])[]): number {
  for (const row of layers) {
    let x = 0;
    for (const slot of row) {
      slot.x = x + widthOf(slot) / 2;
      x += widthOf(slot) + GAP_X;
    }
    const middle = (x - GAP_X) / 2;
    for (const slot of row) slot.x -= middle;
  }
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    for (const row of sweep % 2 === 0 ? layers : [...layers].reverse()) {
      const wished = row.map((slot) => {
        const neighbours = sweep % 2 === 0 ? slot.up : slot.down;
        return neighbours.length === 0 ? slot.x : neighbours.reduce((sum, { x }) => sum + x, 0) / neighbours.length;
      });
      spread(row, wished);
    }
  }
  const all = layers.flat();
  const left = Math.min(...all.map((slot) => slot.x - widthOf(slot) / 2));
  const right = Math.max(...all.map((slot) => slot.x + widthOf(slot) / 2));
  for (const slot of all) slot.x += MARGIN - left;
  return right - left + MARGIN * 2;
}

/** The mean of what fits from the left and what fits from the right: symmetric, and nothing overlaps. */
function spread(row: readonly Slot[], wished: readonly number[]): void {
  const apart = (a: Slot, b: Slot) => (widthOf(a) + widthOf(b)) / 2 + GAP_X;
  const fromLeft = [...wished];
  const fromRight = [...wished];
  for (let at = 1; at < row.length; at++) {
    const least = (fromLeft[at - 1] as number) + apart(row[at - 1] as Slot, row[at] as Slot);
    fromLeft[at] = Math.max(fromLeft[at] as number, least);
  }
  for (let at = row.length - 2; at >= 0; at--) {
    const most = (fromRight[at + 1] as number) - apart(row[at] as Slot, row[at + 1] as Slot);
    fromRight[at] = Math.min(fromRight[at] as number, most);
  }
  for (const [at, slot] of row.entries()) slot.x = ((fromLeft[at] as number) + (fromRight[at] as number)) / 2;
}

/** A function that calls itself: an ear at the right side of its box. */
function selfLoop(place: Point | undefined, isLoop: boolean): Point[] {
  if (place === undefined || !isLoop) return [];
  const x = place.x + BOX_WIDTH / 2;
  return [
    { x, y: place.y - 10 },
    { x: x + 16, y: place.y - 10 },
    { x: x + 16, y: place.y + 10 },
    { x, y: place.y + 10 },
  ];
}

/** Points as the path of an SVG: vertical at both ends. */
export function pathOf(points: readonly Point[]): string {
  const [first, ...rest] = points;
  if (first === undefined) return "";
  let path = `M${round(first.x)} ${round(first.y)}`;
  let last = first;
  for (const point of rest) {
    const middle = (last.y + point.y) / 2;
    path +=
      point.x === last.x || point.y === last.y
        ? `L${round(point.x)} ${round(point.y)}`
        : `C${round(last.x)} ${round(middle)} ${round(point.x)} ${round(middle)} ${round(point.x)} ${round(point.y)}`;
    last = point;
  }
  return path;
}
const round = (value: number) => Math.round(value * 10) / 10;
