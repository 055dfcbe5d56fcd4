/** A cluster of this machine with the manager of its jobs in this process, so that a test can exchange it; otherwise the state service has it. */
import { mkdtempSync, rmSync } from "node:fs";
import { askHead } from "../../src/head/mod.ts";
import { JobManager, SUPERVISORS_NAMESPACE } from "../../src/jobs/mod.ts";
import { LocalCluster, type LocalClusterOptions } from "../../src/testing/mod.ts";

export class Serving implements AsyncDisposable {
  readonly cluster: LocalCluster;
  readonly problems: string[] = [];
  manager: JobManager;
  private readonly folder = mkdtempSync("/tmp/jobs-");

  static async start(options: LocalClusterOptions): Promise<Serving> {
    return new Serving(await LocalCluster.start(options));
  }

  private constructor(cluster: LocalCluster) {
    this.cluster = cluster;
    this.manager = this.newManager();
  }

  private newManager(): JobManager {
    return new JobManager({
      ask: (method, params) => askHead(this.cluster, method, params),
      join: async () => {
        await this.cluster.connect({ namespace: SUPERVISORS_NAMESPACE, logToDriver: false });
      },
      packagesFolder: this.folder,
      onProblem: (message) => this.problems.push(message),
    });
  }

  /** As one whose process has ended: what it had in memory is gone. */
  async exchangeManager(): Promise<void> {
    await this.manager[Symbol.asyncDispose]();
    this.manager = this.newManager();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.manager[Symbol.asyncDispose]();
    await this.cluster.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
