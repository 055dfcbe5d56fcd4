/** The GPUs of a node: how they are used, who has leased them, and who is on them. */
import { bytes, NONE, percent, shortId } from "../format.ts";
import { Bar, Card, IdLink } from "../parts.tsx";
import type { NodeRow } from "../rows.ts";

type Gpu = NodeRow["gpus"][number];

export function Gpus({ gpus }: { gpus: readonly Gpu[] }) {
  return (
    <Card title="GPUs" flush>
      <table className="simple stacks">
        <thead>
          <tr>
            <th scope="col">GPU</th>
            <th scope="col">Use</th>
            <th scope="col">Who holds it</th>
            <th scope="col">Who is on it</th>
          </tr>
        </thead>
        <tbody>
          {gpus.map((gpu) => (
            <tr key={gpu.id}>
              <td>
                <strong>{gpu.index ?? gpu.id}</strong>
                <div className="muted small">{gpu.name ?? "unknown model"}</div>
                {gpu.problem !== null && <div className="pill bad">{gpu.problem}</div>}
              </td>
              <td style={{ minWidth: 150 }}>
                <Meter name="Busy" share={gpu.utilisationPercent} text={percent(gpu.utilisationPercent)} />
                <Meter
                  name="Memory"
                  share={memoryPercent(gpu)}
                  text={
                    gpu.memoryUsedBytes === null
                      ? NONE
                      : `${bytes(gpu.memoryUsedBytes)} of ${bytes(gpu.memoryTotalBytes)}`
                  }
                />
                <div className="muted small">{extras(gpu)}</div>
              </td>
              <td>
                <Holders gpu={gpu} />
              </td>
              <td>
                {gpu.processes.length === 0 && <span className="muted">nobody</span>}
                {gpu.processes.map((one) => (
                  <OnIt key={one.pid} process={one} />
                ))}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </Card>
  );
}

function Meter({ name, share, text }: { name: string; share: number | null; text: string }) {
  return (
    <div>
      <div className="meter-head small">
        <span className="muted">{name}</span>
        <span>{text}</span>
      </div>
      {share !== null && <Bar used={share} total={100} tone="run" />}
    </div>
  );
}

function Holders({ gpu: { holders, leasedShare } }: { gpu: Gpu }) {
  const reserved = leasedShare - holders.reduce((sum, { share }) => sum + share, 0);
  // Shares are multiples of a ten-thousandth.
  const isReserved = reserved > 0.00005;
  return (
    <>
      {holders.length === 0 && !isReserved && <span className="muted">nobody</span>}
      {holders.map(({ workerId, actorId, name, pid, share }) => (
        <div key={`${workerId} ${share}`}>
          {actorId === null ? name : <IdLink kind="actors" id={actorId} text={name} />}
          {share < 1 && ` ${percent(share * 100)}`}{" "}
          <span className="small">
            <IdLink kind="workers" id={workerId} text={pid === null ? shortId(workerId) : `pid ${pid}`} />
          </span>
        </div>
      ))}
      {isReserved && <div className="muted small">{percent(reserved * 100)} reserved by placement groups</div>}
    </>
  );
}

function OnIt({ process: { pid, name, memoryBytes, workerId, isOurs } }: { process: Gpu["processes"][number] }) {
  const words = name === null ? `pid ${pid}` : `${name} (${pid})`;
  return (
    <div>
      {workerId === null ? words : <IdLink kind="workers" id={workerId} text={words} />}{" "}
      <span className="muted small">{bytes(memoryBytes)}</span>{" "}
      {isOurs === false && (
        <span className="pill wait" title="No worker or driver has started it: it explains why memory is short">
          not Mobula's
        </span>
      )}
    </div>
  );
}

function memoryPercent({ memoryUsedBytes, memoryTotalBytes }: Gpu): number | null {
  return memoryUsedBytes === null || !memoryTotalBytes ? null : (memoryUsedBytes / memoryTotalBytes) * 100;
}

function extras({ temperatureCelsius, powerWatts, powerLimitWatts }: Gpu): string {
  const parts = [
    ...(temperatureCelsius === null ? [] : [`${temperatureCelsius} °C`]),
    ...(powerWatts === null
      ? []
      : [`${Math.round(powerWatts)} W${powerLimitWatts === null ? "" : ` of ${Math.round(powerLimitWatts)} W`}`]),
  ];
  return parts.join(", ");
}
