import { writeFile } from "node:fs/promises";
import type { Proposal } from "../../operations/refit/propose.ts";
import { UsageError } from "../../errors.ts";
import type { RefitResult } from "../../operations/refit/refit.ts";
import type { TareStore } from "../../tare-store.ts";
import type { RefitCheck } from "../../operations/refit/verify-refit.ts";
import type { Tensors } from "../../tensor/tensor.ts";
import { type DefineCommand, examples } from "../command.ts";
import { bytes, type Context, table } from "../context.ts";
import { readNameMap } from "../options.ts";
import { readInputFile } from "../inputs.ts";
import { describeModel } from "../../operations/describe.ts";
import { proposeRefit } from "../../operations/refit/propose-refit.ts";
import { refit as refitModel } from "../../operations/refit/refit.ts";

interface RefitFlags {
  readonly as?: string;
  readonly map?: string;
  readonly propose?: boolean;
  readonly out?: string;
  readonly partial?: boolean;
  readonly recompile?: boolean;
  readonly replace?: boolean;
  readonly verify?: boolean;
  readonly in?: string;
}

/** `tare refit`: binds a compiled program to other weights. */
export const refit: DefineCommand = (program, act) => {
  program
    .command("refit")
    .summary("bind a model's compiled program to other weights, as a new model")
    .description(
      "Bind the compiled program of a model to other weights, such as a checkpoint of the same architecture. The result\n" +
        "is a new model that needs no compilation. The new weights must match exactly: no weight is missing, none is left\n" +
        "over, and each has the dtype and shape of the old weight.\n\n" +
        "If the checkpoint uses other names, run --propose first. It proposes a mapping by dtype, shape, values and name.\n" +
        'Check and correct the mapping, then give it with --map. It is JSON: {"name in the model": "name in the\n' +
        'checkpoint"}.',
    )
    .argument("<model>", "the model of the store that has the program")
    .argument("<weights>", "a model of the store, a file or folder in any format, or an http(s) URL")
    .option("--as <name>", "name of the new model")
    .option("--map <file>", "a JSON mapping of names")
    .option("--propose", "print a mapping for the names that differ, and make no model")
    .option("--out <file>", "with --propose: also write the mapping as JSON, for --map")
    .option("--partial", "keep the old weights that the new weights do not have")
    .option("--recompile", "if the new weights come with another program, use and compile that program")
    .option("--replace", "take the name even if another model has it")
    .option(
      "--verify",
      "run the new model and a fresh compilation of it, and compare their outputs bit for bit",
    )
    .option("--in <file>", "with --verify: inputs of the run (default: generated inputs)")
    .addHelpText(
      "after",
      examples(
        "tare refit base checkpoint.safetensors --as tuned --verify",
        "tare refit base checkpoint.npz --propose --out map.json",
        "tare refit base checkpoint.npz --map map.json --as tuned",
        "tare refit base head.safetensors --partial --as tuned",
      ),
    )
    .action(
      act(async (context, model: string, weights: string, flags: RefitFlags) => {
        const store = await context.openStore();
        if (flags.propose) return await propose(context, store, model, weights, flags);
        if (flags.as === undefined) {
          throw new UsageError("usage", "Cannot refit without a name for the result", {
            hint: "Add --as NAME",
          });
        }
        const as = flags.as;
        const map = flags.map === undefined ? undefined : await readNameMap(flags.map);
        const { partial, recompile, replace, verify } = flags;
        const result = await context.withProgress(`refitting ${model}`, (onProgress) =>
          refitModel(store, model, weights, {
            as,
            map,
            partial,
            recompile,
            replace,
            signal: context.signal,
            onProgress,
          }),
        );
        const checks = verify ? await check(context, store, as, flags.in) : undefined;
        context.print({ ...result, checks }, () => describe(result, checks));
      }),
    );
};

async function propose(
  context: Context,
  store: TareStore,
  model: string,
  weights: string,
  { out }: RefitFlags,
): Promise<void> {
  const proposals = await context.withProgress("reading", (onProgress) =>
    proposeRefit(store, model, weights, { signal: context.signal, onProgress }),
  );
  const mapping = Object.fromEntries(proposals.map(({ name, from }) => [name, from]));
  if (out !== undefined) await writeFile(out, `${JSON.stringify(mapping, null, 2)}\n`, { flag: "wx" });
  context.print({ mapping, proposals }, () => {
    if (proposals.length === 0)
      return "no name differs, or no unused new weight has the same dtype and shape";
    const rows = proposals.map(({ name, from, likeness, ambiguous }: Proposal) => [
      name,
      from,
      likeness.toFixed(2),
      ambiguous ? "check: another weight is about as likely" : "",
    ]);
    const written = out === undefined ? "" : `\n\nwritten: ${out}`;
    return `${table([["IN THE MODEL", "IN THE NEW WEIGHTS", "LIKENESS", ""], ...rows], [2])}${written}`;
  });
}

/** Verifies the new model. Removes it if its outputs differ or cannot be computed. */
async function check(
  context: Context,
  store: TareStore,
  name: string,
  inputs: string | undefined,
): Promise<RefitCheck[]> {
  try {
    const given: Record<string, Tensors> = {};
    if (inputs !== undefined) {
      const { methods } = await describeModel(store, name);
      for (const method of methods) given[method.name] = await readInputFile(inputs, method.signature);
    }
    await using runtime = await context.openRuntime(store);
    return await runtime.verifyRefit(name, { inputs: given, signal: context.signal });
  } catch (error) {
    await store.remove([name]);
    throw error;
  }
}

function describe(result: RefitResult, checks: readonly RefitCheck[] | undefined): string {
  const { base, name, how, bound, kept, newBytes, sharedBytes } = result;
  const lines = [
    [how === "relink" ? "refitted" : "recompiled", `${base} as ${name}`],
    ["bound", `${bound} weights`],
    ...(kept.length > 0 ? [["kept", `${kept.length} weights of ${base}`]] : []),
    ["new", bytes(newBytes)],
    ["shared", bytes(sharedBytes)],
    ...(checks ?? []).map(({ method, outputs }) => [
      "verified",
      `${method}: ${outputs.length} outputs equal those of a fresh compilation, bit for bit`,
    ]),
  ];
  return table(lines);
}
