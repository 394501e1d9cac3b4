import type { ModelDiff } from "../../operations/diff/diff.ts";
import { tensorBytes } from "../../tensor/dtype.ts";
import { type DefineCommand, examples } from "../command.ts";
import { bytes, table } from "../context.ts";
import { diff as diffModels } from "../../operations/diff/diff.ts";

/** `tare diff`: compares two models weight by weight. */
export const diff: DefineCommand = (program, act) => {
  program
    .command("diff")
    .summary("compare two models weight by weight")
    .description(
      "Compare two models by the names of their weights: list the weights that changed, and count those that are equal\n" +
        "or that only one model has. For each changed weight: ELEMENTS is the share of elements that changed; RELATIVE\n" +
        "is the root mean square (RMS) of the differences, divided by the RMS of the values in A; LARGEST is the largest\n" +
        "absolute difference.",
    )
    .argument("<a>", "a model of the store")
    .argument("<b>", "another model of the store")
    .addHelpText("after", examples("tare diff base fine-tune", "tare diff base fine-tune --json"))
    .action(
      act(async (context, a: string, b: string) => {
        const store = await context.openStore();
        const result = await diffModels(store, a, b, { signal: context.signal });
        context.print(result, () => describe(result));
      }),
    );
};

function describe(result: ModelDiff): string {
  const { a, b, same, changed, changedBytes, onlyInA, onlyInB } = result;
  const lines = table([
    ["programs", result.sameProgram ? "the same: one family" : "different"],
    ["same", `${same.count} weights, ${bytes(same.bytes)}`],
    ["changed", `${changed.length} weights`],
    ...(onlyInA.count > 0 ? [[`only in ${a}`, `${onlyInA.count} weights, ${bytes(onlyInA.bytes)}`]] : []),
    ...(onlyInB.count > 0 ? [[`only in ${b}`, `${onlyInB.count} weights, ${bytes(onlyInB.bytes)}`]] : []),
    ["update", `${bytes(changedBytes)} turn ${a} into ${b}`],
  ]);
  if (changed.length === 0) return lines;
  const rows = changed.map(({ method, name, a: left, b: right, difference }) => [
    `${method}/${name}`,
    left.dtype === right.dtype ? left.dtype : `${left.dtype} → ${right.dtype}`,
    left.shape.join() === right.shape.join()
      ? `[${left.shape.join(", ")}]`
      : `[${left.shape.join(", ")}] → [${right.shape.join(", ")}]`,
    bytes(tensorBytes(right.dtype, right.shape) ?? 0),
    difference ? percent(difference.changed / Math.max(1, difference.elements)) : "",
    difference?.relative === undefined ? "" : percent(difference.relative),
    difference?.largest === undefined ? "" : difference.largest.toPrecision(3),
  ]);
  const header = ["CHANGED WEIGHT", "DTYPE", "SHAPE", "SIZE", "ELEMENTS", "RELATIVE", "LARGEST"];
  return `${lines}\n\n${table([header, ...rows], [3, 4, 5, 6])}`;
}

function percent(fraction: number): string {
  return `${(fraction * 100).toPrecision(3)} %`;
}
