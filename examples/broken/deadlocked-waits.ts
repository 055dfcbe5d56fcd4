/**
 * Two actors have both CPUs and wait for tasks that need one: nobody will ever give one back.
 * A task that waits gives its CPUs to others meanwhile; an actor keeps them as long as it lives.
 *
 * Fixed: `remote(Report, { numCpus: 0 })`, since it mostly waits; or fewer such actors than CPUs.
 */
import { get, init, remote } from "mobula";

const { dashboardUrl } = await init({ resources: { cpu: 2 } });
console.log(dashboardUrl);

const pageOf = remote(function pageOf(number: number) {
  return `page ${number}`;
});

class Report {
  title = "";
  begin(title: string): void {
    this.title = title;
  }
  async write(pages: number): Promise<string> {
    const refs = Array.from({ length: pages }, (_, number) => pageOf.remote(number));
    return [this.title, ...(await get(refs))].join("\n");
  }
}
const reports = [1, 2].map(() => remote(Report, { numCpus: 1 }).remote());
await get(reports.map((report) => report.begin.remote("a report")));
console.log(await get(reports.map((report) => report.write.remote(3))));
