import { FLOOR, ROOM } from "./layout.mjs";

const MARGIN = { left: 72, right: 40, top: 96, bottom: 28 };

const STYLE = `
.room-map{font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Inter,sans-serif}
.head{font-size:24px;font-weight:300}.name{font-size:15px;font-weight:600}.text{font-size:12px}
.middle{text-anchor:middle}.end{text-anchor:end}
.paper{fill:#fdfdfc}.floor{fill:#f3f5f6}.ink{fill:#1d2733}.quiet{fill:#66717e}
.web{fill:#dcebf7;stroke:#7aa9d0}.node{fill:#fbe6c8;stroke:#d9a254}.entry{fill:#fdfdfc;stroke:#66717e}
.circle{fill:none;stroke:#b4443c;stroke-width:1.5;stroke-dasharray:5 4}.warn{fill:#b4443c}
.way{fill:none;stroke:#8a95a1;stroke-width:1.5}.tip{fill:#8a95a1}
@media (prefers-color-scheme:dark){
.paper{fill:#14181d}.floor{fill:#1a2027}.ink{fill:#e6eaee}.quiet{fill:#95a0ac}
.web{fill:#1d3850;stroke:#4f81ac}.node{fill:#49341a;stroke:#b07a30}.entry{fill:#14181d;stroke:#95a0ac}
.circle{stroke:#e58078}.warn{fill:#e58078}
.way{stroke:#6b7682}.tip{fill:#6b7682}
}`;

/** Draws rooms on floors: an arrow leads from each room to what it imports. The imports themselves are the description. */
export function drawSvg(rooms, { rows, ways }) {
  const items = rows.flat();
  const left = Math.min(...items.map(({ x, width }) => x - width / 2)) - MARGIN.left;
  const width = Math.max(...items.map(({ x, width: own }) => x + own / 2)) + MARGIN.right - left;
  const height = MARGIN.top + rows.length * FLOOR.height + MARGIN.bottom;
  const middle = (floor) => MARGIN.top + (rows.length - floor - 0.5) * FLOOR.height;
  const at = (x) => round(x - left);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" class="room-map" viewBox="0 0 ${round(width)} ${height}" width="${round(width)}" height="${height}" role="img" aria-labelledby="rm-title" aria-describedby="rm-desc">`,
    `<title id="rm-title">The rooms of tare, and which imports which</title>`,
    `<desc id="rm-desc">`,
    ...rooms.map(({ name, imports }) => `${name} imports ${imports.join(", ") || "nothing"}`),
    `</desc>`,
    `<style>${STYLE}</style>`,
    `<rect class="paper" width="${round(width)}" height="${height}"/>`,
    ...rows.map((_, floor) => floorBand(floor, middle(floor), width)),
    ...header(width),
    ...ways.map((way) => drawWay(way, ways, at, middle)),
    ...items.filter((item) => item.block).map((item) => drawBlock(item, at, middle)),
    `</svg>`,
    ``,
  ].join("\n");
}

function floorBand(floor, y, width) {
  const band = `<rect class="floor" y="${y - FLOOR.height / 2}" width="${round(width)}" height="${FLOOR.height}"/>`;
  const number = `<text class="quiet text end" x="34" y="${y + 4}">${floor}</text>`;
  return floor % 2 === 0 ? band + number : number;
}

function header(width) {
  const keys = [
    ["web", "runs in a browser too"],
    ["node", "needs Node"],
    ["entry", "an entry"],
  ];
  let x = 24;
  const chips = keys.map(([kind, text]) => {
    const chip = `<rect class="${kind}" x="${x}" y="56" width="18" height="14" rx="4"/><text class="quiet text" x="${x + 25}" y="67">${text}</text>`;
    x += 54 + text.length * 6.4;
    return chip;
  });
  return [
    `<text class="ink head" x="24" y="38">The rooms of tare</text>`,
    ...chips,
    `<text class="quiet text end" x="${round(width - 24)}" y="67">an arrow leads to what a room imports</text>`,
  ];
}

function drawBlock({ block, x, floor }, at, middle) {
  const y = middle(floor) - ROOM.height / 2;
  const first = x - block.width / 2;
  const drawn = block.rooms.map((room, index) => {
    return drawRoom(room, at(first + index * (ROOM.width + ROOM.gap)), y);
  });
  if (block.rooms.length === 1) return drawn[0];
  const frame = `<rect class="circle" x="${at(first - 10)}" y="${y - 10}" width="${block.width + 20}" height="${ROOM.height + 20}" rx="14"/>`;
  const word = `<text class="warn text end" x="${at(first + block.width)}" y="${y + ROOM.height + 25}">import each other</text>`;
  return [frame, ...drawn, word].join("\n");
}

function drawRoom({ name, purpose, needsNode, isEntry }, x, y) {
  const kind = isEntry ? "entry" : needsNode ? "node" : "web";
  const center = round(x + ROOM.width / 2);
  return [
    `<rect class="${kind}" x="${x}" y="${y}" width="${ROOM.width}" height="${ROOM.height}" rx="9"/>`,
    `<text class="ink name middle" x="${center}" y="${y + 23}">${name}</text>`,
    `<text class="quiet text middle" x="${center}" y="${y + 41}">${purpose}</text>`,
  ].join("");
}

/** A way from the bottom of a room to the top of another, past the rooms of the floors between. */
function drawWay(way, ways, at, middle) {
  const last = way.length - 1;
  const start = { x: at(port(way, ways, 0)), y: middle(way[0].floor) + edgeOf(way[0]) };
  const end = { x: at(port(way, ways, last)), y: middle(way[last].floor) - edgeOf(way[last]) - 7 };
  const points = [start];
  for (const { x, floor } of way.slice(1, last)) {
    points.push({ x: at(x), y: middle(floor) - ROOM.height / 2 });
    points.push({ x: at(x), y: middle(floor) + ROOM.height / 2 });
  }
  points.push(end);
  straighten(points);
  let path = `M${start.x} ${start.y}`;
  for (const [index, to] of points.slice(1).entries()) {
    const from = points[index];
    const bend = round((to.y - from.y) / 2);
    path +=
      from.x === to.x ? `V${to.y}` : `C${from.x} ${from.y + bend} ${to.x} ${to.y - bend} ${to.x} ${to.y}`;
  }
  const tip = `M${end.x - 4.5} ${end.y - 2}h9l-4.5 9z`;
  return `<path class="way" d="${path}"/><path class="tip" d="${tip}"/>`;
}

/** Takes the bends out of a way that is all but straight. */
function straighten(points) {
  const xs = points.map(({ x }) => x);
  if (Math.max(...xs) - Math.min(...xs) > 12) return;
  const x = round((points[0].x + points.at(-1).x) / 2);
  for (const point of points) point.x = x;
}

/** Half the height of what a way ends at. */
function edgeOf({ block }) {
  return ROOM.height / 2 + (block.rooms.length > 1 ? 10 : 0);
}

/** Where at a room a way begins or ends: side by side with the others, in the order of where they lead. */
function port(way, ways, end) {
  const room = way[end];
  const next = (each) => (end === 0 ? each[1] : each.at(-2));
  const there = ways.filter((each) => (end === 0 ? each[0] : each.at(-1)) === room);
  const sorted = there.toSorted((a, b) => next(a).x - next(b).x);
  const step = Math.min(36, (room.block.width - 40) / sorted.length);
  return room.x + (sorted.indexOf(way) - (sorted.length - 1) / 2) * step;
}

function round(value) {
  return Math.round(value * 10) / 10;
}
