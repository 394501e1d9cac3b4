import type { Weight } from "../model/config.ts";
import { type LoraAdapter, type LoraCopy, type LoraModule, shapeText, someNames } from "./adapter.ts";
import type { LoraBase } from "./lora-base.ts";
import type { LocatedModule } from "./locate-modules.ts";
import { misfit } from "./misfit.ts";

/**
 * Checks that the full weights beside the pairs of a LoRA equal those of the base, by digest, so that they can be ignored.
 * @returns notes that list the ignored weights
 * @throws LinkError `unsupported` for a weight that differs from the base's, or that the base does not have
 */
export function checkCopies(
  adapter: LoraAdapter,
  base: LoraBase,
  locate: (module: LoraModule) => LocatedModule,
): string[] {
  if (adapter.copies.length === 0) return [];
  for (const copy of adapter.copies) {
    const { sites } = locate(copy);
    // A base with tied embeddings has the weight under one of its names.
    const own = sites.length > 0 ? sites : base.sites.filter((site) => isSame(site.weight, copy.weight));
    const other = own.find((site) => !isSame(site.weight, copy.weight))?.weight;
    if (own.length > 0 && !other) continue;
    throw misfit("unsupported", adapter, base, differs(copy, other), copy.weight.name, HINT);
  }
  const names = someNames(adapter.copies.map((copy) => copy.weight.name));
  return [
    adapter.copies.length === 1
      ? `${names} is left out: it equals the base's weight`
      : `${names} are left out: they equal the base's weights`,
  ];
}

const HINT =
  "Merge into the base that the adapter was trained on, or let PEFT merge it (merge_and_unload) and add the model that " +
  "it saves";

function differs({ weight, trained }: LoraCopy, other: Weight | undefined): string {
  const from = trained ? " (modules_to_save)" : "";
  const subject = `"${weight.name}"${from} is not part of a LoRA pair, and`;
  if (!other) return `${subject} the base has no such weight`;
  const ours = typeText(weight);
  const theirs = typeText(other);
  const types = ours === theirs ? "" : `: ${ours} instead of ${theirs}`;
  return `${subject} differs from the base's "${other.name}"${types}`;
}

function typeText({ dtype, shape }: Weight): string {
  return `${dtype} ${shapeText(shape)}`;
}

function isSame(one: Weight, other: Weight): boolean {
  return (
    one.digest === other.digest &&
    one.dtype === other.dtype &&
    shapeText(one.shape) === shapeText(other.shape)
  );
}
