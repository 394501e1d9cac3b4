import type { LoraModule } from "./adapter.ts";
import type { LoraBase, Site } from "./lora-base.ts";
import { matrixShape } from "./matrix-shape.ts";
import type { NameMapping } from "./mapping.ts";

/**
 * Prefixes of wrappers that do not change the meaning of module names: those of PyTorch, and of the single backbone of a
 * Transformers model (`base_model_prefix`). One tower of several is not a wrapper.
 */
const WRAPPERS: ReadonlySet<string> = new Set([
  ..."module _orig_mod model transformer backbone gpt_neox bert roberta distilbert albert electra deberta".split(
    " ",
  ),
  ..."camembert mpnet vit deit beit swin".split(" "),
]);
/** Prefixes in a single file of a diffusion model, for the parts that a pipeline has in folders. */
const CHECKPOINT_WRAPPERS: Readonly<Record<string, readonly string[]>> = {
  unet: ["model.diffusion_model."],
  transformer: ["model.diffusion_model."],
  text_encoder: ["cond_stage_model.transformer.", "conditioner.embedders.0.transformer."],
};

/** Result of the search for a module of a LoRA. */
export interface LocatedModule {
  /** Name that the base would use, for errors. */
  readonly name: string;
  readonly sites: readonly Site[];
  /** Prefixes with which the base would have all modules, if none of them is a known wrapper. */
  readonly prefixes: readonly string[];
  /** Names of the base that the LoRA would all write in the same way; empty if the module is not ambiguous. */
  readonly ambiguous: readonly string[];
}

/**
 * Finds the modules of a LoRA in a base. The base may add a prefix to its modules (`m.blk.0.attn_q` for `blk.0.attn_q`) if
 * exactly one prefix matches all modules, and if it is a known wrapper or the prefix of every matrix of the base.
 * @param pairs pairs whose modules the prefix must match
 */
export function locateModules(
  pairs: readonly LoraModule[],
  base: LoraBase,
  mapping: NameMapping,
): (module: LoraModule) => LocatedModule {
  const groups = new Map<string, (module: LoraModule) => LocatedModule>();
  const all = namesOf(base.sites);
  return (module) => {
    const mapped = mapping.get(module.module);
    if (mapped !== undefined) return located(mapped, all.get(mapped) ?? []);
    const key = JSON.stringify([module.components, module.flattened]);
    const group =
      groups.get(key) ??
      locateGroup(
        pairs.filter(
          (each) => !mapping.has(each.module) && JSON.stringify([each.components, each.flattened]) === key,
        ),
        sitesIn(base, module.components),
        module,
      );
    groups.set(key, group);
    return group(module);
  };
}

/** Finds the modules of one component, which have the same prefix. */
function locateGroup(
  modules: readonly LoraModule[],
  sites: readonly Site[],
  { components, flattened }: LoraModule,
): (module: LoraModule) => LocatedModule {
  const names = namesOf(sites);
  if (flattened) return flattenedNames(names, components);
  if (modules.every((each) => names.has(each.target))) {
    return ({ target }) => located(target, names.get(target) ?? []);
  }
  const prefixes = prefixesOf(modules, names);
  const [prefix = "", ...others] = prefixes;
  if (others.length === 0 && isWrapper(prefix, components, sites)) {
    return ({ target }) => located(prefix + target, names.get(prefix + target) ?? []);
  }
  return ({ target }) => ({ ...located(target, names.get(target) ?? []), prefixes });
}

function located(name: string, sites: readonly Site[]): LocatedModule {
  // Different parts of a pipeline may use one name for different weights.
  const components = new Set(sites.map((site) => site.component ?? ""));
  const differ = new Set(sites.map((site) => site.weight.digest)).size > 1;
  const ambiguous = components.size > 1 && differ ? [...components].map((each) => `${each}/${name}`) : [];
  return { name, sites, prefixes: [], ambiguous };
}

/** Indexes sites by every name that a LoRA may use. A name may refer to a weight in each of several methods. */
function namesOf(sites: readonly Site[]): Map<string, Site[]> {
  const names = new Map<string, Site[]>();
  for (const site of sites) {
    for (const module of site.modules) {
      const known = names.get(module);
      if (known) known.push(site);
      else names.set(module, [site]);
    }
  }
  return names;
}

/** Finds the sites of a pipeline's component; all sites of a model that is not a pipeline. */
function sitesIn({ sites }: LoraBase, components: readonly string[]): readonly Site[] {
  if (components.length === 0 || sites.every((site) => site.component === undefined)) return sites;
  return sites.filter((site) => site.component !== undefined && components.includes(site.component));
}

/** Finds the prefixes with which the base has all modules. */
function prefixesOf(modules: readonly LoraModule[], names: ReadonlyMap<string, readonly Site[]>): string[] {
  const [first] = modules;
  if (!first) return [];
  return [...names.keys()]
    .filter((name) => name.endsWith(`.${first.target}`))
    .map((name) => name.slice(0, -first.target.length))
    .filter((prefix) => modules.every((each) => names.has(prefix + each.target)));
}

function isWrapper(prefix: string, components: readonly string[], sites: readonly Site[]): boolean {
  if (prefix === "") return false;
  if (components.some((each) => CHECKPOINT_WRAPPERS[each]?.includes(prefix))) return true;
  if (
    prefix
      .split(".")
      .slice(0, -1)
      .every((part) => WRAPPERS.has(part))
  )
    return true;
  const matrices = sites.filter((site) => matrixShape(site.weight.shape) && site.refusal === undefined);
  return matrices.every((site) => site.modules.some((name) => name.startsWith(prefix)));
}

/** Finds modules by names whose dots are written as underscores. Exact if only one name of the base is written so. */
function flattenedNames(
  names: ReadonlyMap<string, readonly Site[]>,
  components: readonly string[],
): (module: LoraModule) => LocatedModule {
  const wrappers = components.flatMap((each) => CHECKPOINT_WRAPPERS[each] ?? []);
  const flat = new Map<string, Set<string>>();
  const add = (spelled: string, name: string): void => {
    const key = spelled.replaceAll(".", "_");
    flat.set(key, (flat.get(key) ?? new Set()).add(name));
  };
  for (const name of names.keys()) {
    add(name, name);
    for (const wrapper of wrappers) if (name.startsWith(wrapper)) add(name.slice(wrapper.length), name);
  }
  return ({ target, module }) => {
    const [name, ...others] = flat.get(target) ?? [];
    if (name === undefined) return located(module, []);
    if (others.length === 0) return located(name, names.get(name) ?? []);
    return { name: module, sites: [], prefixes: [], ambiguous: [name, ...others] };
  };
}
