import { alignWeights } from "./align.ts";
import type { FamilyMap } from "./family-map.ts";
import { type Label, placeLabels } from "./labels.ts";
import { mergeRuns, type Run } from "./runs.ts";
import { textWidth } from "./text.ts";
import { type FamilyTotals, familyTotals } from "./totals.ts";

/** A run of weights, and its position. */
export interface LaidRun extends Run {
  /** Left edge; the width of the matrix, `matrix.width`, includes its gaps. */
  readonly x: number;
  /** Width without the following gap. */
  readonly width: number;
}

/** A model, and the position of its row. */
export interface LaidRow {
  /** Offset from the top of the matrix. */
  readonly y: number;
  readonly height: number;
}

/** Positions and sizes of all parts of the picture, in pixels. */
export interface FamilyLayout {
  /** Size of the picture. */
  readonly width: number;
  /** Left edge and width of the models' names. */
  readonly names: { readonly x: number; readonly width: number };
  readonly matrix: { readonly x: number; readonly width: number; readonly height: number };
  /** The bars of shared and own bytes, and the right edges of their numbers. */
  readonly bars: { readonly x: number; readonly width: number };
  readonly figures: { readonly shared: number; readonly own: number };
  readonly rows: readonly LaidRow[];
  readonly runs: readonly LaidRun[];
  readonly labels: readonly Label[];
  /** Number of weights of the family; names with equal bytes in all models count once. */
  readonly columns: number;
  readonly totals: FamilyTotals;
}

const WIDTH = 1200;
const MARGIN = 32;
const BAR = 96;
const FIGURE = 76;
/** Font size in pixels for the width of the models' names: bold text is wider than its 14 pixels suggest. */
export const NAME_SIZE = 15.5;

/**
 * Lays out a family on a page 1200 pixels wide: a row per model, and a column per weight, whose width is proportional to
 * its size but never invisible. Merges weights into runs if there are too many columns to see.
 */
export function layoutFamily(map: FamilyMap): FamilyLayout {
  const models = map.models.length;
  const longest = Math.max(0, ...map.models.map(({ name }) => textWidth(name.slice(0, 100), NAME_SIZE)));
  const names = { x: MARGIN, width: Math.min(180, Math.max(72, Math.ceil(longest))) };
  const own = WIDTH - MARGIN;
  const figures = { own, shared: own - FIGURE };
  const bars = { x: own - 2 * FIGURE - BAR, width: BAR };
  const x = names.x + names.width + 20;
  const width = bars.x - 24 - x;

  const columns = alignWeights(map);
  // The number of cells determines the size of the file: use fewer columns for more models.
  const runs = mergeRuns(
    columns,
    models,
    Math.min(100, Math.max(40, Math.floor(3200 / Math.max(1, models)))),
  );
  const laid = placeRuns(runs, x, width);
  const pitch = Math.min(50, Math.max(24, Math.floor(460 / Math.max(1, models))));
  const gap = pitch > 36 ? 8 : 4;
  return {
    width: WIDTH,
    names,
    matrix: { x, width, height: Math.max(0, models * pitch - gap) },
    bars,
    figures,
    rows: map.models.map((_, row) => ({ y: row * pitch, height: pitch - gap })),
    runs: laid,
    labels: placeLabels(laid, x + width),
    columns: columns.length,
    totals: familyTotals(map),
  };
}

function placeRuns(runs: readonly Run[], left: number, width: number): LaidRun[] {
  const breaks = runs.filter(
    (run, index) => index > 0 && run.group.key !== runs[index - 1]?.group.key,
  ).length;
  const between = breaks === 0 ? 0 : Math.min(5, (0.1 * width) / breaks);
  const within = Math.min(1, (0.1 * width) / Math.max(1, runs.length));
  const room = width - breaks * between - Math.max(0, runs.length - 1 - breaks) * within;
  const least = Math.min(5, (0.5 * room) / Math.max(1, runs.length));
  const bytes = runs.reduce((sum, run) => sum + run.bytes, 0);
  const spare = room - runs.length * least;
  let x = left;
  return runs.map((run, index) => {
    const share = bytes === 0 ? 1 / runs.length : run.bytes / bytes;
    const laid = { ...run, x, width: least + spare * share };
    x += laid.width + (runs[index + 1]?.group.key === run.group.key ? within : between);
    return laid;
  });
}
