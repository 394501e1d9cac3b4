import { type LoraAdapter, type LoraPair, shapeText, someNames } from "./adapter.ts";
import type { LoraBase, Site } from "./lora-base.ts";
import { checkCopies } from "./check-copies.ts";
import { locateModules, type LocatedModule } from "./locate-modules.ts";
import type { NameMapping } from "./mapping.ts";
import { matrixShape } from "./matrix-shape.ts";
import { misfit } from "./misfit.ts";
import { isConv1dName } from "./orientation.ts";

/** A pair of a LoRA, and a weight of the base that it is for. */
export interface LoraTarget {
  readonly site: Site;
  readonly pair: LoraPair;
  /** Whether the weight is stored the other way round than the pair's product. */
  readonly transposed: boolean;
}

/** What a LoRA is for in a base. */
export interface LoraFit {
  readonly targets: readonly LoraTarget[];
  /** What of the adapter is left out, for people. */
  readonly notes: readonly string[];
}

/**
 * Finds the weights that a LoRA is for, strictly: every pair fits a weight of the base, no weight has two, and whole
 * weights beside the pairs are the base's own.
 * @throws LinkError `mismatch` for another architecture or shapes that do not fit; `missing-weight` naming the targets
 * that the base lacks; `duplicate`; `unsupported`, also where it is not clear which weight is meant, or which way round
 * it is stored
 */
export function matchLora(adapter: LoraAdapter, base: LoraBase, mapping: NameMapping = new Map()): LoraFit {
  checkArchitecture(adapter, base);
  const locate = locateModules(adapter.pairs, base, mapping);
  const located = new Map(adapter.pairs.map((pair) => [pair, locate(pair)]));
  refuseMissing(adapter, base, located);
  const found = [...located].flatMap(([pair, { sites }]) => sites.map((site) => ({ pair, site })));
  for (const { site } of found) {
    if (site.refusal === undefined) continue;
    const reason = `"${site.weight.name}" cannot take a LoRA: ${site.refusal}`;
    throw misfit("unsupported", adapter, base, reason, site.weight.name);
  }
  const shown = base.format === "onnx" ? [] : shownOrientations(base, found);
  const targets = found.map(({ pair, site }) => {
    return { site, pair, transposed: isTransposed(adapter, base, site, pair, shown) };
  });
  refuseTwice(adapter, base, targets);
  const notes = [...adapter.notes, ...checkCopies(adapter, base, locate)];
  return { targets, notes: notes.map((note) => `LoRA "${adapter.model.name}": ${note}`) };
}

function checkArchitecture(adapter: LoraAdapter, base: LoraBase): void {
  const [ours, theirs] = [adapter.architecture, base.architecture];
  if (ours === undefined || theirs === undefined || ours === theirs) return;
  const reason = `it is for the architecture "${ours}", "${base.name}" is "${theirs}"`;
  throw misfit("mismatch", adapter, base, reason);
}

function refuseMissing(
  adapter: LoraAdapter,
  base: LoraBase,
  located: ReadonlyMap<LoraPair, LocatedModule>,
): void {
  for (const [{ module }, { ambiguous }] of located) {
    if (ambiguous.length === 0) continue;
    const reason = `"${module}" may be ${someNames(ambiguous)}`;
    throw misfit("unsupported", adapter, base, reason, module, "Map the names that are meant (--map FILE)");
  }
  const missing = [...located].filter(([, { sites }]) => sites.length === 0);
  if (missing.length === 0) return;
  const are = `${missing.length} of its ${located.size} targets are not in "${base.name}"`;
  const list = someNames(missing.map(([, { name }]) => name));
  const prefixes = [...new Set(missing.flatMap(([, { prefixes: some }]) => some))];
  const hint =
    prefixes.length > 0
      ? `They would be with the prefix ${someNames(prefixes)}, but nothing says that it is meant: map the names (--map FILE)`
      : "it is a LoRA for another base; where only names differ, map them (--map FILE)";
  throw misfit("missing-weight", adapter, base, `${are}: ${list}`, missing[0]?.[0].module, hint);
}

/** What the shape of a weight shows of the orientation of modules of its name: nothing if it is square. */
interface ShownOrientation {
  readonly transposed: boolean;
  /** The last part of the module's name; one for all names that GPT-2 gives to its `Conv1D`. */
  readonly kind: string;
}

/** By the biases of the base, and by the pairs that fit one way only. */
function shownOrientations(
  base: LoraBase,
  found: readonly { readonly pair: LoraPair; readonly site: Site }[],
): ShownOrientation[] {
  const byBase = base.sites.flatMap(({ transposed, weight: { shape }, modules: [name = ""] }) =>
    transposed === undefined || shape.length !== 2 || shape[0] === shape[1]
      ? []
      : [{ transposed, kind: kindOf(name) }],
  );
  const byPairs = found.flatMap(({ pair, site }) => {
    const { fits, fitsTurned } = fitOf(pair, site);
    return pair.embedding || fits === fitsTurned
      ? []
      : [{ transposed: fitsTurned, kind: kindOf(pair.target) }];
  });
  return [...byBase, ...byPairs];
}

function kindOf(module: string): string {
  return isConv1dName(module) ? "Conv1D" : (module.split(".").at(-1) ?? "");
}

function fitOf(
  { shape }: LoraPair,
  { weight }: Site,
): { readonly fits: boolean; readonly fitsTurned: boolean } {
  const matrix = matrixShape(weight.shape);
  const fits = matrix?.join() === shape.join();
  return { fits, fitsTurned: matrix?.join() === shape.toReversed().join() };
}

/**
 * Whether the base stores a weight the other way round than the pair's product. The base's own orientation decides, and
 * must fit; PEFT's `fan_in_fan_out` is one flag for all modules of an adapter, and says no more than that some are.
 */
function isTransposed(
  adapter: LoraAdapter,
  base: LoraBase,
  site: Site,
  pair: LoraPair,
  shown: readonly ShownOrientation[],
): boolean {
  const { weight } = site;
  const { fits, fitsTurned } = fitOf(pair, site);
  const graph = base.format === "onnx";
  const mayTurn = graph || pair.fanInFanOut || isConv1dName(pair.target);
  let transposed = pair.embedding && !graph ? false : site.transposed;
  if (transposed === undefined && fits && fitsTurned) {
    transposed = graph ? undefined : bySiblings(pair, shown, mayTurn);
    if (transposed === undefined) {
      const silent = graph ? "its graph does not tell" : "nothing tells";
      const reason = `"${weight.name}" is square, and ${silent} whether it is [out, in]`;
      throw misfit("unsupported", adapter, base, reason, weight.name, graph ? undefined : HINT_SQUARE);
    }
  }
  transposed ??= fitsTurned && mayTurn;
  if (transposed ? fitsTurned : fits) return transposed;
  const product = shapeText(transposed ? pair.shape.toReversed() : pair.shape);
  const reason = `"${weight.name}" is ${shapeText(weight.shape)}, the LoRA for it is ${product}`;
  throw misfit("mismatch", adapter, base, reason, weight.name, "it is a LoRA for another base");
}

const HINT_SQUARE =
  "Add the base as a folder with its config.json, whose model_type may say it, or let PEFT merge it (merge_and_unload)";

/** What the weights that are not square show of a square one. */
function bySiblings(
  pair: LoraPair,
  shown: readonly ShownOrientation[],
  mayTurn: boolean,
): boolean | undefined {
  const alike = new Set(
    shown.filter(({ kind }) => kind === kindOf(pair.target)).map((each) => each.transposed),
  );
  if (alike.size > 0) return alike.size === 1 ? [...alike][0] : undefined;
  // Modules are linear layers, as [out, in], unless there is a sign that this base has others.
  return mayTurn || shown.some(({ transposed }) => transposed) ? undefined : false;
}

function refuseTwice(adapter: LoraAdapter, base: LoraBase, targets: readonly LoraTarget[]): void {
  const taken = new Map<Site, LoraPair>();
  for (const { site, pair } of targets) {
    const other = taken.get(site);
    if (other) {
      const reason = `"${other.module}" and "${pair.module}" are both for "${site.weight.name}"`;
      throw misfit("duplicate", adapter, base, reason, site.weight.name);
    }
    taken.set(site, pair);
  }
}
