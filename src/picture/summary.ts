import { SHARING_WORDS } from "./describe.ts";
import { SHARINGS } from "./family-map.ts";
import { groupOf } from "./group.ts";
import type { FamilyLayout } from "./layout.ts";
import { rect, round, text } from "./shapes.ts";
import { counted, figure, fitText, textWidth } from "./text.ts";

/** Distance from the top of the two bars to the top of the matrix. */
export const SUMMARY_HEIGHT = 100;
/** Height of a line of small print. */
export const NOTE_HEIGHT = 18;

const BAR = 14;

/** Draws two bars of one scale: the models as files, and their bytes stored once. */
export function drawSummary(layout: FamilyLayout, top: number): string {
  const { totals, names, matrix } = layout;
  const scale = matrix.width / Math.max(1, totals.fileBytes, totals.storedBytes);
  const stored = top + BAR + 12;
  const bar = (y: number, parts: readonly (readonly [style: string, bytes: number])[]): string => {
    let { x } = matrix;
    return parts
      .map(([style, bytes]) => {
        const width = bytes * scale;
        x += width;
        // Leave a thin gap between neighbours, but keep the width of very narrow parts.
        return width > 0 ? rect(style, x - width, y, width > 3 ? width - 1 : width, BAR) : "";
      })
      .join("");
  };
  return [
    text(names.x, top + BAR - 2, "tm-text tm-quiet", "as files"),
    bar(
      top,
      totals.models.map((model) => ["tm-files", model.fileBytes] as const),
    ),
    text(names.x, stored + BAR - 2, "tm-text tm-quiet", "stored once"),
    bar(stored, [
      ["tm-all", totals.all.bytes],
      ["tm-some", totals.some.bytes],
      ["tm-own", totals.own.bytes],
      ["tm-files", totals.programBytes ?? 0],
    ]),
    text(matrix.x + totals.fileBytes * scale + 10, top + BAR - 2, "tm-text tm-ink", figure(totals.fileBytes)),
    text(
      matrix.x + totals.storedBytes * scale + 10,
      stored + BAR - 2,
      "tm-text tm-ink",
      figure(totals.storedBytes),
    ),
  ].join("\n");
}

/** Draws the legend of the fills in the picture, with the stored bytes of each. */
export function drawLegend(layout: FamilyLayout, y: number): string {
  const { totals } = layout;
  const shown = new Set(layout.runs.flatMap((run) => run.cells.flat().map((part) => part.sharing)));
  const bytes = { all: totals.all.bytes, some: totals.some.bytes, variant: undefined, own: totals.own.bytes };
  const entries: [style: string, words: string, bytes: number | undefined][] = SHARINGS.filter((sharing) =>
    shown.has(sharing),
  ).map((sharing) => [
    sharing,
    sharing === "all" ? "foundation, shared by all" : SHARING_WORDS[sharing],
    bytes[sharing],
  ]);
  if (lacksSome(layout)) entries.push(["track", "not in the model", undefined]);
  if (totals.programBytes !== undefined) entries.push(["files", "programs", totals.programBytes]);
  let { x } = layout.matrix;
  return entries
    .map(([style, words, bytes]) => {
      const left = x;
      const size = bytes === undefined ? "" : figure(bytes);
      x += 18 + textWidth(`${words} ${size}`, 12.5) + 28;
      // The number follows its label as text, because the width of the label is an estimate.
      const flowing = size === "" ? "" : ` <tspan class="tm-quiet">${size}</tspan>`;
      return `${rect(`tm-${style}`, left, y - 10, 12, 12)}<text x="${round(left + 18)}" y="${round(y)}" class="tm-small tm-ink">${words}${flowing}</text>`;
    })
    .join("");
}

/** Notes in small print about data that the picture leaves out. */
export function notesOf(layout: FamilyLayout): readonly string[] {
  const { runs, columns, totals } = layout;
  const notes: string[] = [];
  const renamed = runs.flatMap((run) => run.columns).filter((column) => column.names.length > 1).length;
  if (renamed > 0) {
    notes.push(
      `${counted(renamed, "weight")} ${renamed === 1 ? "has" : "have"} several names for the same bytes (${namesNote(layout)}), drawn once`,
    );
  }
  if (runs.length < columns) {
    const divided = runs.some((run) => run.cells.some((parts) => parts.some((part) => part.fraction < 1)));
    notes.push(
      `${counted(columns, "weight")} in ${counted(runs.length, "column")}: neighbours are drawn together${divided ? ", and a cell is divided by their bytes" : ""}`,
    );
  }
  if (totals.programBytes === undefined) {
    notes.push("“stored once” counts weights; the programs (graphs, metadata) come on top");
  }
  return notes;
}

function namesNote({ runs }: FamilyLayout): string {
  const several = runs.flatMap((run) => run.columns).filter((column) => column.names.length > 1);
  const methods = new Set(several.flatMap((column) => column.names.map((name) => groupOf(name).method)));
  const names = methods.size > 1 ? [...methods] : (several[0]?.names ?? []);
  const shown = names.slice(0, 3).map((name) => fitText(name, 12, 130));
  return names.length > 3 ? `${shown.join(", ")}, …` : shown.join(", ");
}

function lacksSome({ runs }: FamilyLayout): boolean {
  return runs.some((run) => run.columns.some((column) => column.cells.includes(undefined)));
}
