import { describeRun } from "./describe.ts";
import { type FamilyMap, SHARINGS, type Sharing } from "./family-map.ts";
import { type FamilyLayout, NAME_SIZE } from "./layout.ts";
import { box, rect, text } from "./shapes.ts";
import { clipText, escapeXml, figure, fitText } from "./text.ts";

/** Limit of the bytes of names in all descriptions, so that hostile names cannot make the picture large. */
const NAME_BUDGET = 100_000;

/** Draws rows of models, columns of weights, and at the right the shared and own bytes of each model. */
export function drawMatrix(map: FamilyMap, layout: FamilyLayout): string {
  const { matrix, figures, rows, labels } = layout;
  return [
    ...labels.map((label) => text(label.x, -10, "tm-small tm-quiet", label.text)),
    text(figures.shared, -10, "tm-small tm-quiet tm-end", "shared"),
    text(figures.own, -10, "tm-small tm-quiet tm-end", "own"),
    ...rows.map((row) => rect("tm-track", matrix.x, row.y, matrix.width, row.height)),
    ...drawCells(layout),
    ...map.models.map((model, row) => drawRow(model.name, layout, row)),
    ...drawRuns(map, layout),
  ].join("\n");
}

function drawCells({ rows, runs }: FamilyLayout): string[] {
  const boxes: Record<Sharing, string[]> = { all: [], some: [], variant: [], own: [] };
  for (const [index, row] of rows.entries()) {
    for (const run of runs) {
      let { y } = row;
      for (const { sharing, fraction } of run.cells[index] ?? []) {
        const height = row.height * fraction;
        boxes[sharing].push(box(run.x, y, run.width, height));
        y += height;
      }
    }
  }
  return SHARINGS.filter((sharing) => boxes[sharing].length > 0).map(
    (sharing) => `<path class="tm-${sharing}" d="${boxes[sharing].join("")}"/>`,
  );
}

function drawRow(name: string, layout: FamilyLayout, index: number): string {
  const { names, bars, figures, totals } = layout;
  const row = layout.rows[index];
  const model = totals.models[index];
  if (row === undefined || model === undefined) return "";
  const middle = row.y + row.height / 2;
  const tall = row.height >= 34;
  const most = Math.max(1, ...totals.models.map((other) => other.weights.bytes));
  const shared = model.all.bytes + model.some.bytes;
  const widthOf = (bytes: number): number => (bars.width * bytes) / most;
  const thick = Math.min(14, row.height - 8);
  let { x } = bars;
  const segments = [
    ["all", model.all.bytes],
    ["some", model.some.bytes],
    ["own", model.own.bytes],
  ] as const;
  return [
    text(
      names.x,
      middle + (tall ? -2 : 5),
      "tm-name tm-ink",
      fitText(name, NAME_SIZE, names.width),
      clipText(name, 1000),
    ),
    tall ? text(names.x, middle + 15, "tm-small tm-quiet", figure(model.fileBytes)) : "",
    ...segments.map(([kind, bytes]) => {
      const width = widthOf(bytes);
      x += width;
      return width > 0 ? rect(`tm-${kind}`, x - width, middle - thick / 2, width, thick) : "";
    }),
    text(figures.shared, middle + 5, `tm-text tm-end ${shared > 0 ? "tm-ink" : "tm-quiet"}`, figure(shared)),
    text(
      figures.own,
      middle + 5,
      `tm-text tm-end ${model.own.bytes > 0 ? "tm-ink" : "tm-quiet"}`,
      figure(model.own.bytes),
    ),
  ].join("");
}

function drawRuns(map: FamilyMap, { matrix, runs }: FamilyLayout): string[] {
  const models = map.models.map((model) => model.name);
  const limit = Math.max(40, Math.floor(NAME_BUDGET / Math.max(1, runs.length) / 8));
  return runs.map((run) => {
    const { what, who } = describeRun(run, models, limit);
    const lines = [...what, "", ...who].map(escapeXml);
    return `<rect class="tm-run" x="${run.x.toFixed(1)}" y="-3" width="${run.width.toFixed(1)}" height="${matrix.height + 6}"><title>${lines.join("\n")}</title></rect>`;
  });
}
