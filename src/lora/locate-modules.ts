import type { LoraModule } from "./adapter.ts";
import type { LoraBase, Site } from "./lora-base.ts";
import { matrixShape } from "./matrix-shape.ts";
import type { NameMapping } from "./mapping.ts";

/**
 * What models put around their modules without changing what these are: PyTorch's own wrappers, and the one backbone of
 * a model of Transformers (`base_model_prefix`). A tower of several is none.
 */
const WRAPPERS: ReadonlySet<string> = new Set([
  ..."module _orig_mod model transformer backbone gpt_neox bert roberta distilbert albert electra deberta".split(
    " ",
  ),
  ..."camembert mpnet vit deit beit swin".split(" "),
]);
/** What a single file of a diffusion model puts around the parts that a pipeline has in folders. */
const CHECKPOINT_WRAPPERS: Readonly<Record<string, readonly string[]>> = {
  unet: ["model.diffusion_model."],
  transformer: ["model.diffusion_model."],
  text_encoder: ["cond_stage_model.transformer.", "conditioner.embedders.0.transformer."],
};

/** Where a module of a LoRA was looked for, and what was found. */
export interface LocatedModule {
  /** What the base would call it, for errors. */
  readonly name: string;
  readonly sites: readonly Site[];
  /** Prefixes with which the base would have it and all others, though nothing says that one of them is meant. */
  readonly prefixes: readonly string[];
  /** Names of the base that all are written as the LoRA writes this one; empty where one is meant. */
  readonly ambiguous: readonly string[];
}

/**
 * Finds the modules of a LoRA in a base. A base that wraps its modules in another (`m.blk.0.attn_q` for `blk.0.attn_q`) is
 * seen through if one prefix, and no other, makes all modules fit, and if it is a known wrapper or stands before every
 * matrix of the base.
 * @param pairs those that the prefix has to fit
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

/** Modules of one component, which share what is put before their names. */
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
  // Parts of a pipeline have equal names for what is not the same.
  const components = new Set(sites.map((site) => site.component ?? ""));
  const differ = new Set(sites.map((site) => site.weight.digest)).size > 1;
  const ambiguous = components.size > 1 && differ ? [...components].map((each) => `${each}/${name}`) : [];
  return { name, sites, prefixes: [], ambiguous };
}

/** Sites by every name that a LoRA may use; one name may stand for a weight in each of several methods. */
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

/** The sites of a pipeline's component; all of a model that is no pipeline. */
function sitesIn({ sites }: LoraBase, components: readonly string[]): readonly Site[] {
  if (components.length === 0 || sites.every((site) => site.component === undefined)) return sites;
  return sites.filter((site) => site.component !== undefined && components.includes(site.component));
}

/** The prefixes with which all modules are in the base. */
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

/** Finds modules by names whose dots are written as underscores: exact where one name of the base is written so. */
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
