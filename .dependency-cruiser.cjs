/**
 * The direction of imports. A room imports only rooms above it, in the order of docs/ARCHITECTURE.md, and only
 * through their door `mod.ts`. Rooms on one line do not import each other. Cycles between files are Biome's to find.
 */
const rooms = [
  ["base"],
  ["wire"],
  ["transport"],
  ["closure", "codec", "events", "heap"],
  ["scheduler", "placement", "store", "owner", "control"],
  ["pull"],
  ["code"],
  ["environments"],
  ["node", "client"],
  ["state"],
  ["entrypoint"],
  ["worker", "driver", "head"],
  ["api"],
  ["jobs"],
  ["ray"],
  ["testing", "esbuild"],
  ["bin"],
];

/** What a room may take from its own line: here the line names an order inside it. */
const neighbours = { driver: ["worker"] };

const root = "^packages/core/src/";
/** Declarations only: what processes say to each other, how a room adds kinds of values to the codec, and what the HTTP API lists. */
const contracts = `${root}(wire/(messages|cluster-messages|state-messages|explanation|inspection|audit|queries)|codec/custom|state/rows)\\.ts$`;
/** What a program in `bin` runs: it loads nothing before it must, so it is not behind a door. */
const mains = `${root}[^/]+/(main|io-thread|copy-helper-thread|network-thread|gpu-sampler)\\.ts$`;
/** How processes are started; these files import no room. */
const launching = `${root}bin/(entries|code-cache-names|cache-directory)\\.ts$`;

const direction = rooms.flatMap((line, index) =>
  line.map((room) => {
    const above = rooms.slice(0, index).flat();
    const allowed = [...above, room, ...(neighbours[room] ?? [])];
    return {
      name: `${room}-imports-only-rooms-above`,
      severity: "error",
      comment: `${room} may import ${above.length > 0 ? above.join(", ") : "no other room"}`,
      from: { path: `${root}${room}/`, pathNot: "\\.(test|bench|test-d)\\.ts$" },
      to: { path: root, pathNot: [`${root}(${allowed.join("|")})/`, launching, contracts] },
    };
  }),
);

module.exports = {
  forbidden: [
    ...direction,
    {
      name: "only-through-the-door",
      severity: "error",
      comment: "another room is imported through its mod.ts; base and the message contracts are files of their own",
      from: { path: `${root}([^/]+)/`, pathNot: `${root}bin/` },
      to: {
        path: `${root}[^/]+/`,
        pathNot: [`${root}$1/`, `${root}[^/]+/mod\\.ts$`, `${root}base/`, contracts, launching],
      },
    },
    {
      name: "programs-run-mains",
      severity: "error",
      comment: "a program in bin uses doors, or the main.ts of the room it runs",
      from: { path: `${root}bin/` },
      to: {
        path: `${root}[^/]+/`,
        pathNot: [`${root}bin/`, `${root}[^/]+/mod\\.ts$`, `${root}base/`, contracts, mains],
      },
    },
    {
      name: "engines-are-pure",
      severity: "error",
      comment: "a pure engine takes events and the time, and gives commands: no clock, socket, disk or process",
      from: {
        path: `${root}(scheduler/|placement/|owner/|base/|[^/]+/[^/]*engine[^/]*\\.ts$)`,
        // The owner's runtime runs the engine on real sockets, and says what processes do. Random bytes stand for crypto's.
        pathNot: "\\.(test|bench|test-d)\\.ts$|owner/(runtime|worker-session|process-state)\\.ts$|base/random\\.ts$",
      },
      to: { dependencyTypes: ["core"], pathNot: "^(node:)?(util|assert|crypto)$" },
    },
    {
      name: "published-code-does-not-need-tools",
      severity: "error",
      comment: "what is published may import packages that are installed with it or bundled into it",
      from: { path: `${root}`, pathNot: "\\.(test|bench|test-d)\\.ts$|/fixtures/" },
      to: {
        dependencyTypes: ["npm-dev", "npm-no-pkg", "npm-unknown"],
        pathNot:
          "node_modules/(acorn|msgpackr|esbuild|commander|yaml|zod|hono|@hono|fflate|ws|yauzl|@nats-io/transport-node|@opentelemetry/api)/",
      },
    },
    {
      name: "no-tests-in-programs",
      severity: "error",
      from: { path: root, pathNot: "\\.(test|bench|test-d)\\.ts$|/fixtures/" },
      to: { path: "\\.(test|bench|test-d)\\.ts$|/fixtures/" },
    },
    {
      name: "examples-use-the-public-door",
      severity: "error",
      from: { path: "^examples/" },
      to: { path: "^packages/core/", pathNot: "^packages/core/(src/(api|testing|esbuild)/mod\\.ts|dist/.*)$" },
    },
    {
      name: "starting-processes-needs-no-room",
      severity: "error",
      from: { path: launching },
      to: { path: root, pathNot: launching },
    },
    { name: "imports-resolve", severity: "error", from: {}, to: { couldNotResolve: true } },
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    exclude: { path: "/dist/|/fixtures/|\\.venv/" },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: {
      exportsFields: ["exports"],
      conditionNames: ["mobula-source", "node", "import", "require", "types", "default"],
      extensions: [".ts", ".tsx", ".mjs", ".cjs", ".js"],
    },
  },
};
