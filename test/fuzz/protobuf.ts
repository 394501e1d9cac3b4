import { joined, otherNumber } from "./mutate.ts";
import type { Random } from "./random.ts";

/** A field of a message, and the fields of the message that it may be. */
export interface ProtoField {
  readonly number: number;
  readonly wire: number;
  /** Its payload, without a length. */
  readonly body: Uint8Array;
  readonly inner: readonly ProtoField[] | undefined;
}

/** The fields of a right message; `undefined` for bytes that are none. */
export function fieldsOf(bytes: Uint8Array, depth = 0): ProtoField[] | undefined {
  const fields: ProtoField[] = [];
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let unit = 1; ; unit *= 128) {
      const byte = bytes[at++];
      if (byte === undefined || unit > 2 ** 63) return Number.NaN;
      value += (byte & 127) * unit;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const tag = varint();
    const wire = tag % 8;
    const number = Math.floor(tag / 8);
    if (!(number > 0 && number < 100)) return undefined;
    let start = at;
    if (wire === 0) varint();
    else if (wire === 1) at += 8;
    else if (wire === 5) at += 4;
    else if (wire === 2) {
      const length = varint();
      start = at;
      at += length;
    } else return undefined;
    if (!(at <= bytes.length)) return undefined;
    const body = bytes.subarray(start, at);
    const inner = wire === 2 && body.length > 1 && depth < 12 ? fieldsOf(body, depth + 1) : undefined;
    fields.push({ number, wire, body, inner });
  }
  return fields;
}

/** Every field of a message, and of those in it. */
export function allFields(fields: readonly ProtoField[]): ProtoField[] {
  return fields.flatMap((field) => [field, ...allFields(field.inner ?? [])]);
}

/** A number of up to 64 bits; with more bytes than it needs, if asked to. */
function varint(value: bigint, atLeast = 1): Uint8Array {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, value);
  while (rest > 0n || bytes.length < atLeast) {
    bytes.push(Number(rest & 127n) | 128);
    rest >>= 7n;
  }
  bytes[bytes.length - 1] = (bytes.at(-1) as number) & 127;
  return Uint8Array.from(bytes);
}

function encode(number: number, wire: number, body: Uint8Array): Uint8Array {
  const tag = varint(BigInt(number * 8 + wire));
  return wire === 2 ? joined(tag, varint(BigInt(body.length)), body) : joined(tag, body);
}

/**
 * A message in which some fields are other than they were; the lengths of all messages around them are right.
 * @param all of its fields, to choose from
 */
export function changeMessage(
  random: Random,
  fields: readonly ProtoField[],
  all: readonly ProtoField[],
): Uint8Array {
  const chosen = new Set(Array.from({ length: random.times(3) }, () => random.pick(all)));
  const write = (list: readonly ProtoField[]): Uint8Array =>
    joined(
      ...list.map((field) => {
        const body = field.inner && holds(field.inner, chosen) ? write(field.inner) : field.body;
        return chosen.has(field) ? other(random, field, body, all) : encode(field.number, field.wire, body);
      }),
    );
  return write(fields);
}

function holds(fields: readonly ProtoField[], chosen: ReadonlySet<ProtoField>): boolean {
  return fields.some((field) => chosen.has(field) || (field.inner && holds(field.inner, chosen)));
}

/** What comes in place of a field. */
function other(
  random: Random,
  { number, wire }: ProtoField,
  body: Uint8Array,
  all: readonly ProtoField[],
): Uint8Array {
  const same = encode(number, wire, body);
  switch (random.below(12)) {
    case 0:
      return new Uint8Array();
    case 1:
      return joined(same, same);
    case 2: {
      const field = random.pick(all);
      return joined(encode(field.number, field.wire, field.body), same);
    }
    case 3:
      return encode(random.pick([0, 1, 2, 5, 7, 8, 13, 15, 20, 2 ** 28, 2 ** 29]), wire, body);
    case 4: {
      // Another wire type, of what it is or of nothing that fits.
      const kind = random.below(8);
      return kind === 2 ? encode(number, 2, body) : joined(varint(BigInt(number * 8 + kind)), body);
    }
    case 5:
      // A group, closed or not, in a group.
      return joined(
        ...[3, 3, 4, 4].map((kind) => varint(BigInt(number * 8 + kind))).slice(0, 1 + random.below(4)),
        body,
      );
    case 6: {
      // A length that lies.
      const said = otherNumber(random, BigInt(body.length), body.length);
      return wire === 2 ? joined(varint(BigInt(number * 8 + 2)), varint(said), body) : same;
    }
    case 7: {
      // A tag, or a length, longer than it needs to be, or than it may be.
      const long = 1 + random.below(11);
      const tag = varint(BigInt(number * 8 + wire), random.chance(0.5) ? long : 1);
      return wire === 2 ? joined(tag, varint(BigInt(body.length), long), body) : joined(tag, body);
    }
    case 8: {
      // Text that is not UTF-8, or a name that means something.
      const text = random.pick([
        "",
        "\0",
        "Constant",
        "value",
        "location",
        "offset",
        "../x",
        "a".repeat(300),
      ]);
      const bytes = random.chance(0.5) ? Uint8Array.of(0xc3, 0x28) : new TextEncoder().encode(text);
      return encode(number, 2, bytes);
    }
    case 9: {
      // A message in itself, a few levels deep.
      let nested = same;
      for (let left = random.below(40); left > 0 && nested.length < 10_000; left--)
        nested = encode(number, 2, nested);
      return nested;
    }
    default: {
      if (wire !== 0) return encode(number, wire, body.subarray(random.below(body.length)));
      const value = body.reduceRight((sum, byte) => sum * 128n + BigInt(byte & 127), 0n);
      return encode(number, 0, varint(otherNumber(random, value, 1024)));
    }
  }
}
