import { changeNumbers, joined, otherNumber, setNumber } from "./mutate.ts";
import type { Random } from "./random.ts";

const TYPES = [
  ["<f4", ">f4", "<f8", "|u1", "|b1", "<c8", ">c16", "<i2", "<U2", "<U0", "<U999999999", "<V2", "|O", "|S3"],
  ["=f4", "f4", "<f16", "<U", "<M8[ns]", "", "<\\u0066", "<f4'"],
].flat();
const SHAPES = [
  ["()", "(0,)", "(1,)", "(2, 3)", "(3, 2)", "(6,)", "(1, 1, 1)", "(3)", "(,)", "(-1,)", "(2L, 3L)", "(01,)"],
  ["(4294967296, 4294967296)", "(9007199254740993,)", "(0, 9007199254740991)", "(2 3)", "((2), 3)", "[2, 3]"],
].flat();
const WORDS = [
  "'descr'",
  "'shape'",
  "'fortran_order'",
  "True",
  "False",
  "{",
  "}",
  ",",
  ":",
  "(",
  ")",
  "'",
  '"',
  " ",
];

/** Another header: other values of its keys, or keys missing, twice or in another order; and other lengths. */
export function changeNumpy(random: Random, file: Uint8Array): Uint8Array {
  const wide = file[6] !== 1;
  const start = wide ? 12 : 10;
  const length = (file[8] as number) + 256 * (file[9] as number);
  const data = file.subarray(start + length);
  const old = new TextDecoder("latin1").decode(file.subarray(start, start + length));
  const said = (key: string, value: RegExp): string =>
    new RegExp(`'${key}': (${value.source})`).exec(old)?.[1] ?? "";
  const keep = 0.6;
  const descr = random.chance(keep) ? said("descr", /'[^']*'/) : `'${random.pick(TYPES)}'`;
  const order = random.chance(keep)
    ? said("fortran_order", /\w+/)
    : random.pick(["True", "False", "0", "None"]);
  const shape = random.chance(keep) ? said("shape", /\([^)]*\)/) : random.pick(SHAPES);
  let entries = [`'descr': ${descr}`, `'fortran_order': ${order}`, `'shape': ${shape}`];
  if (random.chance(0.1)) entries = random.shuffled(entries);
  if (random.chance(0.05)) entries.splice(random.below(3), 1);
  if (random.chance(0.05)) entries.push(random.pick(entries));
  let text = `{${entries.join(random.pick([", ", ",", " , ", ", "]))}${random.pick([", ", "", ","])}}`;
  for (let left = random.chance(0.3) ? random.times(3) : 0; left > 0; left--) {
    const at = random.below(text.length);
    text = text.slice(0, at) + random.pick(WORDS) + text.slice(at + random.below(3));
  }
  text += `${" ".repeat(random.below(20))}\n`;
  const body = random.chance(0.9) ? data : data.subarray(random.below(data.length));
  const bytes = joined(file.subarray(0, start), new TextEncoder().encode(text), body);
  const size = { at: 8, size: wide ? 4 : 2 };
  setNumber(bytes, size, BigInt(text.length));
  if (random.chance(0.1)) setNumber(bytes, size, otherNumber(random, BigInt(text.length), bytes.length));
  if (random.chance(0.05))
    changeNumbers(random, bytes, [
      { at: 6, size: 1 },
      { at: 7, size: 1 },
    ]);
  return bytes;
}
