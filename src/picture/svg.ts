import type { FamilyMap } from "./family-map.ts";
import { type FamilyLayout, layoutFamily } from "./layout.ts";
import { drawMatrix } from "./matrix.ts";
import { rect, text } from "./shapes.ts";
import { PICTURE_PATTERNS, PICTURE_STYLE } from "./style.ts";
import { drawLegend, drawSummary, NOTE_HEIGHT, notesOf, SUMMARY_HEIGHT } from "./summary.ts";
import { clipText, counted, escapeXml, figure } from "./text.ts";

/**
 * Draws a family as one SVG: a row per model, a column per weight, the models that share it, and sizes. The file has at
 * most 300 KB for up to 20 models with any number of weights, follows the viewer's light or dark theme, and escapes
 * every name.
 */
export function drawFamilySvg(map: FamilyMap): string {
  return drawPicture(map, layoutFamily(map), { heading: true });
}

/** Draws the picture; without its heading for a page that has its heading as text. */
export function drawPicture(
  map: FamilyMap,
  layout: FamilyLayout,
  { heading }: { readonly heading: boolean },
): string {
  const top = heading ? 96 : map.models.length === 0 ? 32 : 8;
  const { body, height } = map.models.length === 0 ? drawEmpty(layout, top) : drawBody(map, layout, top);
  return `<svg xmlns="http://www.w3.org/2000/svg" class="tare-map" viewBox="0 0 ${layout.width} ${height}" width="${layout.width}" height="${height}" role="img" aria-labelledby="tm-title" aria-describedby="tm-desc">
<title id="tm-title">${titleOf(map)}</title>
<desc id="tm-desc">${escapeXml(sayFamily(map, layout))}</desc>
<style>${PICTURE_STYLE}</style>
${PICTURE_PATTERNS}
${rect("tm-paper", 0, 0, layout.width, height)}
${heading ? drawHeading(map, layout) : ""}
${body}
</svg>
`;
}

/** Title of the picture: `3 models and the weights they share`. */
export function titleOf(map: FamilyMap): string {
  const models = map.models.length;
  if (models === 0) return "No models yet";
  return `${counted(models, "model")} and ${models === 1 ? "its weights" : "the weights they share"}`;
}

function drawBody(map: FamilyMap, layout: FamilyLayout, top: number): { body: string; height: number } {
  const matrixTop = top + SUMMARY_HEIGHT;
  const legend = matrixTop + layout.matrix.height + 30;
  const notes = notesOf(layout).map((note, index) =>
    text(layout.matrix.x, legend + 26 + index * NOTE_HEIGHT, "tm-small tm-quiet", note),
  );
  const matrix = `<g transform="translate(0 ${matrixTop})">${drawMatrix(map, layout)}</g>`;
  const body = [drawSummary(layout, top), matrix, drawLegend(layout, legend), ...notes].join("\n");
  return { body, height: legend + 22 + notes.length * NOTE_HEIGHT };
}

function drawEmpty({ names }: FamilyLayout, top: number): { body: string; height: number } {
  const words = "tare add FILE --as NAME puts a model into the store";
  return { body: text(names.x, top - 18, "tm-text tm-quiet", words), height: top + 8 };
}

function sayFamily(map: FamilyMap, { totals }: FamilyLayout): string {
  const models = map.models.slice(0, 20).map(({ name }, row) => {
    const { weights, own } = totals.models[row] ?? totals;
    return `${clipText(name, 200)}: ${figure(weights.bytes - own.bytes)} shared, ${figure(own.bytes)} own`;
  });
  return `As files ${figure(totals.fileBytes)}, stored once ${figure(totals.storedBytes)}. ${models.join("; ")}`;
}

function drawHeading(map: FamilyMap, { totals, names }: FamilyLayout): string {
  const title = titleOf(map);
  if (map.models.length === 0) return text(names.x, 52, "tm-head tm-ink", title);
  const strong = (bytes: number): string => `<tspan class="tm-strong">${figure(bytes)}</tspan>`;
  return [
    text(names.x, 34, "tm-text tm-quiet", title),
    `<text x="${names.x}" y="66" class="tm-head tm-ink">as files ${strong(totals.fileBytes)} → stored once ${strong(totals.storedBytes)}</text>`,
  ].join("\n");
}
