import type { Sharing } from "./family-map.ts";
import type { Part, Run } from "./runs.ts";
import { clipText, counted, figure } from "./text.ts";

/** Label of each kind of sharing. */
export const SHARING_WORDS: Readonly<Record<Sharing, string>> = {
  all: "shared by all",
  some: "shared by some",
  variant: "shared by some, another version",
  own: "own to one",
};

/** Limit of lines, since people do not read more. */
const MAX_LINES = 6;

/** Lines of a description. */
export interface RunWords {
  /** Names, dtype and size of the weights. */
  readonly what: readonly string[];
  /** The models that share them. */
  readonly who: readonly string[];
}

/**
 * Describes a run: the names and sizes of its weights, and the models that share them.
 * @param models names of the models, by row
 * @param limit largest size of a name in bytes
 */
export function describeRun(run: Run, models: readonly string[], limit: number): RunWords {
  const clip = (name: string): string => clipText(name, limit);
  const [column] = run.columns;
  if (column === undefined) return { what: [], who: [] };
  const name = clip(column.names[0] ?? "");
  if (run.columns.length > 1) {
    const last = clip(run.columns.at(-1)?.names[0] ?? "");
    const size = `${counted(run.columns.length, "weight")} · ${figure(run.bytes)}`;
    return { what: [`${name} … ${last}`, size], who: capped(makeups(run, models.map(clip))) };
  }
  const weight = column.cells.find((cell) => cell !== undefined)?.weight;
  const shape = weight?.shape.join(" × ") || "scalar";
  const what = [
    name,
    ...alsoKnownAs(column.names.slice(1).map(clip)),
    `${clip(weight?.dtype ?? "")} ${clip(shape)} · ${figure(column.bytes)}`,
  ];
  return { what, who: capped(versions(run, models.map(clip))) };
}

function alsoKnownAs(names: readonly string[]): string[] {
  const more = names.length - 2;
  return [
    ...names.slice(0, 2).map((name) => `also ${name}`),
    ...(more > 0 ? [`and ${counted(more, "more name")}`] : []),
  ];
}

function versions(run: Run, models: readonly string[]): string[] {
  const rows = new Map<string, number[]>();
  const cells = run.columns[0]?.cells ?? [];
  for (const [row, cell] of cells.entries()) {
    const version = cell === undefined ? "" : cell.sharing === "own" ? "own" : cell.weight.digest;
    rows.set(version, [...(rows.get(version) ?? []), row]);
  }
  return [...rows.values()].map((holders) => {
    const cell = cells[holders[0] ?? 0];
    const names = list(holders, models);
    if (cell === undefined) return `not in ${names}`;
    if (cell.sharing === "own") return holders.length === 1 ? `own to ${names}` : `own to each of ${names}`;
    if (holders.length === models.length) return `shared by all ${counted(models.length, "model")}`;
    if (holders.length === 1) return `${names} shares it, under another name`;
    return `shared by ${names}`;
  });
}

function makeups(run: Run, models: readonly string[]): string[] {
  const rows = new Map<string, number[]>();
  for (const [row, parts] of run.cells.entries()) {
    const makeup = parts.map(inWords).join(", ") || "has none of them";
    rows.set(makeup, [...(rows.get(makeup) ?? []), row]);
  }
  return [...rows].map(([makeup, holders]) => `${list(holders, models)}: ${makeup}`);
}

function capped(lines: readonly string[]): readonly string[] {
  if (lines.length <= MAX_LINES) return lines;
  return [...lines.slice(0, MAX_LINES - 1), `and ${lines.length - MAX_LINES + 1} more versions`];
}

function inWords({ sharing, fraction }: Part): string {
  const words = sharing === "own" ? "own" : SHARING_WORDS[sharing];
  if (fraction === 1) return words;
  const percent = Math.round(fraction * 100);
  return `${percent === 0 ? "under 1" : percent}% ${words}`;
}

function list(rows: readonly number[], models: readonly string[]): string {
  const names = rows.slice(0, 4).map((row) => models[row]);
  return rows.length > 4 ? `${names.join(", ")} and ${rows.length - 4} more` : names.join(", ");
}
