import type { MethodInfo, ModelInfo } from "../../operations/describe.ts";
import type { ExecutorchInfo } from "../../operations/executorch/executorch-info.ts";
import type { LoraInfo } from "../../lora/lora-bases.ts";
import { type DefineCommand, examples } from "../command.ts";
import { bytes, table } from "../context.ts";
import { bindingsText, loraText, portText, shortDigest } from "../formatting.ts";
import { describeModel } from "../../operations/describe.ts";

/** `tare show`: one model. */
export const show: DefineCommand = (program, act) => {
  program
    .command("show")
    .summary("show a model: signature, weights, what it shares with whom")
    .description(
      "Show a model: its methods with their inputs and outputs, every weight with its size and the models that share\n" +
        "it, and what the engine will do: which weights it copies, and why a program cannot be compiled without them.",
    )
    .argument("<model>")
    .option("--method <name>", "only this method")
    .option("--bindings", "for each weight, what the compiled program binds (tare compile)")
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
        const store = await context.openStore();
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
    [
      "weights",
      `${bytes(info.weightBytes)}: ${bytes(info.sharedBytes)} shared, ${bytes(info.ownBytes)} its own`,
    ],
    ...(lora ? [["adapter", loraLine(lora)]] : []),
    ...(lora?.notes ?? []).map((note) => ["", note]),
    ...(adapters.length > 0 ? [["adapters", `${adapters.join(", ")}: tare run --adapter, tare merge`]] : []),
  ]);
}

function loraLine(lora: LoraInfo): string {
  if (lora.refusal !== undefined) return lora.refusal;
  const { ranks, alphas, targets } = lora;
  return `${loraText(lora)}: rank ${ranks.join(", ")}, alpha ${alphas.join(", ")}, for ${targets} weights`;
}

function describe(method: MethodInfo, { engine, format }: ModelInfo): string {
  const engineText = (): string => {
    if (format === "mlir") return "none: it is for compilers";
    if (method.executorch) return "none here: ExecuTorch's own runtime runs what tare export writes";
    if (engine === undefined) return "none runs it by itself: it has weights and no program";
    const derived = method.weights.filter((weight) => weight.folded).length;
    const instead = derived > 0 ? `, for ${derived} of them what is derived from them once` : "";
    if (method.prepackingOperator === undefined) return `maps every weight, copies none${instead}`;
    return `prepacks for ${method.prepackingOperator}: ${packing(method)}`;
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
      `${sharedWith.length > 0 ? sharedWith.join(", ") : "own"}${copied ? " (copied)" : prepacked ? " (packed once)" : folded ? " (derived once)" : ""}`,
    ],
  );
  return `${table(lines)}\n\n${table([["WEIGHT", "DTYPE", "SHAPE", "SIZE", "DIGEST", "SHARED WITH"], ...rows], [3])}`;
}

/** What a method's backends run, and what it has together with other methods. */
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

/** What is packed: once for all, or for each session. */
function packing({ weights }: MethodInfo): string {
  const shared = weights.filter((weight) => weight.prepacked).length;
  const copied = weights.filter((weight) => weight.copied);
  const copiedBytes = copied.reduce((sum, weight) => sum + weight.bytes, 0);
  const copies = `copies ${copied.length} weights, about ${bytes(copiedBytes)} a session`;
  if (shared === 0) return copies;
  return `shares one packed copy of ${shared} weights${copied.length > 0 ? `, ${copies}` : ""}`;
}
