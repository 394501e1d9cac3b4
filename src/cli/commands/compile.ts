import type { CompiledModel, CompileRecord } from "../../compile/backends/compiled-model.ts";
import { parsePartitionRule, type PartitionRule } from "../../compile/backends/partition.ts";
import { WEIGHTLESS_BLOCKER } from "../../compile/link-partition.ts";
import type { ViewResult } from "../../link/view.ts";
import { type DefineCommand, examples } from "../command.ts";
import { bytes, table } from "../context.ts";

interface CompileFlags {
  readonly backend?: string;
  readonly level?: string;
  readonly out?: string;
  readonly copy?: boolean;
}

/** `tare compile`: compiles a model ahead of time, without its weights. */
export const compile: DefineCommand = (program, act) => {
  const partition: PartitionRule[] = [];
  program
    .command("compile")
    .summary("compile a model ahead of time, without its weights, for one engine or several")
    .description(
      "Compile all methods of a model ahead of time, without its weights. All models with the same program (a family)\n" +
        "then use one compilation. There are two backends: onnxruntime optimizes the program for this CPU; portable\n" +
        "keeps the program unchanged, for any runtime. The store caches the result, and compiles again when the engine\n" +
        "or the processor changes.\n\n" +
        "--partition cuts a method into partitions: each node is compiled by the backend of the first rule that matches\n" +
        "it, else by --backend. Consecutive nodes of one backend form a partition. PATTERN must match the complete\n" +
        "operator type or node name; * stands for any characters and ? for one.",
    )
    .argument("<model>", "a model of the store")
    .option("--backend <id>", "the backend: onnxruntime (default) or portable")
    .option(
      "--partition <rule>",
      "PATTERN=BACKEND: compile the nodes that match with another backend; may be repeated",
      (given: string) => void partition.push(parsePartitionRule(given)),
    )
    .option(
      "--level <level>",
      "optimization level of onnxruntime: disabled, basic, extended (default) or all",
    )
    .option("--out <dir>", "write the compiled model to a new folder that runs without the store")
    .option("--copy", "with --out: copy weights that cannot be reflinked, instead of hard-linking them")
    .addHelpText(
      "after",
      examples(
        "tare compile base",
        "tare compile base --backend portable --out dist/base",
        "tare compile base --partition Softmax=portable",
        "tare compile base --partition '*/layers.0/*=portable' --json",
      ),
    )
    .action(
      act(async (context, name: string, flags: CompileFlags) => {
        const store = await context.openStore();
        await using runtime = await context.openRuntime(store);
        const options = {
          backends: flags.backend === undefined ? [] : [flags.backend],
          partition,
          settings: flags.level === undefined ? {} : { onnxruntime: { level: flags.level } },
          signal: context.signal,
        };
        const { model, cached, reused } = await runtime.compile(name, options);
        const written =
          flags.out === undefined
            ? undefined
            : await runtime.writeCompiled(name, flags.out, { ...options, copy: flags.copy });
        context.print({ ...model, cached, reused, written }, () => describe(model, cached, reused, written));
      }),
    );
};

function describe(
  model: CompiledModel,
  cached: boolean,
  reused: number,
  written: ViewResult | undefined,
): string {
  const partitions = model.methods.flatMap((method) => method.partitions);
  const rows = model.methods.flatMap((method) =>
    method.partitions.map(({ backend, nodes, bindings, program, settings }, index) => [
      method.name,
      String(index),
      backend,
      nodes.before === nodes.after ? String(nodes.before) : `${nodes.before} → ${nodes.after}`,
      String(bindings.length),
      bytes(program.size),
      blockerText(settings[WEIGHTLESS_BLOCKER]),
    ]),
  );
  const header = ["METHOD", "PARTITION", "BACKEND", "NODES", "WEIGHTS", "PROGRAM"];
  const reuse = cached
    ? "all partitions, from the store's cache"
    : `${reused} of ${partitions.length} partitions, from the store's cache`;
  const facts = [
    ["compiled", model.model],
    ["reused", reuse],
    ...model.records.map((record) => [record.backend, recordText(record)]),
    ...(written ? [["written", written.path]] : []),
  ];
  return `${table([header, ...rows], [1, 4, 5])}\n\n${table(facts)}`;
}

function blockerText(weightlessBlocker: string | undefined): string {
  return weightlessBlocker === undefined ? "" : `optimized at every load: ${weightlessBlocker}`;
}

function recordText({ engine, version, target, cpu, settings, dimensions }: CompileRecord): string {
  const parts = [
    engine === "any" ? "for any engine" : `${engine} ${version}`,
    ...(target === "any" ? [] : [target]),
    ...(cpu.length > 0 ? [`with ${cpu.join(" ")}`] : []),
    ...Object.entries(settings).map(([key, value]) => `${key} ${value}`),
    ...(dimensions.length > 0 ? [`any ${dimensions.map((each) => each.name).join(", ")}`] : []),
  ];
  return parts.join("; ");
}
