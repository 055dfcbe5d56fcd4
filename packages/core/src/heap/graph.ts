/** A heap snapshot in columns. A node is its number, an edge too; those of a node follow each other. */

export interface HeapColumns {
  readonly nodeTypes: readonly string[];
  readonly edgeTypes: readonly string[];
  readonly strings: readonly string[];
  /** Of each node: an index of `nodeTypes`, of `strings`, V8's id, bytes, and the first of its edges; one more at the end. */
  readonly type: Uint8Array;
  readonly name: Uint32Array;
  readonly id: Uint32Array;
  readonly selfSize: Float64Array;
  readonly firstEdge: Uint32Array;
  /** Of each edge: an index of `edgeTypes`, of `strings` or a number, and the node that it leads to. */
  readonly edgeType: Uint8Array;
  readonly edgeName: Uint32Array;
  readonly to: Uint32Array;
  /** Where functions were written, four numbers each: node, script, line and column, from 0 on. */
  readonly locations: Uint32Array;
}

export interface FunctionPlace {
  readonly line: number;
  readonly column: number;
}

export class HeapGraph {
  readonly columns: HeapColumns;
  private readonly numbered: ReadonlySet<number>;
  /** Where names stand among the strings, of those that were asked for. */
  private readonly indexes = new Map<string, number>();
  private places: Map<number, FunctionPlace> | undefined;

  constructor(columns: HeapColumns) {
    this.columns = columns;
    this.numbered = new Set(["element", "hidden"].map((type) => columns.edgeTypes.indexOf(type)));
  }

  get nodes(): number {
    return this.columns.type.length;
  }

  get edges(): number {
    return this.columns.to.length;
  }

  typeOf(node: number): string {
    return this.columns.nodeTypes[this.columns.type[node] as number] ?? "";
  }

  nameOf(node: number): string {
    return this.columns.strings[this.columns.name[node] as number] ?? "";
  }

  idOf(node: number): number {
    return this.columns.id[node] as number; // It is a node.
  }

  /** The edges of a node, as first and end. */
  edgesOf(node: number): readonly [first: number, end: number] {
    const { firstEdge } = this.columns;
    return [firstEdge[node] as number, firstEdge[node + 1] as number]; // There is one more than nodes.
  }

  edgeTypeOf(edge: number): string {
    return this.columns.edgeTypes[this.columns.edgeType[edge] as number] ?? "";
  }

  /** Of elements and hidden edges the number. */
  edgeNameOf(edge: number): string | number {
    const { edgeType, edgeName, strings } = this.columns;
    const name = edgeName[edge] as number; // It is an edge.
    return this.numbered.has(edgeType[edge] as number) ? name : (strings[name] ?? "");
  }

  toOf(edge: number): number {
    return this.columns.to[edge] as number; // It is an edge.
  }

  /** Where its edge of this name leads. */
  follow(node: number, name: string): number | undefined {
    const { edgeType, edgeName } = this.columns;
    const index = this.indexOf(name);
    const [first, end] = this.edgesOf(node);
    for (let edge = first; edge < end; edge++)
      if (edgeName[edge] === index && !this.numbered.has(edgeType[edge] as number)) return this.toOf(edge);
    return undefined;
  }

  private indexOf(name: string): number {
    let index = this.indexes.get(name);
    if (index === undefined) {
      index = this.columns.strings.indexOf(name);
      this.indexes.set(name, index);
    }
    return index;
  }

  /** Of a function of JavaScript; undefined: it is native, or V8 does not say. */
  placeOf(node: number): FunctionPlace | undefined {
    this.places ??= this.readPlaces();
    return this.places.get(node);
  }

  private readPlaces(): Map<number, FunctionPlace> {
    const { locations } = this.columns;
    const places = new Map<number, FunctionPlace>();
    for (let at = 0; at + 3 < locations.length; at += 4)
      places.set(locations[at] as number, { line: locations[at + 2] as number, column: locations[at + 3] as number });
    return places;
  }
}
