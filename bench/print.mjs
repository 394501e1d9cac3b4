/** How figures are printed, and what the measurements have in common. */
import { readdirSync, statSync } from "node:fs";

export function heading(name, what) {
  console.log(`\n${name}: ${what}`);
}

export function row(label, figures, ratio, met, aim) {
  const verdict = met === undefined ? "" : met ? `  ✓ aim ${aim}` : `  ✗ aim ${aim}`;
  console.log(`  ${label.padEnd(28)} ${figures}${ratio && `  → ${ratio}`}${verdict}`);
}

export function median(values) {
  return values.toSorted((a, b) => a - b)[values.length >> 1];
}

export function s(ms) {
  return ms < 1000 ? `${ms.toFixed(0)} ms` : `${(ms / 1000).toFixed(2)} s`;
}

export function folderBytes(folder) {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .reduce((sum, entry) => sum + statSync(`${entry.parentPath}/${entry.name}`).size, 0);
}
