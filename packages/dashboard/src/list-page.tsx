/** A page that lists one kind of thing: filters that go to the server and stay in the URL, and a table. */
import { type FormEvent, type ReactNode, useEffect, useRef, useState } from "react";
import { type List, listPath } from "./api.ts";
import { count } from "./format.ts";
import { Empty, Failure, Partial } from "./parts.tsx";
import { useParams } from "./router.ts";
import type { RowKind } from "./rows.ts";
import { type Column, Table } from "./table.tsx";
import { useQuery } from "./use-query.ts";

export interface ListSpec<R> {
  readonly kind: RowKind;
  /** In the plural, in the words of a sentence: `placement groups`. */
  readonly noun: string;
  readonly columns: readonly Column<R>[];
  idOf(row: R): string;
  linkOf?(row: R): string;
  /** The field that the text field searches. */
  readonly textKey: string;
  readonly textTitle: string;
  /** A field with few values, chosen from a list. */
  readonly choice?: { readonly key: string; readonly title: string; readonly values: readonly string[] };
  /** Further fields to filter by. */
  readonly fields: readonly string[];
  readonly empty: ReactNode;
}

/** Rows that a list shows at once; more than a thousand are asked for less often. */
const LIMITS = [200, 1000, 10_000];
const OPERATORS = ["=", "!=", "~", "<", ">"] as const;

export function ListView<R>({ spec, fixed = [] }: { spec: ListSpec<R>; fixed?: readonly string[] }) {
  const [params, setParams] = useParams();
  const filters = params.getAll("filter");
  const limit = LIMITS.find((value) => value === Number(params.get("limit"))) ?? 200;
  const sort = params.get("sort") ?? "";
  const path = listPath(spec.kind, [...fixed, ...filters], limit, { sort });
  const answer = useQuery<List<R>>(path, limit > 1000 ? 10_000 : 2000);
  const { data, error, isOld, refresh } = answer;
  const setFilters = (next: readonly string[]) => setParams({ filter: next });
  return (
    <>
      <Filters spec={spec} filters={filters} setFilters={setFilters}>
        <span className="total">
          <span className="grow" role="status">
            {data === undefined
              ? ""
              : data.rows.length < data.total
                ? `${count(data.rows.length)} of ${count(data.total)}`
                : count(data.total)}{" "}
            {data !== undefined && (data.total === 1 ? spec.noun.replace(/s$/, "") : spec.noun)}
          </span>
          <select
            aria-label="Rows at most"
            value={limit}
            onChange={(event) => setParams({ limit: event.target.value === "200" ? "" : event.target.value })}
          >
            {LIMITS.map((value) => (
              <option key={value} value={value}>
                {count(value)} rows
              </option>
            ))}
          </select>
        </span>
      </Filters>
      {error !== undefined && <Failure error={error} hasData={data !== undefined} retry={refresh} />}
      <Partial reasons={data?.partial} />
      {data === undefined ? (
        error === undefined && <div className="skeleton">Loading…</div>
      ) : data.rows.length === 0 ? (
        <div className="card">
          {filters.length > 0 ? (
            <Empty title={`No ${spec.noun} match`}>
              <button type="button" className="button" onClick={() => setFilters([])}>
                Remove the filters
              </button>
            </Empty>
          ) : (
            spec.empty
          )}
        </div>
      ) : (
        <Table
          label={spec.noun}
          columns={spec.columns}
          rows={data.rows}
          total={data.total}
          idOf={(row) => spec.idOf(row)}
          {...(spec.linkOf === undefined ? {} : { linkOf: (row: R) => spec.linkOf?.(row) ?? "" })}
          order={{ value: sort, set: (next) => setParams({ sort: next }) }}
          isOld={isOld}
        />
      )}
    </>
  );
}

/** Waits for the end of typing before the server is asked. */
const TYPING_MS = 200;

function Filters<R>({
  spec,
  filters,
  setFilters,
  children,
}: {
  spec: ListSpec<R>;
  filters: readonly string[];
  setFilters: (filters: readonly string[]) => void;
  children: ReactNode;
}) {
  const { textKey, choice } = spec;
  const textPrefix = `${textKey}~`;
  const choicePrefix = choice === undefined ? undefined : `${choice.key}=`;
  const text = filters.find((filter) => filter.startsWith(textPrefix))?.slice(textPrefix.length) ?? "";
  const chosen =
    choicePrefix === undefined
      ? ""
      : (filters.find((filter) => filter.startsWith(choicePrefix))?.slice(choicePrefix.length) ?? "");
  const others = filters.filter(
    (filter) => !filter.startsWith(textPrefix) && !(choicePrefix !== undefined && filter.startsWith(choicePrefix)),
  );
  const replace = (prefix: string, value: string) =>
    setFilters([...filters.filter((filter) => !filter.startsWith(prefix)), ...(value === "" ? [] : [prefix + value])]);

  const [typed, setTyped] = useState(text);
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  useEffect(() => setTyped(text), [text]);
  useEffect(() => () => clearTimeout(timer.current), []);
  const [isAdding, setAdding] = useState(false);

  return (
    <search className="filters">
      <input
        className="quick"
        type="search"
        aria-label={spec.textTitle}
        placeholder={spec.textTitle}
        value={typed}
        onChange={(event) => {
          const { value } = event.target;
          setTyped(value);
          clearTimeout(timer.current);
          timer.current = setTimeout(() => replace(textPrefix, value.trim()), TYPING_MS);
        }}
      />
      {choice !== undefined && choicePrefix !== undefined && (
        <select
          aria-label={choice.title}
          value={chosen}
          onChange={(event) => replace(choicePrefix, event.target.value)}
        >
          <option value="">Any {choice.title.toLowerCase()}</option>
          {choice.values.map((value) => (
            <option key={value}>{value}</option>
          ))}
        </select>
      )}
      {others.map((filter) => (
        <span className="chip" key={filter}>
          {filter}
          <button
            type="button"
            aria-label={`Remove the filter ${filter}`}
            onClick={() => setFilters(filters.filter((other) => other !== filter))}
          >
            ×
          </button>
        </span>
      ))}
      {isAdding ? (
        <AddFilter
          fields={spec.fields}
          close={() => setAdding(false)}
          add={(filter) => setFilters([...filters.filter((other) => other !== filter), filter])}
        />
      ) : (
        <button type="button" className="button" onClick={() => setAdding(true)}>
          Filter…
        </button>
      )}
      {children}
    </search>
  );
}

function AddFilter({
  fields,
  add,
  close,
}: {
  fields: readonly string[];
  add: (filter: string) => void;
  close: () => void;
}) {
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    add(`${form.get("field")}${form.get("operator")}${String(form.get("value")).trim()}`);
    close();
  };
  return (
    <form className="add-filter" onSubmit={submit} onKeyDown={(event) => event.key === "Escape" && close()}>
      <select name="field" aria-label="Field" ref={(element) => element?.focus()}>
        {fields.map((field) => (
          <option key={field}>{field}</option>
        ))}
      </select>
      <select name="operator" aria-label="Comparison">
        {OPERATORS.map((operator) => (
          <option key={operator} value={operator}>
            {operator === "~" ? "contains" : operator}
          </option>
        ))}
      </select>
      <input name="value" aria-label="Value" placeholder="value" required />
      <button type="submit" className="button primary">
        Add
      </button>
      <button type="button" className="button plain" onClick={close}>
        Cancel
      </button>
    </form>
  );
}

/** A list inside a page of one thing: what belongs to it, the first 200. */
export function Related<R>({
  spec,
  filters,
  title,
  more,
  without = [],
}: {
  spec: ListSpec<R>;
  filters: readonly string[];
  title: string;
  more: string;
  /** Keys of columns that would say the same in each row. */
  without?: readonly string[];
}) {
  const [sort, setSort] = useState("");
  const { data, error, isOld, refresh } = useQuery<List<R>>(listPath(spec.kind, filters, 200, { sort }), 4000);
  return (
    <section className="card" aria-label={title}>
      <div className="card-head">
        <h2>{title}</h2>
        {data !== undefined && data.total > 0 && (
          <a href={more} className="small">
            {count(data.total)} in all →
          </a>
        )}
      </div>
      {error !== undefined && <Failure error={error} hasData={data !== undefined} retry={refresh} />}
      <Partial reasons={data?.partial} />
      {data === undefined ? (
        <div className="skeleton">{error === undefined ? "Loading…" : ""}</div>
      ) : data.rows.length === 0 ? (
        <div className="skeleton">None.</div>
      ) : (
        <Table
          label={title}
          columns={spec.columns.filter(({ key }) => !without.includes(key))}
          rows={data.rows}
          total={data.total}
          idOf={(row) => spec.idOf(row)}
          {...(spec.linkOf === undefined ? {} : { linkOf: (row: R) => spec.linkOf?.(row) ?? "" })}
          order={{ value: sort, set: setSort }}
          isOld={isOld}
          maxHeight={360}
        />
      )}
    </section>
  );
}
