import { ANONYMOUS, type Binding, type LinkPlan } from "../../model/link-plan.ts";
import type { Artifact, Prepacking } from "./artifact.ts";

/** An operand's name in its lone nodes, and what it is bound to. */
export type Operand = readonly [name: string, binding: Binding];

/** Finds the weights that go into lone nodes; `undefined` if a model lacks one, or the digest of one is not known. */
export function operandsOf(
  { operands: wanted }: Pick<Prepacking, "operands">,
  artifact: Artifact,
  plan: LinkPlan,
): Operand[] | undefined {
  const names = new Map(artifact.weights.map(({ input, name }) => [input, name]));
  const bindings = new Map(plan.weights.map((weight) => [weight.name, weight]));
  const operands = wanted.flatMap(([name, input]): Operand[] => {
    const binding = bindings.get(names.get(input) ?? "");
    return binding && binding.digest !== ANONYMOUS ? [[name, binding]] : [];
  });
  return operands.length === wanted.length ? operands : undefined;
}
