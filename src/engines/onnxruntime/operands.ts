import { ANONYMOUS, type Binding, type LinkPlan } from "../../model/link-plan.ts";
import type { Artifact, Prepacking } from "./artifact.ts";

/** Name of an operand in its lone nodes, and its binding. */
export type Operand = readonly [name: string, binding: Binding];

/** Finds the weights that are inputs of lone nodes; `undefined` if a weight is missing or has no known digest. */
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
