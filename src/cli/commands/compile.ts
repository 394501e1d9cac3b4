import type { CompiledModel, CompileRecord } from "../../compile/backends/compiled-model.ts";
import { parsePartitionRule, type PartitionRule } from "../../compile/backends/partition.ts";
import type { ViewResult } from "../../link/view.ts";
import { type DefineCommand, examples } from "../command.ts";
import { bytes, table } from "../context.ts";

interface CompileFlags {
  readonly backend?: string;
  readonly level?: string;
  readonly out?: string;
  readonly copy?: boolean;
}

/** `tare compile`: ahead of time, without the weights. */
export const compile: DefineCommand = (program, act) => {
  const partition: PartitionRule[] = [];
  program
    .command("compile")
    .summary("compile a model ahead of time, without its weights, for one engine or several")
    .description(
      "Compile a model ahead of time: all its methods, without its weights, so that what is compiled serves every model\n" +
        "of its family. Backends are onnxruntime, which optimizes for the CPU, and portable, which leaves the program as\n" +
        "it is, for any runtime. The result is kept in the store, and made again when the engine or the processor changes.\n\n" +
        "A method may be cut into partitions: each node goes to the backend of the first --partition rule that selects\n" +
        "it, else to --backend; consecutive nodes of one backend are a partition. PATTERN is a whole operator type or\n" +
        "node name, in which * stands for any characters and ? for one.",
    )
    .argument("<model>")
    .option("--backend <id>", "what compiles: onnxruntime (unless given) or portable")
    .option(
      "--partition <rule>",
      "PATTERN=BACKEND: some nodes to another backend; may be repeated",
      (given: string) => void partition.push(parsePartitionRule(given)),
    )
    .option("--level <level>", "how far onnxruntime optimizes: disabled, basic, extended (unless given), all")
    .option("--out <dir>", "write a folder that runs without the store")
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
      settings.whole === undefined ? "" : `optimized at every load: ${settings.whole}`,
    ]),
  );
  const head = ["METHOD", "PARTITION", "BACKEND", "NODES", "WEIGHTS", "PROGRAM"];
  const reuse = cached
    ? "all of it, from the store's cache"
    : `${reused} of ${partitions.length} partitions, from the store's cache`;
  const facts = [
    ["compiled", model.model],
    ["reused", reuse],
    ...model.records.map((record) => [record.backend, recordText(record)]),
    ...(written ? [["written", written.path]] : []),
  ];
  return `${table([head, ...rows], [1, 4, 5])}\n\n${table(facts)}`;
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
