import { alignWeights } from "./align.ts";
import type { FamilyMap } from "./family-map.ts";
import { type Label, placeLabels } from "./labels.ts";
import { mergeRuns, type Run } from "./runs.ts";
import { textWidth } from "./text.ts";
import { type FamilyTotals, familyTotals } from "./totals.ts";

/** A run of weights and where it stands. */
export interface LaidRun extends Run {
  /** Left edge; the matrix is `matrix.width` wide, its gaps included. */
  readonly x: number;
  /** Without the gap that follows. */
  readonly width: number;
}

/** A model and where its row stands. */
export interface LaidRow {
  /** From the top of the matrix. */
  readonly y: number;
  readonly height: number;
}

/** The picture as numbers, in pixels; everything that is drawn follows from it. */
export interface FamilyLayout {
  /** Of the whole picture. */
  readonly width: number;
  /** Left edge of the models' names, and the room they have. */
  readonly names: { readonly x: number; readonly width: number };
  readonly matrix: { readonly x: number; readonly width: number; readonly height: number };
  /** The bars of shared and own bytes, and the right edges of their figures. */
  readonly bars: { readonly x: number; readonly width: number };
  readonly figures: { readonly shared: number; readonly own: number };
  readonly rows: readonly LaidRow[];
  readonly runs: readonly LaidRun[];
  readonly labels: readonly Label[];
  /** Weights the family has, each name that holds the same bytes everywhere counted once. */
  readonly columns: number;
  readonly totals: FamilyTotals;
}

const WIDTH = 1200;
const MARGIN = 32;
const BAR = 96;
const FIGURE = 76;
/** Size of the models' names in pixels, for their width: bold takes more room than its 14 pixels. */
export const NAME_SIZE = 15.5;

/**
 * Places a family on a page 1200 pixels wide: a row per model, a column per weight, as wide as its bytes but wide
 * enough to see; so many weights that they would not show are merged into runs.
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
  // The picture's size follows its cells: fewer columns where there are many models.
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
