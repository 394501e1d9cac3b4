import { LinkError } from "../errors.ts";
import { type LoraAdapter, type LoraPair, shapeText, someNames } from "./adapter.ts";
import type { LoraBase, Site } from "./base.ts";
import type { NameMapping } from "./mapping.ts";

/** A pair of a LoRA, and a weight of the base that it is for. */
export interface LoraTarget {
  readonly site: Site;
  readonly pair: LoraPair;
  /** Whether the weight is stored the other way round than the pair's product. */
  readonly transposed: boolean;
}

/**
 * Finds the weights that a LoRA is for, strictly: every pair fits a weight of the base, and no weight has two.
 * A base that wraps its modules in another (`m.blk.0.attn_q` for `blk.0.attn_q`) is seen through, if one prefix makes
 * all pairs fit.
 * @throws LinkError `mismatch` for another architecture or shapes that do not fit; `missing-weight` naming the targets
 * that the base lacks; `duplicate`, `unsupported`
 */
export function matchLora(
  adapter: LoraAdapter,
  base: LoraBase,
  mapping: NameMapping = new Map(),
): LoraTarget[] {
  checkArchitecture(adapter, base);
  const sites = sitesByModule(base);
  const names = namesIn(adapter, sites, mapping);
  const missing = adapter.pairs.filter((pair) => !sites.has(names.get(pair) as string));
  if (missing.length > 0) {
    const are = `${missing.length} of its ${adapter.pairs.length} targets are not in "${base.name}"`;
    const hint = "it is a LoRA for another base; where only names differ, map them (--map FILE)";
    const list = someNames(missing.map((pair) => names.get(pair) as string));
    throw misfit("missing-weight", adapter, base, `${are}: ${list}`, missing[0]?.module, hint);
  }
  const targets = adapter.pairs.flatMap((pair) =>
    (sites.get(names.get(pair) as string) ?? []).map((site) => {
      if (site.refusal !== undefined) {
        const reason = `"${site.weight.name}" cannot take a LoRA: ${site.refusal}`;
        throw misfit("unsupported", adapter, base, reason, site.weight.name);
      }
      return { site, pair, transposed: isTransposed(adapter, base, site, pair) };
    }),
  );
  refuseTwice(adapter, base, targets);
  return targets;
}

function checkArchitecture(adapter: LoraAdapter, base: LoraBase): void {
  const [ours, theirs] = [adapter.architecture, base.architecture];
  if (ours === undefined || theirs === undefined || ours === theirs) return;
  const reason = `it is for the architecture "${ours}", "${base.name}" is "${theirs}"`;
  throw misfit("mismatch", adapter, base, reason);
}

/** Sites by every name that a LoRA may use; one name may stand for a weight in each of several methods. */
function sitesByModule(base: LoraBase): Map<string, Site[]> {
  const sites = new Map<string, Site[]>();
  for (const site of base.sites) {
    for (const module of site.modules) {
      const known = sites.get(module);
      if (known) known.push(site);
      else sites.set(module, [site]);
    }
  }
  return sites;
}

/** What the base calls each pair's module. */
function namesIn(
  adapter: LoraAdapter,
  sites: ReadonlyMap<string, readonly Site[]>,
  mapping: NameMapping,
): Map<LoraPair, string> {
  const own = adapter.pairs.filter((pair) => !mapping.has(pair.module));
  const prefix = own.every((pair) => sites.has(pair.module)) ? "" : (commonPrefix(own, sites) ?? "");
  return new Map(adapter.pairs.map((pair) => [pair, mapping.get(pair.module) ?? prefix + pair.module]));
}

/** The one prefix with which all modules are in the base; `undefined` where none or several are. */
function commonPrefix(
  pairs: readonly LoraPair[],
  sites: ReadonlyMap<string, readonly Site[]>,
): string | undefined {
  const [first] = pairs;
  if (!first) return undefined;
  const prefixes = [...sites.keys()]
    .filter((name) => name.endsWith(`.${first.module}`))
    .map((name) => name.slice(0, -first.module.length))
    .filter((prefix) => pairs.every((pair) => sites.has(prefix + pair.module)));
  return prefixes.length === 1 ? prefixes[0] : undefined;
}

/** Whether the base stores a weight the other way round than the pair's product: what the graph says must fit. */
function isTransposed(adapter: LoraAdapter, base: LoraBase, site: Site, pair: LoraPair): boolean {
  const { weight } = site;
  const fits = weight.shape.join() === pair.shape.join();
  const fitsTurned = weight.shape.join() === pair.shape.toReversed().join();
  // Outside of ONNX a module keeps its weight as it is stored, and the adapter says how.
  const said = base.format === "onnx" ? site.transposed : pair.fanInFanOut;
  if (said === undefined && fits && fitsTurned) {
    const reason = `"${weight.name}" is square, and its graph does not tell whether it is [out, in]`;
    throw misfit("unsupported", adapter, base, reason, weight.name);
  }
  const transposed = said ?? fitsTurned;
  if (transposed ? fitsTurned : fits) return transposed;
  const product = shapeText(transposed ? pair.shape.toReversed() : pair.shape);
  const reason = `"${weight.name}" is ${shapeText(weight.shape)}, the LoRA for it is ${product}`;
  throw misfit("mismatch", adapter, base, reason, weight.name, "it is a LoRA for another base");
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

function misfit(
  code: "mismatch" | "missing-weight" | "duplicate" | "unsupported",
  adapter: LoraAdapter,
  base: LoraBase,
  reason: string,
  tensor?: string,
  hint?: string,
): LinkError {
  const message = `Cannot use LoRA "${adapter.model.name}" with "${base.name}": ${reason}`;
  return new LinkError(code, message, { tensor, hint });
}
