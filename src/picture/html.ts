import type { FamilyMap } from "./family-map.ts";
import { layoutFamily } from "./layout.ts";
import { PAGE_SCRIPT, PAGE_STYLE } from "./page.ts";
import { drawPicture, titleOf } from "./svg.ts";
import { escapeXml, figure, fitText } from "./text.ts";
import type { FamilyTotals } from "./totals.ts";

/**
 * Draws a family as one HTML page: the picture of {@link drawFamilySvg}, details of the weight under the pointer or with
 * focus (Tab, arrow keys), and a table of the models. The page loads no other files.
 */
export function drawFamilyHtml(map: FamilyMap): string {
  const layout = layoutFamily(map);
  const title = titleOf(map);
  const { totals } = layout;
  const empty = map.models.length === 0;
  const sums = `as files <strong>${figure(totals.fileBytes)}</strong> → stored once <strong>${figure(totals.storedBytes)}</strong>`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>${title} – tare map</title>
<style>${PAGE_STYLE}</style>
</head>
<body>
<main>
<header>
<h1>${title}</h1>
${empty ? "" : `<p class="lead">${sums}</p>`}
</header>
<figure>${drawPicture(map, layout, { heading: false })}</figure>
${empty ? "" : `<div id="details"><p class="hint">Point at a column, or tab to it and use the arrow keys</p></div>\n${drawTable(map, totals)}`}
</main>
<script>${PAGE_SCRIPT}</script>
</body>
</html>
`;
}

function drawTable(map: FamilyMap, totals: FamilyTotals): string {
  const row = (head: string, cells: readonly string[]): string =>
    `<tr><th scope="row">${head}</th>${cells.map((cell) => `<td>${cell}</td>`).join("")}</tr>`;
  const rows = map.models.map((model, index) => {
    const { fileBytes, weights, all, some, own } = totals.models[index] ?? totals;
    const short = fitText(model.name, 16, 340);
    const full = short === model.name ? "" : ` title="${escapeXml(model.name)}"`;
    return row(`<span${full}>${escapeXml(short)}</span>`, [
      figure(fileBytes),
      String(weights.count),
      figure(weights.bytes),
      figure(all.bytes + some.bytes),
      figure(own.bytes),
    ]);
  });
  const { weights, all, some, own } = totals;
  const sum = row("together, each weight once", [
    figure(totals.fileBytes),
    String(weights.count),
    figure(weights.bytes),
    figure(all.bytes + some.bytes),
    figure(own.bytes),
  ]);
  const heads = ["model", "files", "weights", "their bytes", "shared", "own"];
  return `<div class="scroll"><table>
<thead><tr>${heads.map((head) => `<th scope="col">${head}</th>`).join("")}</tr></thead>
<tbody>
${rows.join("\n")}
</tbody>
<tfoot>${sum}</tfoot>
</table></div>`;
}
