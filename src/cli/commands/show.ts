import type { MethodInfo, ModelInfo } from "../../operations/describe.ts";
import type { ExecutorchInfo } from "../../operations/executorch/executorch-info.ts";
import type { LoraInfo } from "../../lora/lora-bases.ts";
import { type DefineCommand, examples } from "../command.ts";
import { bytes, table } from "../context.ts";
import { bindingsText, loraText, portText, shortDigest } from "../formatting.ts";
import { describeModel } from "../../operations/describe.ts";

/** `tare show`: describes one model. */
export const show: DefineCommand = (program, act) => {
  program
    .command("show")
    .summary("show a model: inputs, outputs, weights, and the models that share them")
    .description(
      "Show a model: its methods with their inputs and outputs, and every weight with its size and the models that share\n" +
        "it. The line 'engine' says which weights the engine maps and which it copies, and why it cannot compile a\n" +
        "program without its weights, if so.\n\n" +
        "A weight marked (copied) is copied by each session. For (prepacked), all sessions map one prepacked copy. For\n" +
        "(folded), they map constants that the engine computed once from the weight.",
    )
    .argument("<model>", "a model of the store")
    .option("--method <name>", "show only this method")
    .option(
      "--bindings",
      "show which input of the compiled program each weight is bound to (see tare compile)",
    )
    .addHelpText(
      "after",
      examples(
        "tare show base",
        "tare show base --method decoder",
        "tare show base --bindings",
        "tare show base --json",
      ),
    )
    .action(
      act(async (context, name: string, flags: { readonly method?: string; readonly bindings?: boolean }) => {
        const store = await context.openStore({ create: false });
        if (flags.bindings) {
          await using runtime = await context.openRuntime(store);
          const { model } = await runtime.compile(name, { signal: context.signal });
          const compiled = model.methods.filter(
            (each) => flags.method === undefined || each.name === flags.method,
          );
          context.print({ ...model, methods: compiled }, () => compiled.map(bindingsText).join("\n\n"));
          return;
        }
        const info = await describeModel(store, name);
        const methods = info.methods.filter(
          (each) => flags.method === undefined || each.name === flags.method,
        );
        context.print({ ...info, methods }, () =>
          [header(info), ...methods.map((method) => describe(method, info))].join("\n\n"),
        );
      }),
    );
};

function header(info: ModelInfo): string {
  const { lora, adapters } = info;
  const files = info.files.map((file) => `${file.path} (${bytes(file.size)})`).join(", ");
  return table([
    ["model", info.name],
    ["digest", info.digest],
    ["format", info.format],
    ["files", `${bytes(info.fileBytes)}: ${files}`],
    ["weights", `${bytes(info.weightBytes)}: ${bytes(info.sharedBytes)} shared, ${bytes(info.ownBytes)} own`],
    ...(lora ? [["adapter", loraLine(lora)]] : []),
    ...(lora?.notes ?? []).map((note) => ["", note]),
    ...(adapters.length > 0 ? [["adapters", `${adapters.join(", ")}: ${adapterVerbs(info)}`]] : []),
  ]);
}

/** Only llama.cpp applies a LoRA while a model runs. */
function adapterVerbs({ format }: ModelInfo): string {
  return format === "gguf" ? "tare run --adapter, tare merge" : "tare merge";
}

function loraLine(lora: LoraInfo): string {
  if (lora.refusal !== undefined) return lora.refusal;
  const { ranks, alphas, targets } = lora;
  return `${loraText(lora)}: rank ${ranks.join(", ")}, alpha ${alphas.join(", ")}, for ${targets} weights`;
}

function describe(method: MethodInfo, { engine, format }: ModelInfo): string {
  const engineText = (): string => {
    if (format === "mlir") return "none: MLIR is for compilers";
    if (method.executorch) return "none: ExecuTorch's runtime runs the files that tare export writes";
    if (engine === undefined) return "none: the model has weights but no program";
    const folded = method.weights.filter((weight) => weight.folded).length;
    const instead = folded > 0 ? `; for ${folded} of them it maps constants folded from them` : "";
    if (method.prepackingOperator === undefined) return `maps every weight, copies none${instead}`;
    return `prepacks for ${method.prepackingOperator}: ${prepackingText(method)}`;
  };
  const lines = [
    ["method", method.name],
    [
      "program",
      `${shortDigest(method.program)}${method.family.length > 0 ? `, the same in ${method.family.join(", ")}` : ""}`,
    ],
    ...method.signature.inputs.map((port, index) => [index === 0 ? "inputs" : "", portText(port)]),
    ...method.signature.outputs.map((port, index) => [index === 0 ? "outputs" : "", portText(port)]),
    ...(method.executorch ? programLines(method.executorch) : []),
    ["engine", engineText()],
  ];
  if (method.weightlessBlocker !== undefined)
    lines.push(["", `optimizes at every load: ${method.weightlessBlocker}`]);
  const rows = method.weights.map(
    ({ name, dtype, shape, bytes: size, digest, sharedWith, copied, prepacked, folded }) => [
      name,
      dtype,
      `[${shape.join(", ")}]`,
      bytes(size),
      shortDigest(digest),
      `${sharedWith.length > 0 ? sharedWith.join(", ") : "own"}${copied ? " (copied)" : prepacked ? " (prepacked)" : folded ? " (folded)" : ""}`,
    ],
  );
  return `${table(lines)}\n\n${table([["WEIGHT", "DTYPE", "SHAPE", "SIZE", "DIGEST", "SHARED WITH"], ...rows], [3])}`;
}

/** Lists the delegates of an ExecuTorch method, and the methods that share its weights. */
function programLines({ delegates, sharedMethods }: ExecutorchInfo): string[][] {
  return [
    ...delegates.map(({ backend, weight, bytes: size, methods }, index) => [
      index === 0 ? "delegates" : "",
      `${weight}: ${backend}, ${bytes(size)}${methods.length > 0 ? `, the same in ${methods.join(", ")}` : ""}`,
    ]),
    ...sharedMethods.map(({ name, bytes: size }, index) => [
      index === 0 ? "shares" : "",
      `${bytes(size)} with ${name}`,
    ]),
  ];
}

/** Says which weights all sessions share one prepacked copy of, and which each session copies. */
function prepackingText({ weights }: MethodInfo): string {
  const shared = weights.filter((weight) => weight.prepacked).length;
  const copied = weights.filter((weight) => weight.copied);
  const copiedBytes = copied.reduce((sum, weight) => sum + weight.bytes, 0);
  const copies = `copies ${copied.length} weights, about ${bytes(copiedBytes)} a session`;
  if (shared === 0) return copies;
  return `shares one prepacked copy of ${shared} weights${copied.length > 0 ? `, ${copies}` : ""}`;
}
