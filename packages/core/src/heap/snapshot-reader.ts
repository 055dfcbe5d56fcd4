/**
 * Reads a heap snapshot in pieces. The file is one JSON object: `snapshot` says how many nodes and edges there are and what
 * their fields mean, `nodes`, `edges` and `locations` are long lists of numbers, and `strings` comes last. Numbers go into
 * columns as they come, so the text is never there as a whole.
 */
import { InvalidOptionError, OutOfMemoryError } from "../base/errors.ts";
import { HeapGraph } from "./graph.ts";

/** Longer ones are the program's data; a name of anything is shorter. */
const STRING_LENGTH_MAX = 256;
/** Columns of these take 3 GB. A larger file can be opened in DevTools. */
const NODES_MAX = 40_000_000;
const EDGES_MAX = 200_000_000;
/** `snapshot` is a few kilobytes. */
const META_LENGTH_MAX = 1_048_576;
const LOCATION_FIELDS = 4;

interface Meta {
  readonly node_count: number;
  readonly edge_count: number;
  readonly meta: {
    readonly node_fields: readonly string[];
    readonly node_types: readonly (string | readonly string[])[];
    readonly edge_fields: readonly string[];
    readonly edge_types: readonly (string | readonly string[])[];
    readonly location_fields?: readonly string[];
  };
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;
const MINUS = 0x2d;
const OBJECT = 0x7b;
const OPEN = new Set([OBJECT, 0x5b]);
const CLOSE = new Set([0x7d, 0x5d]);
const LIST_END = 0x5d;
const ZERO = 0x30;
const NINE = 0x39;

type Part = "key" | "colon" | "numbers" | "strings" | "meta" | "skipped";

export class SnapshotReader {
  private part: Part = "key";
  private key = "";
  /** Of text that is not whole yet. */
  private text = "";
  private isInString = false;
  private isEscaped = false;
  private depth = 0;
  private number = 0;
  private hasDigits = false;
  private isNegative = false;
  private sink: ((value: number) => void) | undefined;
  private columns: Columns | undefined;
  private readonly strings: string[] = [];

  /** @throws InvalidOptionError when it is no heap snapshot; OutOfMemoryError when it is too large to be held here. */
  push(piece: Buffer): void {
    for (let at = 0; at < piece.length; ) {
      if (this.part === "numbers") at = this.takeNumbers(piece, at);
      else if (this.isInString) at = this.takeString(piece, at);
      else this.take(piece[at++] as number);
    }
  }

  /** @throws InvalidOptionError when it is not whole. */
  finish(): HeapGraph {
    const { columns } = this;
    if (!columns || this.depth !== 0) throw new InvalidOptionError("the heap snapshot has no end: it was cut off");
    return columns.finish(this.strings);
  }

  private takeNumbers(piece: Buffer, from: number): number {
    let at = from;
    let { number, hasDigits } = this;
    const sink = this.sink as (value: number) => void; // Set with the part.
    for (; at < piece.length; at++) {
      const byte = piece[at] as number; // It is below the length.
      if (byte >= ZERO && byte <= NINE) {
        number = number * 10 + byte - ZERO;
        hasDigits = true;
      } else if (byte === MINUS) this.isNegative = true;
      else if (hasDigits) {
        sink(this.isNegative ? -number : number);
        this.isNegative = false;
        number = 0;
        hasDigits = false;
      }
      if (byte === LIST_END) {
        this.depth--;
        this.part = "key";
        at++;
        break;
      }
    }
    this.number = number;
    this.hasDigits = hasDigits;
    return at;
  }

  /** Up to its quote, or to the end of the piece. */
  private takeString(piece: Buffer, from: number): number {
    let at = from;
    for (; at < piece.length; at++) {
      const byte = piece[at] as number; // It is below the length.
      if (this.isEscaped) this.isEscaped = false;
      else if (byte === BACKSLASH) this.isEscaped = true;
      else if (byte === QUOTE) break;
    }
    const isWhole = at < piece.length;
    const keeps = this.part === "meta" || this.text.length <= 6 * STRING_LENGTH_MAX;
    if (this.part !== "skipped" && keeps) this.text += piece.toString("latin1", from, at);
    if (!isWhole) return at;
    this.isInString = false;
    if (this.part === "key") {
      this.key = this.text;
      this.part = "colon";
      this.text = "";
    } else if (this.part === "strings") {
      this.strings.push(unescaped(this.text));
      this.text = "";
    } else if (this.part === "meta") this.text += '"';
    return at + 1;
  }

  /** Outside of strings and of numbers. */
  private take(byte: number): void {
    if (byte === QUOTE) {
      this.isInString = true;
      if (this.part === "meta") this.text += '"';
    } else if (OPEN.has(byte)) {
      if (this.depth === 0 && byte !== OBJECT)
        throw new InvalidOptionError("this is no heap snapshot: it is no object");
      this.depth++;
      if (this.part === "colon") this.begin();
      if (this.part === "meta") this.addMeta(byte);
    } else if (CLOSE.has(byte)) {
      this.depth--;
      if (this.part === "meta") this.addMeta(byte);
      if (this.part !== "key" && this.depth === 1) this.end();
    } else if (this.part === "meta") this.addMeta(byte);
    else if (this.part === "key" && this.depth === 0 && byte > 0x20)
      throw new InvalidOptionError("this is no heap snapshot: it does not begin with an object");
    else if (this.part === "colon" && byte !== COLON && byte > 0x20 && byte !== COMMA)
      throw new InvalidOptionError(`this is no heap snapshot: "${this.key}" is neither an object nor a list`);
  }

  private addMeta(byte: number): void {
    if (this.text.length > META_LENGTH_MAX) throw new InvalidOptionError("this is no heap snapshot: it says too much");
    this.text += String.fromCharCode(byte);
  }

  private begin(): void {
    const { key, columns } = this;
    if (key === "snapshot") this.part = "meta";
    else if (key === "strings") this.part = "strings";
    else if (key === "nodes" || key === "edges" || key === "locations") {
      if (!columns) throw new InvalidOptionError(`this is no heap snapshot: its ${key} come before what they mean`);
      this.part = "numbers";
      this.sink = columns.sinkOf(key);
    } else this.part = "skipped";
  }

  private end(): void {
    if (this.part === "meta") {
      this.columns = new Columns(parsed(this.text));
      this.text = "";
    }
    this.part = "key";
  }
}

function parsed(text: string): Meta {
  try {
    const meta = JSON.parse(text) as Meta;
    if (Number.isInteger(meta.node_count) && Number.isInteger(meta.edge_count) && meta.meta.node_fields) return meta;
  } catch {
    // Said below.
  }
  throw new InvalidOptionError("this is no heap snapshot: it does not say how many nodes it has");
}

/** As JSON has it; an escape at its end may have been cut. */
function unescaped(text: string): string {
  if (!text.includes("\\")) return text.slice(0, STRING_LENGTH_MAX);
  const whole = text.replace(/\\(u[0-9a-fA-F]{4}|[^u])|\\u?[0-9a-fA-F]{0,3}$/g, (one, code: string | undefined) =>
    code === undefined ? "" : (JSON.parse(`"${one}"`) as string),
  );
  return whole.slice(0, STRING_LENGTH_MAX);
}

class Columns {
  private readonly meta: Meta["meta"];
  private readonly type: Uint8Array;
  private readonly name: Uint32Array;
  private readonly id: Uint32Array;
  private readonly selfSize: Float64Array;
  private readonly firstEdge: Uint32Array;
  private readonly edgeType: Uint8Array;
  private readonly edgeName: Uint32Array;
  private readonly to: Uint32Array;
  private locations: number[] = [];
  private nodesRead = 0;
  private edgesRead = 0;

  constructor({ node_count: nodes, edge_count: edges, meta }: Meta) {
    if (nodes > NODES_MAX || edges > EDGES_MAX) {
      throw new OutOfMemoryError(
        `the heap has ${nodes} nodes and ${edges} edges, and ${NODES_MAX} and ${EDGES_MAX} can be looked through here; Chrome's DevTools may open the file`,
      );
    }
    this.meta = meta;
    this.type = new Uint8Array(nodes);
    this.name = new Uint32Array(nodes);
    this.id = new Uint32Array(nodes);
    this.selfSize = new Float64Array(nodes);
    this.firstEdge = new Uint32Array(nodes + 1);
    this.edgeType = new Uint8Array(edges);
    this.edgeName = new Uint32Array(edges);
    this.to = new Uint32Array(edges);
  }

  sinkOf(key: "nodes" | "edges" | "locations"): (value: number) => void {
    if (key === "nodes") return this.nodeSink();
    if (key === "edges") return this.edgeSink();
    return (value) => this.locations.push(value);
  }

  private nodeSink(): (value: number) => void {
    const { node_fields: fields } = this.meta;
    const [type, name, id, size, count] = ["type", "name", "id", "self_size", "edge_count"].map((field) =>
      at(fields, field),
    );
    let field = 0;
    let node = 0;
    let edges = 0;
    return (value) => {
      if (field === type) this.type[node] = value;
      else if (field === name) this.name[node] = value;
      else if (field === id) this.id[node] = value;
      else if (field === size) this.selfSize[node] = value;
      else if (field === count) {
        this.firstEdge[node] = edges;
        edges += value;
      }
      if (++field < fields.length) return;
      field = 0;
      this.nodesRead = ++node;
      this.firstEdge[node] = edges;
    };
  }

  private edgeSink(): (value: number) => void {
    const { edge_fields: fields, node_fields: nodeFields } = this.meta;
    const [type, name, to] = ["type", "name_or_index", "to_node"].map((field) => at(fields, field));
    const width = nodeFields.length;
    let field = 0;
    let edge = 0;
    return (value) => {
      if (field === type) this.edgeType[edge] = value;
      else if (field === name) this.edgeName[edge] = value;
      else if (field === to) this.to[edge] = value / width;
      if (++field < fields.length) return;
      field = 0;
      this.edgesRead = ++edge;
    };
  }

  finish(strings: readonly string[]): HeapGraph {
    const { type, to, meta } = this;
    if (this.nodesRead !== type.length || this.edgesRead !== to.length || strings.length === 0) {
      throw new InvalidOptionError(
        `the heap snapshot was cut off: it has ${this.nodesRead} of ${type.length} nodes and ${this.edgesRead} of ${to.length} edges`,
      );
    }
    const width = meta.node_fields.length;
    return new HeapGraph({
      nodeTypes: typesOf(meta.node_types),
      edgeTypes: typesOf(meta.edge_types),
      strings,
      ...{ type, name: this.name, id: this.id, selfSize: this.selfSize, firstEdge: this.firstEdge },
      ...{ edgeType: this.edgeType, edgeName: this.edgeName, to },
      locations: Uint32Array.from(this.locations, (value, index) =>
        index % LOCATION_FIELDS === 0 ? value / width : value,
      ),
    });
  }
}

function at(fields: readonly string[], field: string): number {
  const index = fields.indexOf(field);
  if (index < 0) throw new InvalidOptionError(`this heap snapshot is of another version of V8: it has no "${field}"`);
  return index;
}

function typesOf(types: readonly (string | readonly string[])[]): readonly string[] {
  const [first] = types;
  if (Array.isArray(first)) return first as readonly string[];
  throw new InvalidOptionError("this heap snapshot is of another version of V8: it does not name its types");
}
