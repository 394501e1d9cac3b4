import type { Random } from "./random.ts";

/** JSON that may be wrong: keys may stand twice, and anything may stand for a value. */
export type Json =
  | { kind: "object"; entries: [key: string, value: Json][] }
  | { kind: "array"; items: Json[] }
  | { kind: "literal"; text: string };

/** Values that nothing has a use for, or just. */
const JUNK: readonly string[] = [
  ["null", "true", "-1", "-0", "0", "1", "0.5", "1.0", "1e2", "1e999", "-1e-7", "01", "NaN", "+1", ".5"],
  ["2147483648", "4294967296", "9007199254740991", "9007199254740992", "9007199254740993"],
  ["18446744073709551615", "18446744073709551616", "1e300", "123456789012345678901234567890"],
  ['""', '"__proto__"', '"F32"', '"\\ud800"', '"\\u0000"', '"a\\nb"', '"../x"', '"/x"', '"\u00e9"', "'a'"],
  ["[]", "{}", "[[]]", "[1,2,3]", "[-1]", "[0]", '{"a":1,"a":2}', "[".repeat(200), "", "/**/1", "\u00a01"],
].flat();
const KEYS = ["a", "", "__proto__", "__metadata__", "constructor", "toString", "dtype", "shape", "\\u0061"];

/** @param text right JSON */
export function parseJson(text: string): Json {
  return fromValue(JSON.parse(text));
}

function fromValue(value: unknown): Json {
  if (Array.isArray(value)) return { kind: "array", items: value.map(fromValue) };
  if (typeof value !== "object" || value === null) return { kind: "literal", text: JSON.stringify(value) };
  return { kind: "object", entries: Object.entries(value).map(([key, each]) => [key, fromValue(each)]) };
}

function spell(value: Json): string {
  if (value.kind === "literal") return value.text;
  if (value.kind === "array") return `[${value.items.map(spell).join()}]`;
  return `{${value.entries.map(([key, each]) => `${quote(key)}:${spell(each)}`).join()}}`;
}

/** Escapes that keys have already stay as they are. */
function quote(key: string): string {
  return key.includes("\\u") ? `"${key}"` : JSON.stringify(key);
}

/** Where a value stands. */
interface Slot {
  readonly holder: Exclude<Json, { kind: "literal" }>;
  readonly nth: number;
}

function slotsOf(value: Json, slots: Slot[] = []): Slot[] {
  if (value.kind === "literal") return slots;
  const inner = value.kind === "array" ? value.items : value.entries.map(([, each]) => each);
  for (const [nth, each] of inner.entries()) {
    slots.push({ holder: value, nth });
    slotsOf(each, slots);
  }
  return slots;
}

function valueAt({ holder, nth }: Slot): Json {
  return holder.kind === "array" ? (holder.items[nth] as Json) : (holder.entries[nth]?.[1] as Json);
}

function setValue({ holder, nth }: Slot, value: Json): void {
  if (holder.kind === "array") holder.items[nth] = value;
  else (holder.entries[nth] as [string, Json])[1] = value;
}

/**
 * Changes JSON: values become others, or what another has; numbers a little more or less; keys others, or the same
 * twice; entries go, come again, change places.
 * @param known values that mean something in such a file
 */
export function changeJson(random: Random, text: string, known: readonly string[]): string {
  const root: Json = { kind: "array", items: [parseJson(text)] };
  for (let left = random.times(3); left > 0; left--) {
    const slots = slotsOf(root);
    const slot = random.pick(slots);
    const { holder, nth } = slot;
    const list: unknown[] = holder.kind === "array" ? holder.items : holder.entries;
    switch (random.below(9)) {
      case 0:
        setValue(slot, { kind: "literal", text: random.pick(JUNK) });
        break;
      case 1:
        setValue(slot, { kind: "literal", text: random.pick(known) });
        break;
      case 2:
        if (holder !== root) list.splice(nth, 1);
        break;
      case 3:
        if (holder !== root) list.splice(random.below(list.length + 1), 0, structuredClone(list[nth]));
        break;
      case 4:
        if (holder.kind === "object") {
          const other = random.pick(holder.entries)[0];
          (holder.entries[nth] as [string, Json])[0] = random.chance(0.5) ? other : random.pick(KEYS);
        } else if (holder !== root) holder.items.reverse();
        break;
      case 5: {
        const other = valueAt(random.pick(slots));
        if (other.kind === "literal" || spell(other).length < 2000) setValue(slot, structuredClone(other));
        break;
      }
      default: {
        const number = slots.filter((each) => isNumber(valueAt(each)));
        const chosen = number.length > 0 ? random.pick(number) : slot;
        const old = valueAt(chosen);
        if (old.kind !== "literal" || !isNumber(old)) break;
        const step = random.pick([-8, -1, 1, 8, 2 ** 31, -(2 ** 31), 2 ** 53]);
        setValue(chosen, { kind: "literal", text: String(Number(old.text) + step) });
      }
    }
  }
  return spell(root).slice(1, -1);
}

function isNumber(value: Json): boolean {
  return value.kind === "literal" && /^-?\d/.test(value.text);
}
