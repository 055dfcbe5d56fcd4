import { join } from "node:path";
import { defineConfig } from "vitest/config";

const conditions = ["mobula-source", "node", "import", "module", "default"];

export default defineConfig({
  // Tests use the sources, never a build that may be older; see CONTRIBUTING.md.
  resolve: { conditions },
  ssr: { resolve: { conditions, externalConditions: conditions } },
  test: {
    include: [
      "packages/*/src/**/*.test.ts",
      "packages/*/test/**/*.test.ts",
      "bench/**/*.test.ts",
      "examples/**/*.test.ts",
      "scripts/**/*.test.ts",
      "docs/**/*.test.ts",
      "deploy/**/*.test.ts",
    ],
    exclude: ["**/node_modules/**", "**/dist/**", "**/fixtures/**", "**/.venv/**"],
    // A process for each file: the runtime keeps state in the process, uses signals and native memory.
    pool: "forks",
    execArgv: ["--conditions=mobula-source", "--expose-gc"],
    // Programs that tests start use the sources too, and find them compiled: types are stripped once, not once a process.
    env: {
      NODE_OPTIONS: "--conditions=mobula-source",
      NODE_COMPILE_CACHE: join(import.meta.dirname, "node_modules/.cache/mobula-compile"),
    },
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // Each file starts processes of its own on two cores: a second file at once makes deadlines of behaviour miss.
    maxWorkers: 1,
  },
});
