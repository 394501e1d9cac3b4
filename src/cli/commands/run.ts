import type { Command } from "commander";
import { EngineError, UsageError } from "../../errors.ts";
import type { Session, Signature } from "../../engines/engine.ts";
import type { ModelInfo } from "../../operations/describe.ts";
import { noEngine } from "../../engines/engine-of.ts";
import type { LoadOptions, Runtime } from "../../runtime/runtime.ts";
import type { Tensor, Tensors } from "../../tensor/tensor.ts";
import { type DefineCommand, examples } from "../command.ts";
import { type Context, table } from "../context.ts";
import { parseInput, readInputFile } from "../inputs.ts";
import { writeTensors } from "../../operations/tensor-files/write-tensors.ts";
import { tensorsToJson } from "../../tensor/json-tensor.ts";
import { generateText, type TextFlags } from "../generate-text.ts";
import { summarize } from "../summary.ts";
import { collect, refuseOptions } from "../options.ts";
import { portText } from "../formatting.ts";
import { describeModel } from "../../operations/describe.ts";
import { bind } from "../../link/bind.ts";

interface RunFlags extends TextFlags {
  readonly method?: string;
  readonly in: readonly string[];
  readonly input: readonly string[];
  readonly out?: string;
  readonly throughput?: boolean;
  readonly prepacking?: string;
  readonly weights?: string;
}

/** Options of models that take tensors, and of models that generate text: each kind refuses the other's. */
const TENSOR_OPTIONS = ["method", "in", "input", "out", "throughput", "prepacking", "weights"];
const TEXT_OPTIONS = [
  "maxTokens",
  "temperature",
  "topK",
  "topP",
  "seed",
  "stop",
  "context",
  "adapter",
  "raw",
];

/** `tare run`: runs a model over the store's weights. */
export const runCommand: DefineCommand = (program, act) => {
  program
    .command("run")
    .summary("run a model")
    .description(
      "Run a model of the store. The engine maps the stored weights, so that processes share them in memory.\n\n" +
        "ONNX models take tensors: from .npz, .safetensors or .json files with a tensor for each input, from\n" +
        "NAME=FILE.npy, or as JSON on the command line. Outputs are summarized, or written to a file of one of these\n" +
        "formats with --out. Without inputs, tare prints the names, dtypes and shapes that the model expects.\n\n" +
        "GGUF models take a prompt and print the text that they generate; their options start with 'text:'.",
    )
    .argument("<model>", "a model of the store")
    .argument("[input...]", "input files, the same as --in; for a GGUF model the prompt")
    .option("--method <name>", "the method to run, if the model has several")
    .option(
      "--in <file>",
      "inputs: .npz, .safetensors, .json, or NAME=FILE.npy; may be repeated",
      collect,
      [],
    )
    .option("--input <name=json>", "one input as JSON: input_ids=[[1,2,3]]; may be repeated", collect, [])
    .option("--out <file>", "write the outputs: .npz, .safetensors, .json, or .npy for a single output")
    .option(
      "--throughput",
      "prepack all weights: faster on batches, but each process has its copy of the weights",
    )
    .option("--prepacking <mode>", "prepack weights: auto (if a kernel needs it), on or off", "auto")
    .option("--threads <count>", "threads of one operator (default: one for each core)")
    .option("--verify", "hash every weight before the run")
    .option(
      "--weights <weights>",
      "ONNX: use other weights: a model of the store, a file or folder in any format, or an http(s) URL",
    )
    .option("--max-tokens <count>", "text: largest number of tokens to generate")
    .option("--temperature <t>", "text: sampling temperature; 0 always takes the likeliest token", "0")
    .option("--top-k <count>", "text: sample from this many likeliest tokens")
    .option("--top-p <share>", "text: sample from the likeliest tokens whose probabilities sum to this share")
    .option("--seed <number>", "text: seed of the sampling; the same seed gives the same text")
    .option("--stop <text>", "text: stop before this text; may be repeated", collect, [])
    .option("--context <tokens>", "text: size of the context, which holds prompt and answer")
    .option(
      "--adapter <name[:scale]>",
      "text: apply a LoRA of the store to the model; may be repeated",
      collect,
      [],
    )
    .option("--raw", "text: continue the prompt as it is, without the model's chat template")
    .addHelpText(
      "after",
      examples(
        "tare run base --method decoder                      # prints the signature",
        "tare run base --method decoder --input 'input_ids=[[1,37,82]]'",
        "tare run base --method decoder inputs.npz --out outputs.npz",
        "tare run base --method decoder inputs.npz --weights tuned.safetensors",
        "tare run base --method decoder --in input_ids=ids.npy --out logits.safetensors",
        'tare run base-gguf "And he said" --max-tokens 40',
      ),
    )
    .action(
      act(async (context, model: string, files: string[], flags: RunFlags, command: Command) => {
        const store = await context.openStore();
        const info = await describeModel(store, model);
        const [others, kind] =
          info.format === "gguf" ? [TENSOR_OPTIONS, "tensors"] : [TEXT_OPTIONS, "text (a GGUF model)"];
        refuseOptions(command, others, `Cannot run "${model}"`, `is for models of ${kind}`);
        if (info.format === "gguf") {
          return await generateText(context, store, model, files.join(" "), flags);
        }
        if (info.engine === undefined) throw noEngine(model, info.format, "run");
        const options = loadOptions(flags);
        const signature = signatureFor(info, flags.method);
        const inputs = await readInputs([...flags.in, ...files], flags.input, signature);
        const missing = signature.inputs.filter((port) => !Object.hasOwn(inputs, port.name));
        if (missing.length > 0)
          throw missingInputs(
            model,
            signature,
            missing.map((port) => port.name),
          );
        await using runtime = await context.openRuntime(store);
        await using session = await load(context, runtime, model, flags.weights, options);
        const began = performance.now();
        const outputs = await session.run(inputs, { signal: context.signal });
        await report(context, outputs, performance.now() - began, flags.out);
      }),
    );
};

async function load(
  context: Context,
  runtime: Runtime,
  model: string,
  weights: string | undefined,
  options: LoadOptions,
): Promise<Session> {
  const { signal } = context;
  if (weights === undefined) return runtime.load(model, { ...options, signal });
  await using program = await bind(runtime.store, model, { method: options.method, weights, signal });
  return await runtime.load(await program.link({ signal }), { ...options, signal });
}

function loadOptions(flags: RunFlags): LoadOptions {
  const { method, verify } = flags;
  const prepacking = flags.throughput ? "on" : (flags.prepacking ?? "auto");
  if (prepacking !== "auto" && prepacking !== "on" && prepacking !== "off") {
    throw new UsageError("usage", `Cannot use --prepacking ${prepacking}: it must be auto, on or off`);
  }
  const threads = flags.threads === undefined ? undefined : Number(flags.threads);
  if (threads !== undefined && !(Number.isInteger(threads) && threads > 0)) {
    throw new UsageError("usage", `Cannot use --threads ${flags.threads}: it must be a positive integer`);
  }
  // The process runs one model only, so its idle threads may spin.
  return { method, verify, prepacking, threads, spinning: true };
}

function signatureFor({ name: model, methods }: ModelInfo, method: string | undefined): Signature {
  const chosen =
    method === undefined && methods.length === 1 ? methods[0] : methods.find((each) => each.name === method);
  if (chosen) return chosen.signature;
  const what = method === undefined ? "it has several methods" : `it has no method "${method}"`;
  const names = methods.map((each) => each.name).join(", ");
  throw new UsageError("usage", `Cannot run "${model}": ${what}`, {
    hint: `Choose one with --method: ${names}`,
  });
}

async function readInputs(
  files: readonly string[],
  given: readonly string[],
  signature: Signature,
): Promise<Record<string, Tensor>> {
  const inputs: Record<string, Tensor> = {};
  for (const file of files) Object.assign(inputs, await readInputFile(file, signature));
  for (const text of given) Object.assign(inputs, parseInput(text, signature));
  return inputs;
}

function missingInputs(model: string, signature: Signature, missing: readonly string[]): EngineError {
  const lines = (ports: Signature["inputs"]): string =>
    ports.map((port) => `    ${portText(port)}`).join("\n");
  return new EngineError(
    "missing-input",
    `Cannot run "${model}" without ${missing.join(", ")}\n  inputs\n${lines(signature.inputs)}\n  outputs\n${lines(signature.outputs)}`,
    {
      tensor: missing[0],
      hint: "Give inputs in a file (--in inputs.npz) or one by one (--input 'NAME=JSON')",
    },
  );
}

async function report(
  context: Context,
  outputs: Tensors,
  ms: number,
  out: string | undefined,
): Promise<void> {
  if (out !== undefined) await writeTensors(out, outputs);
  const rows = Object.entries(outputs).map(([name, tensor]) => {
    return [name, tensor.dtype, `[${tensor.shape.join(", ")}]`, summarize(tensor)];
  });
  const result = { ms, outputs: out === undefined ? tensorsToJson(outputs) : undefined, out };
  context.print(result, () => {
    const written = out === undefined ? "" : `\nwritten: ${out}`;
    return `${table([["OUTPUT", "DTYPE", "SHAPE", "SUMMARY"], ...rows])}\nran in ${ms.toFixed(1)} ms${written}`;
  });
}
