import { DTYPES } from "../../src/formats/safetensors/schema.ts";
import { changeJson } from "./json.ts";
import { changeNumbers, joined, setNumber } from "./mutate.ts";
import type { Random } from "./random.ts";

const KNOWN = [
  ...[...DTYPES.keys()].map((code) => `"${code}"`),
  ..."[0,0] [0,8] [8,0] [4,12] [2,2] [] [0] [4294967296,4294967296]".split(" "),
];

/** Another header, whose length is right or not; sometimes there is padding after it. */
export function changeHeader(random: Random, file: Uint8Array): Uint8Array {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const end = 8 + Number(view.getBigUint64(0, true));
  const old = new TextDecoder().decode(file.subarray(8, end));
  const padding = random.chance(0.1) ? " ".repeat(random.below(9)) : "";
  const header = new TextEncoder().encode(changeJson(random, old.trimEnd(), KNOWN) + padding);
  const bytes = joined(new Uint8Array(8), header, file.subarray(end));
  setNumber(bytes, { at: 0, size: 8 }, BigInt(header.length));
  if (random.chance(0.1)) changeNumbers(random, bytes, [{ at: 0, size: 8 }]);
  // Text that is not UTF-8.
  if (random.chance(0.05)) bytes[8 + random.below(header.length)] = 0x80 + random.below(0x80);
  return bytes;
}
