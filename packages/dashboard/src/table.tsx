/**
 * A table of any length: rows have one height, so that only those in view exist. It scrolls in a box of its own; on
 * a phone each row is a card.
 */
import { type KeyboardEvent, memo, type ReactNode, useLayoutEffect, useMemo, useRef, useState } from "react";
import { useParams } from "./router.ts";
import { useMedia } from "./use-media.ts";

export interface Column<R> {
  readonly key: string;
  readonly title: string;
  /** A track of the grid, as `minmax(160px, 2fr)`. */
  readonly width: string;
  readonly isEnd?: boolean;
  readonly isMono?: boolean;
  /** On a phone: the first line, beside it, or not at all; without it one of the values below. */
  readonly phone?: "title" | "state" | "hide";
  render(row: R): ReactNode;
  /** The field that the service sorts the whole list by. */
  readonly field?: string;
  /** In a table that has all rows: what the column is sorted by. Nulls come last. */
  sort?(row: R): string | number | null;
}

export interface TableProps<R> {
  readonly label: string;
  readonly columns: readonly Column<R>[];
  readonly rows: readonly R[];
  idOf(row: R): string;
  linkOf?(row: R): string;
  /** The parameter of the URL that keeps the order of a table that has all rows; without it the table forgets it. */
  readonly sortParam?: string;
  /** The rows come in this order, by fields; without it the table sorts what it has. */
  readonly order?: Order;
  readonly isOld?: boolean;
  readonly maxHeight?: number;
  /** Of the whole list, where `rows` is a part of it. */
  readonly total?: number;
}

/** `field`, `-field` for the largest first, or empty. */
export interface Order {
  readonly value: string;
  set(value: string): void;
}

const ROW_PX = 32;
const CARD_PX = 92;
const HEAD_PX = 33;
const OVERSCAN_ROWS = 8;

export function Table<R>(props: TableProps<R>) {
  const { label, columns, rows, idOf, linkOf, sortParam, isOld = false, maxHeight, total } = props;
  const [params, setParams] = useParams();
  const [localSort, setLocalSort] = useState("");
  const isSorted = props.order !== undefined;
  const order = props.order?.value ?? (sortParam === undefined ? localSort : (params.get(sortParam) ?? ""));
  const setOrder =
    props.order?.set ??
    ((next: string) => (sortParam === undefined ? setLocalSort(next) : setParams({ [sortParam]: next })));
  const sorted = useMemo(() => (isSorted ? rows : sortRows(rows, columns, order)), [rows, columns, order, isSorted]);

  const isPhone = useMedia("(max-width: 760px)");
  const rowPx = isPhone ? CARD_PX : ROW_PX;
  const headPx = isPhone ? 0 : HEAD_PX;
  const box = useRef<HTMLDivElement>(null);
  const focusNext = useRef<number | undefined>(undefined);
  const [view, setView] = useState({ first: 0, last: 40 });
  const measure = () => {
    const element = box.current;
    if (element === null) return;
    const first = Math.max(0, Math.floor(element.scrollTop / rowPx) - OVERSCAN_ROWS);
    const last = Math.ceil((element.scrollTop + element.clientHeight) / rowPx) + OVERSCAN_ROWS;
    setView((old) =>
      // Half of what is drawn beyond the view may pass before anything is drawn again.
      Math.abs(old.first - first) < OVERSCAN_ROWS / 2 && Math.abs(old.last - last) < OVERSCAN_ROWS / 2
        ? old
        : { first, last },
    );
  };
  const measureNow = useRef(measure);
  measureNow.current = measure;
  useLayoutEffect(() => {
    const element = box.current;
    if (element === null) return;
    const observer = new ResizeObserver(() => measureNow.current());
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  useLayoutEffect(() => {
    const index = focusNext.current;
    if (index === undefined) return;
    const link = box.current?.querySelector<HTMLElement>(`tr[data-index="${index}"] .row-link`);
    if (link == null) return;
    focusNext.current = undefined;
    link.focus({ preventScroll: true });
  });

  const onKeyDown = (event: KeyboardEvent) => {
    const step =
      event.key === "ArrowDown" || event.key === "j" ? 1 : event.key === "ArrowUp" || event.key === "k" ? -1 : 0;
    const element = box.current;
    if (step === 0 || element === null || event.ctrlKey || event.metaKey || event.altKey) return;
    const row = (event.target as HTMLElement).closest<HTMLElement>("tr[data-index]");
    const at = row === null ? -1 : Number(row.dataset.index);
    const next = row === null ? view.first + OVERSCAN_ROWS * (view.first > 0 ? 1 : 0) : at + step;
    if (next < 0 || next >= sorted.length) return;
    event.preventDefault();
    const top = next * rowPx;
    if (top < element.scrollTop) element.scrollTop = top;
    else if (top + rowPx + headPx > element.scrollTop + element.clientHeight) {
      element.scrollTop = top + rowPx + headPx - element.clientHeight;
    }
    focusNext.current = next;
    measure();
    setView((old) => ({ ...old }));
  };

  const first = Math.min(view.first, Math.max(0, sorted.length - 1));
  const shown = sorted.slice(first, view.last);
  const template = columns.map(({ width }) => width).join(" ");
  const minWidth = isPhone ? 0 : columns.reduce((sum, { width }) => sum + leastPx(width), 0);
  const hasState = columns.some(({ phone }) => phone === "state");
  return (
    <section
      className={`table-box ${isOld ? "is-old" : ""}`}
      ref={box}
      onScroll={measure}
      onKeyDown={onKeyDown}
      style={maxHeight === undefined ? {} : { maxHeight }}
      // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable with the keyboard
      tabIndex={0}
      aria-label={label}
      aria-busy={isOld}
    >
      <table className="rows" style={{ minWidth }} aria-rowcount={(total ?? sorted.length) + 1} aria-label={label}>
        <thead>
          <tr style={{ gridTemplateColumns: template }} aria-rowindex={1}>
            {columns.map((column) => (
              <HeadCell
                key={column.key}
                column={column}
                by={isSorted ? column.field : column.sort && column.key}
                order={order}
                setOrder={setOrder}
              />
            ))}
          </tr>
        </thead>
        <tbody style={{ height: sorted.length * rowPx, paddingTop: first * rowPx }}>
          {shown.map((row, index) => (
            <BodyRow
              key={idOf(row)}
              row={row}
              index={first + index}
              // Components cannot be generic through memo; the rows are what the columns were made for.
              columns={columns as readonly Column<unknown>[]}
              template={template}
              link={linkOf?.(row)}
              hasState={hasState}
            />
          ))}
        </tbody>
      </table>
    </section>
  );
}

/** Of a track of the grid, `96px` or `minmax(96px, …)`. */
const leastPx = (track: string) => Number(/(\d+)px/.exec(track)?.[1] ?? 0);

function HeadCell<R>({
  column,
  by,
  order,
  setOrder,
}: {
  column: Column<R>;
  /** What the order calls it; undefined: nothing is sorted by it. */
  by: string | undefined;
  order: string;
  setOrder: (order: string) => void;
}) {
  const { title, isEnd } = column;
  const direction =
    by === undefined ? undefined : order === by ? "ascending" : order === `-${by}` ? "descending" : undefined;
  // Of numbers the largest come first; a third click gives the order of the list back.
  const orders = isEnd ? [`-${by}`, `${by}`, ""] : [`${by}`, `-${by}`, ""];
  const next = orders[(orders.indexOf(direction === undefined ? "" : order) + 1) % orders.length] ?? "";
  return (
    <th scope="col" className={isEnd ? "end" : ""} aria-sort={direction}>
      {by === undefined ? (
        title
      ) : (
        <button type="button" onClick={() => setOrder(next)}>
          {title}
          {direction === undefined ? "" : direction === "ascending" ? " ↑" : " ↓"}
        </button>
      )}
    </th>
  );
}

interface BodyRowProps {
  readonly row: unknown;
  readonly index: number;
  readonly columns: readonly Column<unknown>[];
  readonly template: string;
  readonly link: string | undefined;
  readonly hasState: boolean;
}
const BodyRow = memo(function BodyRow({ row, index, columns, template, link, hasState }: BodyRowProps) {
  return (
    <tr style={{ gridTemplateColumns: template }} data-index={index} aria-rowindex={index + 2}>
      {columns.map(({ key, title, isEnd, isMono, phone, render }, at) => {
        const classes = [
          isEnd ? "end" : "",
          isMono ? "mono" : "",
          phone === undefined ? "" : `phone-${phone}`,
          phone === "title" && !hasState ? "phone-wide" : "",
        ].filter(Boolean);
        const content = render(row);
        return (
          <td key={key} className={classes.join(" ")} data-label={title}>
            {at === 0 && link !== undefined ? (
              <a className="row-link" href={link}>
                {content}
              </a>
            ) : (
              content
            )}
          </td>
        );
      })}
    </tr>
  );
});

function sortRows<R>(rows: readonly R[], columns: readonly Column<R>[], order: string): readonly R[] {
  if (order === "") return rows;
  const isDown = order.startsWith("-");
  const column = columns.find(({ key }) => key === (isDown ? order.slice(1) : order));
  const { sort } = column ?? {};
  if (sort === undefined) return rows;
  const keyed = rows.map((row) => ({ row, by: sort(row) }));
  const sign = isDown ? -1 : 1;
  keyed.sort((a, b) => {
    if (a.by === null || b.by === null) return a.by === b.by ? 0 : a.by === null ? 1 : -1;
    // Of one column all are numbers, or all are texts.
    return a.by < b.by ? -sign : a.by > b.by ? sign : 0;
  });
  return keyed.map(({ row }) => row);
}
