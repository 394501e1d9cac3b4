import type { Column } from "./align.ts";
import { SHARINGS, type Sharing } from "./family-map.ts";
import { type Group, groupOf } from "./group.ts";

/** The share of a run that one model has with one kind of sharing. */
export interface Part {
  readonly sharing: Sharing;
  /** Fraction of the run's bytes; the sum of a cell is below 1 if the model lacks weights. */
  readonly fraction: number;
}

/** Adjacent columns that are drawn as one. */
export interface Run {
  readonly columns: readonly Column[];
  /** Group of its first column. */
  readonly group: Group;
  readonly bytes: number;
  /** Parts by model: one part of fraction 1 if all columns are alike, none if the model has none of them. */
  readonly cells: readonly (readonly Part[])[];
}

interface Placed {
  readonly column: Column;
  readonly group: Group;
  readonly pattern: string;
}

/** Numbers of layers that may be drawn together: round numbers, as on an axis. */
const BLOCKS: readonly number[] = [2, 5, 10, 20, 50, 100, 200, 500, 1000];

/**
 * Merges adjacent columns until there are at most `most` runs: first columns of one sharing pattern within a group, then
 * across groups; then complete groups with any patterns, then blocks of groups, and at last equal shares. Runs of mixed
 * patterns need more space, so the limit for them is a fifth lower.
 */
export function mergeRuns(columns: readonly Column[], models: number, most: number): readonly Run[] {
  const placed = columns.map((column) => ({
    column,
    group: groupOf(column.names[0] ?? ""),
    pattern: column.cells.map((cell) => cell?.sharing ?? "").join(),
  }));
  const mixed = Math.max(1, Math.floor(most * 0.8));
  const stages: readonly (readonly [limit: number, key: (item: Placed, index: number) => string | number])[] =
    [
      [most, (_, index) => index],
      [most, ({ group, pattern }) => `${pattern} ${group.key}`],
      [most, ({ pattern }) => pattern],
      [mixed, ({ group }) => group.key],
      ...BLOCKS.map((block) => [mixed, ({ group }: Placed) => blockOf(group, block)] as const),
      [mixed, (_, index) => Math.floor((index * mixed) / placed.length)],
    ];
  for (const [limit, key] of stages) {
    const merged = mergeNeighbours(placed, key);
    if (merged.length <= limit) return merged.map((items) => runOf(items, models));
  }
  return [];
}

function blockOf(group: Group, size: number): string {
  return group.index === undefined ? group.key : `${group.series} ${Math.floor(Number(group.index) / size)}`;
}

function mergeNeighbours(
  placed: readonly Placed[],
  key: (item: Placed, index: number) => string | number,
): Placed[][] {
  const merged: Placed[][] = [];
  let last: string | number | undefined;
  for (const [index, item] of placed.entries()) {
    const next = key(item, index);
    if (next === last) merged.at(-1)?.push(item);
    else merged.push([item]);
    last = next;
  }
  return merged;
}

function runOf(items: readonly Placed[], models: number): Run {
  const columns = items.map((item) => item.column);
  const bytes = columns.reduce((sum, column) => sum + column.bytes, 0);
  // In a run of empty weights only, all columns count equally, so that they are visible.
  const share = (column: Column): number => (bytes === 0 ? 1 / columns.length : column.bytes / bytes);
  const cells = Array.from({ length: models }, (_, row) =>
    SHARINGS.flatMap((sharing): Part[] => {
      const alike = columns.filter((column) => column.cells[row]?.sharing === sharing);
      if (alike.length === columns.length) return [{ sharing, fraction: 1 }];
      const fraction = alike.reduce((sum, column) => sum + share(column), 0);
      return fraction > 0 ? [{ sharing, fraction }] : [];
    }),
  );
  return { columns, group: items[0]?.group ?? groupOf(""), bytes, cells };
}
