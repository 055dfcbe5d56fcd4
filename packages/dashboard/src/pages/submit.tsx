/** A form that submits a job. */
import { type FormEvent, useState } from "react";
import { ApiError, postJson } from "../api.ts";
import { Failure } from "../parts.tsx";
import { href, navigate } from "../router.ts";
import type { JobRow } from "../rows.ts";
import { jobKey } from "./specs.tsx";

/** As `POST /api/v1/jobs` takes it. */
interface Submission {
  entrypoint: string;
  submissionId?: string;
  metadata?: Record<string, string>;
  runtimeEnv?: { workingDir?: string; env?: Record<string, string> };
  resources?: Record<string, number>;
  retry?: { maxRetries: number };
}

export function SubmitPage() {
  const [error, setError] = useState<ApiError | undefined>(undefined);
  const [isBusy, setBusy] = useState(false);
  const submit = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    setError(undefined);
    setBusy(true);
    try {
      const answer = await postJson<JobRow>("jobs", readSubmission(form));
      navigate(href(["jobs", jobKey(answer)], { tab: "logs" }));
    } catch (failure) {
      setError(
        failure instanceof ApiError
          ? failure
          : new ApiError(0, "INVALID", failure instanceof Error ? failure.message : String(failure)),
      );
    } finally {
      setBusy(false);
    }
  };
  return (
    <div className="page">
      <nav className="crumbs" aria-label="Breadcrumb">
        <a href={href(["jobs"])}>Jobs</a>
      </nav>
      <div className="page-head">
        <h1>Submit a job</h1>
      </div>
      <form className="form card card-body" onSubmit={(event) => void submit(event)}>
        <label>
          Entrypoint
          <textarea name="entrypoint" required rows={2} placeholder="node app.ts --epochs 3" spellCheck={false} />
          <span className="help">
            A command of the shell, run on a node in the working directory, with MOBULA_ADDRESS set: <code>init()</code>{" "}
            in it joins this cluster.
          </span>
        </label>
        <label>
          Working directory
          <input name="workingDir" placeholder="/srv/app" spellCheck={false} />
          <span className="help">
            One that the node has. To send a folder of your machine:{" "}
            <code>mobula submit --working-dir . -- node app.ts</code>
          </span>
        </label>
        <div className="pair">
          <label>
            Submission id
            <input name="submissionId" placeholder="made if empty" pattern="[\w.\-]+" spellCheck={false} />
          </label>
          <label>
            Retries
            <input name="maxRetries" type="number" min={0} max={100} placeholder="0" />
          </label>
          <label>
            CPUs for the driver
            <input name="cpus" type="number" min={0} step="any" placeholder="0" />
          </label>
          <label>
            GPUs for the driver
            <input name="gpus" type="number" min={0} step="any" placeholder="0" />
          </label>
        </div>
        <label>
          Environment variables
          <textarea name="env" rows={3} placeholder={"MODEL=small\nSEED=7"} spellCheck={false} />
          <span className="help">A line each, NAME=value.</span>
        </label>
        <label>
          Metadata
          <textarea name="metadata" rows={2} placeholder="team=search" spellCheck={false} />
          <span className="help">A line each, key=value; shown with the job.</span>
        </label>
        {error !== undefined && <Failure error={error} hasData={false} />}
        <div className="filters">
          <button type="submit" className="button primary" disabled={isBusy}>
            {isBusy ? "Submitting…" : "Submit"}
          </button>
          <a className="button plain" href={href(["jobs"])}>
            Cancel
          </a>
        </div>
      </form>
    </div>
  );
}

function readSubmission(form: FormData): Submission {
  const text = (name: string) => String(form.get(name) ?? "").trim();
  const envVars = readPairs(text("env"), "Environment variables");
  const metadata = readPairs(text("metadata"), "Metadata");
  const resources: Record<string, number> = {};
  if (text("cpus") !== "") resources.cpu = Number(text("cpus"));
  if (text("gpus") !== "") resources.gpu = Number(text("gpus"));
  const runtimeEnv = {
    ...(text("workingDir") === "" ? {} : { workingDir: text("workingDir") }),
    ...(Object.keys(envVars).length === 0 ? {} : { env: envVars }),
  };
  return {
    entrypoint: text("entrypoint"),
    ...(text("submissionId") === "" ? {} : { submissionId: text("submissionId") }),
    ...(Object.keys(metadata).length === 0 ? {} : { metadata }),
    ...(Object.keys(runtimeEnv).length === 0 ? {} : { runtimeEnv }),
    ...(Object.keys(resources).length === 0 ? {} : { resources }),
    ...(text("maxRetries") === "" ? {} : { retry: { maxRetries: Number(text("maxRetries")) } }),
  };
}

function readPairs(text: string, where: string): Record<string, string> {
  const pairs: Record<string, string> = {};
  for (const line of text.split("\n").filter((one) => one.trim() !== "")) {
    const at = line.indexOf("=");
    if (at <= 0) throw new Error(`${where}: "${line.trim()}" has no name; write NAME=value`);
    pairs[line.slice(0, at).trim()] = line.slice(at + 1).trim();
  }
  return pairs;
}
