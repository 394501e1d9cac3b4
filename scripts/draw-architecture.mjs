// Draws docs/architecture.svg from the imports in src/. `--check` writes nothing, and fails if the drawing is another.
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { layOut } from "./architecture/layout.mjs";
import { readRooms } from "./architecture/rooms.mjs";
import { drawSvg } from "./architecture/svg.mjs";

const SRC = fileURLToPath(new URL("../src", import.meta.url));
const DRAWING = new URL("../docs/architecture.svg", import.meta.url);

const rooms = readRooms(SRC);
const svg = drawSvg(rooms, layOut(rooms));
if (!process.argv.includes("--check")) writeFileSync(DRAWING, svg);
else if (readFileSync(DRAWING, "utf8") !== svg) {
  console.error("docs/architecture.svg is not what the imports in src/ say: npm run docs:rooms draws it");
  process.exitCode = 1;
}
