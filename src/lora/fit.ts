import { type LoraAdapter, type LoraPair, shapeText, someNames } from "./adapter.ts";
import type { LoraBase, Site } from "./lora-base.ts";
import { checkCopies } from "./check-copies.ts";
import { locateModules, type LocatedModule } from "./locate-modules.ts";
import type { NameMapping } from "./mapping.ts";
import { matrixShape } from "./matrix-shape.ts";
import { misfit } from "./misfit.ts";
import { isConv1dName } from "./orientation.ts";

/** A pair of a LoRA, and its target weight in the base. */
export interface LoraTarget {
  readonly site: Site;
  readonly pair: LoraPair;
  /** Whether the stored weight is the transpose of the pair's product. */
  readonly transposed: boolean;
}

/** The targets of a LoRA in a base. */
export interface LoraFit {
  readonly targets: readonly LoraTarget[];
  /** Notes for people: parts of the adapter that are left out. */
  readonly notes: readonly string[];
}

/**
 * Finds the target weights of a LoRA. Every pair must match a weight of the base, no weight may have two pairs, and full
 * weights beside the pairs must equal those of the base.
 * @throws LinkError `mismatch` for another architecture or shape; `missing-weight` with the targets that the base does
 * not have; `duplicate`; `unsupported`, also for an ambiguous target or orientation
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
  const reason = `it is for the architecture "${ours}", and "${base.name}" is "${theirs}"`;
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
    throw misfit("unsupported", adapter, base, reason, module, "Map these names (--map FILE)");
  }
  const missing = [...located].filter(([, { sites }]) => sites.length === 0);
  if (missing.length === 0) return;
  const are = `${missing.length} of its ${located.size} targets are not in "${base.name}"`;
  const list = someNames(missing.map(([, { name }]) => name));
  const prefixes = [...new Set(missing.flatMap(([, { prefixes: some }]) => some))];
  const hint =
    prefixes.length > 0
      ? `With the unknown prefix ${someNames(prefixes)} the base has all of them: map the names with --map FILE`
      : "it is a LoRA for another base; where only names differ, map them (--map FILE)";
  throw misfit("missing-weight", adapter, base, `${are}: ${list}`, missing[0]?.[0].module, hint);
}

/** Evidence of the orientation of modules, by their name, from weights that are not square. */
interface ShownOrientation {
  readonly transposed: boolean;
  /** Last part of the module's name; one key for all names of GPT-2's `Conv1D` modules. */
  readonly kind: string;
}

/** Collects evidence from the biases of the base, and from pairs that match in one orientation only. */
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
 * Whether the stored weight is the transpose of the pair's product. The orientation of the base decides, and must match.
 * PEFT's `fan_in_fan_out` is one flag for all modules of an adapter: it shows only that some are transposed.
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
      const silent = graph ? "its graph does not show" : "the model does not show";
      const reason = `"${weight.name}" is square, and ${silent} whether it is [out, in]`;
      throw misfit("unsupported", adapter, base, reason, weight.name, graph ? undefined : HINT_SQUARE);
    }
  }
  transposed ??= fitsTurned && mayTurn;
  if (transposed ? fitsTurned : fits) return transposed;
  const product = shapeText(transposed ? pair.shape.toReversed() : pair.shape);
  const reason = `"${weight.name}" is ${shapeText(weight.shape)}, and its LoRA is ${product}`;
  throw misfit("mismatch", adapter, base, reason, weight.name, "Use the base that the LoRA was trained on");
}

const HINT_SQUARE =
  "Add the base as a folder with its config.json, whose model_type may say it, or let PEFT merge it (merge_and_unload)";

/** Infers the orientation of a square weight from weights that are not square. */
function bySiblings(
  pair: LoraPair,
  shown: readonly ShownOrientation[],
  mayTurn: boolean,
): boolean | undefined {
  const alike = new Set(
    shown.filter(({ kind }) => kind === kindOf(pair.target)).map((each) => each.transposed),
  );
  if (alike.size > 0) return alike.size === 1 ? [...alike][0] : undefined;
  // Without evidence of other modules, all modules are linear layers, stored as [out, in].
  return mayTurn || shown.some(({ transposed }) => transposed) ? undefined : false;
}

function refuseTwice(adapter: LoraAdapter, base: LoraBase, targets: readonly LoraTarget[]): void {
  const taken = new Map<Site, LoraPair>();
  for (const { site, pair } of targets) {
    const other = taken.get(site);
    if (other) {
      const reason = `"${other.module}" and "${pair.module}" both change "${site.weight.name}"`;
      throw misfit("duplicate", adapter, base, reason, site.weight.name);
    }
    taken.set(site, pair);
  }
}
