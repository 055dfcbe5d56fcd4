/** Why something waits, failed or was slow. */

import { shortId } from "../format.ts";
import { Ago, Card, Failure, State } from "../parts.tsx";
import { href } from "../router.ts";
import type { Explanation } from "../rows.ts";
import { useQuery } from "../use-query.ts";

export function Why({ id, everyMs = 3000 }: { id: string; everyMs?: number }) {
  const { data, error } = useQuery<Explanation>(`why/${encodeURIComponent(id)}`, everyMs);
  if (data === undefined) {
    return (
      <Card title="Why">
        {error === undefined ? (
          <p className="muted">Asking…</p>
        ) : error.status === 404 || error.status === 400 ? (
          <p className="muted">Nothing more is known about it.</p>
        ) : (
          <Failure error={error} hasData={false} />
        )}
      </Card>
    );
  }
  const { state, since, sentences, waitsFor, considered, verdicts } = data;
  return (
    <Card
      title="Why"
      aside={
        <span className="small muted">
          <State state={state} /> since <Ago atMs={since} />
        </span>
      }
    >
      <ul className="sentences">
        {sentences.map((sentence) => (
          <li key={sentence}>{sentence}</li>
        ))}
      </ul>
      {waitsFor.length > 0 && (
        <p className="small" style={{ marginTop: 10 }}>
          <span className="muted">It waits for </span>
          {waitsFor.slice(0, 20).map((other, at) => (
            <span key={other}>
              {at > 0 && ", "}
              <a className="mono" href={href(["find", other])} title={other}>
                {shortId(other)}
              </a>
            </span>
          ))}
          {waitsFor.length > 20 && <span className="muted"> and {waitsFor.length - 20} more</span>}
        </p>
      )}
      {verdicts !== undefined && verdicts.length > 0 ? (
        <table className="simple small" style={{ marginTop: 10 }}>
          <tbody>
            {verdicts.map(({ count, verdict, names }) => (
              <tr key={verdict}>
                <td className="end">{count} nodes</td>
                <td className="wrap">
                  {verdict} <span className="muted">{names.slice(0, 3).join(", ")}</span>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      ) : (
        considered !== undefined &&
        considered.length > 0 && (
          <table className="simple small" style={{ marginTop: 10 }}>
            <tbody>
              {considered.map(({ nodeId, name, verdict }) => (
                <tr key={nodeId}>
                  <td className="nowrap">
                    <a href={href(["nodes", nodeId])}>{name}</a>
                  </td>
                  <td className="wrap">{verdict}</td>
                </tr>
              ))}
            </tbody>
          </table>
        )
      )}
    </Card>
  );
}
