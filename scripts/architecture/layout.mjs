/** Widths and heights in pixels. */
export const ROOM = { width: 236, height: 54, gap: 28 };
export const FLOOR = { height: 108 };
const WAY = { width: 24 };
/** Orders of the floors that are tried. */
const STARTS = 100;
/** Times that every room moves between its neighbours: then nothing moves by a pixel any more. */
const ROUNDS = 2000;

/**
 * Places rooms on floors, each above all that it imports, and finds the ways of the imports between them.
 * Imports that follow from others (a imports b, b imports c, so a may import c) are left out. Rooms that import each
 * other share a block.
 */
export function layOut(rooms) {
  const blocks = blocksOf(rooms);
  const edges = reduce(blocks);
  const floors = floorsOf(blocks, edges);
  const { rows, ways } = rowsOf(blocks, edges, floors);
  order(rows, ways);
  place(rows, ways);
  return { blocks, rows, ways };
}

/** Rooms in one block if each reaches the other. */
function blocksOf(rooms) {
  const blocks = [];
  for (const room of rooms) {
    const block = blocks.find(({ rooms: [first] }) => {
      return first.reaches.has(room.name) && room.reaches.has(first.name);
    });
    if (block) block.rooms.push(room);
    else blocks.push({ rooms: [room] });
  }
  for (const block of blocks) {
    block.width = block.rooms.length * (ROOM.width + ROOM.gap) - ROOM.gap;
    block.reaches = new Set(blocks.filter((other) => other !== block && reaches(block, other)));
  }
  return blocks;
}

function reaches(block, other) {
  return block.rooms[0].reaches.has(other.rooms[0].name);
}

/** The imports that do not follow from others. */
function reduce(blocks) {
  return blocks.flatMap((from) => {
    const all = [...from.reaches];
    return all.filter((to) => !all.some((mid) => mid.reaches.has(to))).map((to) => ({ from, to }));
  });
}

/** As low as imports allow; then up to where the ways are shortest. */
function floorsOf(blocks, edges) {
  const floors = new Map();
  const lowest = (block) => {
    if (!floors.has(block)) floors.set(block, 1 + Math.max(-1, ...[...block.reaches].map(lowest)));
    return floors.get(block);
  };
  blocks.forEach(lowest);
  for (let round = 0; round < blocks.length; round++) {
    for (const block of blocks) {
      const up = edges.filter(({ to }) => to === block).map(({ from }) => floors.get(from));
      const down = edges.filter(({ from }) => from === block).length;
      // The way up is shorter, and no more ways down become longer.
      if (up.length > down) floors.set(block, Math.min(...up) - 1);
    }
  }
  return floors;
}

/** What stands on each floor: blocks, and the ways of imports that pass by. */
function rowsOf(blocks, edges, floors) {
  const rows = Array.from({ length: Math.max(...floors.values()) + 1 }, () => []);
  for (const block of blocks) rows[floors.get(block)].push({ block, width: block.width });
  const itemOf = new Map(rows.flat().map((item) => [item.block, item]));
  const ways = edges.map(({ from, to }) => {
    const points = [itemOf.get(from)];
    for (let floor = floors.get(from) - 1; floor > floors.get(to); floor--) {
      const item = { width: WAY.width };
      rows[floor].push(item);
      points.push(item);
    }
    return [...points, itemOf.get(to)];
  });
  rows.forEach((row, floor) => row.forEach((item) => (item.floor = floor)));
  return { rows, ways };
}

/** Orders each floor so that few ways cross, and those that do not are short: the best of many starts. */
function order(rows, ways) {
  const links = linksOf(ways);
  const cost = () => crossings(links) * 1000 + links.reduce((sum, [a, b]) => sum + Math.abs(a.at - b.at), 0);
  let best = { cost: Number.POSITIVE_INFINITY };
  let seed = 1;
  const next = () => (seed = (seed * 48_271) % 0x7fffffff);
  for (let start = 0; start < STARTS; start++) {
    for (const row of rows) arrange(row, start === 0 ? row : permuted(row, next));
    for (let better = true; better; ) {
      better = rows.map((row) => improve(row, cost)).includes(true);
    }
    if (cost() < best.cost) best = { cost: cost(), rows: rows.map((row) => [...row]) };
  }
  rows.forEach((row, floor) => arrange(row, best.rows[floor]));
}

/** Puts two of a floor in each other's place wherever that costs less. @returns whether it did */
function improve(row, cost) {
  let better = false;
  for (let one = 0; one < row.length; one++) {
    for (let other = one + 1; other < row.length; other++) {
      const before = cost();
      const old = [...row];
      const swapped = [...row];
      [swapped[one], swapped[other]] = [row[other], row[one]];
      arrange(row, swapped);
      if (cost() < before) better = true;
      else arrange(row, old);
    }
  }
  return better;
}

/** Gives a floor an order; `at` counts from its middle. */
function arrange(row, items) {
  [...items].forEach((item, index) => {
    row[index] = item;
    item.at = index - (items.length - 1) / 2;
  });
}

function permuted(items, next) {
  return items
    .map((item) => ({ item, key: next() }))
    .sort((a, b) => a.key - b.key)
    .map(({ item }) => item);
}

/** Each stretch of a way, from one floor to the next. */
function linksOf(ways) {
  return ways.flatMap((way) => way.slice(1).map((below, index) => [way[index], below]));
}

function crossings(links) {
  let count = 0;
  links.forEach(([a, b], index) => {
    for (const [c, d] of links.slice(index + 1)) {
      if (a.floor === c.floor && (a.at - c.at) * (b.at - d.at) < 0) count++;
    }
  });
  return count;
}

/** Gives each item the middle `x` of its neighbours, as far as the others on its floor leave room. */
function place(rows, ways) {
  const links = linksOf(ways);
  const wishOf = (item) => {
    const wish = { sum: 0, weight: 0 };
    for (const [a, b] of links) {
      if (a !== item && b !== item) continue;
      const pull = stiffness(a, b);
      wish.sum += pull * (a === item ? b.x : a.x);
      wish.weight += pull;
    }
    return wish;
  };
  for (const row of rows) spread(row, (item) => ({ sum: item.at * ROOM.width, weight: 1 }));
  for (let round = 0; round < ROUNDS; round++) {
    for (const row of round % 2 ? rows : rows.toReversed()) spread(row, wishOf);
  }
}

/** A way that passes several floors is straight where that can be. */
function stiffness(a, b) {
  return a.block && b.block ? 1 : a.block || b.block ? 2 : 12;
}

/** Puts items as near to where they would be as their widths allow, in their order. */
function spread(row, wishOf) {
  let start = 0;
  const starts = row.map(({ width }) => {
    start += width + ROOM.gap;
    return start - ROOM.gap - width / 2;
  });
  // Without widths the order is that of numbers: neighbours that want to pass each other take their common middle.
  const groups = [];
  for (const [index, item] of row.entries()) {
    const { sum, weight } = wishOf(item);
    groups.push({ sum: sum - weight * starts[index], weight, count: 1 });
    while (groups.length > 1 && middle(groups.at(-2)) > middle(groups.at(-1))) {
      const last = groups.pop();
      const into = groups.at(-1);
      into.sum += last.sum;
      into.weight += last.weight;
      into.count += last.count;
    }
  }
  let index = 0;
  for (const group of groups)
    for (let nth = 0; nth < group.count; nth++, index++) row[index].x = starts[index] + middle(group);
}

function middle({ sum, weight }) {
  return sum / weight;
}
