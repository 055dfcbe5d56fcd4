import { expect, test } from "vitest";
import { parseClusterFile } from "./cluster-file.ts";

test("a file names a head and nodes, and what is special about each", () => {
  const text = `
ssh:
  user: ubuntu
  options: [StrictHostKeyChecking=accept-new]
head: 10.0.0.1
nodes:
  - host: 10.0.0.2
    port: 2222
    args: [--label, rack=a4, --cpus, 8]
    env: { TMPDIR: /scratch }
  - "[fd00::2]"
`;
  expect(parseClusterFile(text)).toEqual({
    ssh: { user: "ubuntu", options: ["StrictHostKeyChecking=accept-new"] },
    command: "mobula",
    env: {},
    head: { host: "10.0.0.1", args: [], env: {} },
    nodes: [
      { host: "10.0.0.2", port: 2222, args: ["--label", "rack=a4", "--cpus", "8"], env: { TMPDIR: "/scratch" } },
      { host: "[fd00::2]", args: [], env: {} },
    ],
  });
});

test.each([
  ["nodes: []", /head is missing/],
  ["head: a\nnode: []", /the file has an unknown key "node"; there are ssh, command, env, head, nodes/],
  ["head: a\nnodes: b", /nodes is "b"; it must be a list/],
  ["head: { host: a, arg: [] }", /head has an unknown key "arg"/],
  ["head: -oProxyCommand=x", /head is "-oProxyCommand=x"; it must be the name or address of a machine/],
  ["head: a\nssh: { port: 0 }", /ssh\.port is 0; it must be a port/],
  ["head: { host: a, env: { MOBULA_TOKEN: x } }", /head\.env holds the token; set MOBULA_TOKEN where you call mobula/],
  ["head: [a", /line 1/],
])("%j is refused, and it is said what is wrong", (text, problem) => {
  expect(() => parseClusterFile(text)).toThrow(problem);
});
