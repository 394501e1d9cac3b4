import * as v from "valibot";
import { UsageError } from "../../errors.ts";
import { parseShape } from "../../model/config.ts";
import { matchesPattern } from "../../model/wildcard.ts";

/** The parts of a split. */
export type SplitPart = "foundation" | "adapter";

/** A user's rule that puts weights into one part of a split. */
export interface SplitRule {
  readonly part: SplitPart;
  /** Pattern for the complete name: `*` stands for any characters and `?` for one; all names unless given. */
  readonly names?: string;
  /** First and last layer; all weights, also those outside layers, unless given. */
  readonly layers?: readonly [number, number];
}

const text = v.pipe(v.string(), v.minLength(1));
const file = v.strictObject({
  rules: v.array(
    v.strictObject({
      part: v.picklist(["foundation", "adapter"]),
      names: v.exactOptional(text),
      layers: v.exactOptional(text),
    }),
  ),
});
/** Finds the layer's number in names of GGUF, PyTorch and ONNX weights. */
const LAYER = /(?:^|[./_])(?:blk|block|blocks|h|layer|layers)[._/](\d+)(?=[./_]|$)/;

/**
 * Parses a rule of the command line: `PATTERN`, `PATTERN@LAYERS` or `@LAYERS`, where LAYERS is `20-31` or `7`.
 * @throws UsageError
 */
export function parseSplitRule(part: SplitPart, given: string): SplitRule {
  const [, names = "", layers] = /^(.*?)(?:@([^@]*))?$/s.exec(given) ?? [];
  if (names === "" && layers === undefined) throw unreadable(given, "it is empty");
  return {
    part,
    ...(names !== "" && { names }),
    ...(layers !== undefined && { layers: parseLayers(layers, given) }),
  };
}

/**
 * Parses the JSON of a rules file: `{"rules": [{"part": "adapter", "names": "*attn*", "layers": "20-31"}]}`.
 * @throws FormatError `malformed`; UsageError for invalid layers
 */
export function parseSplitRules(value: unknown, name: string): SplitRule[] {
  const { rules } = parseShape(file as v.GenericSchema<v.InferOutput<typeof file>>, value, name);
  return rules.map(({ part, names, layers }) => ({
    part,
    ...(names !== undefined && { names }),
    ...(layers !== undefined && { layers: parseLayers(layers, layers) }),
  }));
}

/** Whether a rule matches a weight of this name. */
export function ruleSelects({ names, layers }: SplitRule, weight: string): boolean {
  if (names !== undefined && !matchesPattern(names, weight)) return false;
  if (layers === undefined) return true;
  const layer = layerOf(weight);
  return layer !== undefined && layer >= layers[0] && layer <= layers[1];
}

/** Formats a rule as an option of the command line. */
export function describeRule({ part, names = "", layers }: SplitRule): string {
  return `--${part} ${names}${layers ? `@${layers[0] === layers[1] ? layers[0] : layers.join("-")}` : ""}`;
}

/** Finds the layer's number in the name of a weight; `undefined` if the name has none. */
export function layerOf(weight: string): number | undefined {
  const [, number] = LAYER.exec(weight) ?? [];
  return number === undefined ? undefined : Number(number);
}

function parseLayers(text: string, given: string): [number, number] {
  const [, first, last = first] = /^(\d{1,9})(?:-(\d{1,9}))?$/.exec(text) ?? [];
  if (first === undefined) throw unreadable(given, `"${text}" is not a layer or a range of layers`);
  if (Number(first) > Number(last)) throw unreadable(given, `layer ${first} comes after ${last}`);
  return [Number(first), Number(last)];
}

function unreadable(given: string, reason: string): UsageError {
  return new UsageError("usage", `Cannot use the rule "${given}": ${reason}`, {
    hint: 'Write PATTERN, PATTERN@LAYERS or @LAYERS, such as "*attn*@20-31"',
  });
}
