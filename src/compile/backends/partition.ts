import { FormatError, UsageError } from "../../errors.ts";
import { isFree } from "../../formats/onnx/cut.ts";
import type { OnnxModel, OnnxNode } from "../../formats/onnx/graph.ts";
import { matchesPattern } from "../../model/wildcard.ts";
import type { Backend } from "./backend.ts";
import { operatorOf } from "./operators.ts";

/** A user's rule that assigns nodes to a backend. */
export interface PartitionRule {
  /**
   * Pattern for the complete operator type (`Softmax`, `com.microsoft::Gelu`) or node name: `*` stands for any characters
   * and `?` for one.
   */
  readonly nodes: string;
  /** Id of the backend. */
  readonly backend: string;
}

/** Consecutive nodes of one backend. */
export interface NodeRun {
  readonly backend: Backend;
  /** Index of its last node, plus 1. */
  readonly end: number;
}

/**
 * Parses a rule of the command line: `PATTERN=BACKEND`.
 * @throws UsageError
 */
export function parsePartitionRule(given: string): PartitionRule {
  const cut = given.lastIndexOf("=");
  const [nodes, backend] = [given.slice(0, Math.max(0, cut)), given.slice(cut + 1)];
  if (nodes !== "" && backend !== "") return { nodes, backend };
  throw new UsageError("usage", `Cannot use the rule "${given}"`, {
    hint: 'Write PATTERN=BACKEND, such as "Softmax=portable" or "*/layers.0/*=portable"',
  });
}

/** Formats a rule as an option of the command line. */
export function describePartitionRule({ nodes, backend }: PartitionRule): string {
  return `--partition ${nodes}=${backend}`;
}

/** Whether a rule matches a node. */
export function partitionRuleSelects({ nodes }: PartitionRule, node: OnnxNode): boolean {
  return matchesPattern(nodes, operatorOf(node)) || (node.name !== "" && matchesPattern(nodes, node.name));
}

/**
 * Assigns each node of the main graph to a backend: that of the first rule that matches it, else the first that supports
 * it. Consecutive nodes of one backend form a partition; `Constant`s belong to the partitions that use them.
 * @param backends backends in order of preference
 * @throws UsageError for a rule with an unknown backend; FormatError `unsupported` for a node that no backend supports
 */
export function partitionNodes(
  method: string,
  model: OnnxModel,
  backends: readonly Backend[],
  rules: readonly PartitionRule[],
): NodeRun[] {
  const byId = new Map(backends.map((backend) => [backend.id, backend]));
  for (const rule of rules) {
    if (byId.has(rule.backend)) continue;
    throw new UsageError(
      "usage",
      `Cannot use the rule ${describePartitionRule(rule)}: there is no such backend`,
      {
        hint: `Use one of ${[...byId.keys()].join(", ")}`,
      },
    );
  }
  const runs: NodeRun[] = [];
  for (const [index, node] of model.graph.nodes.entries()) {
    const last = runs.at(-1);
    const backend = isFree(node) ? last?.backend : backendFor(method, node, backends, byId, rules);
    if (!backend) continue;
    if (last?.backend === backend) runs.pop();
    runs.push({ backend, end: index + 1 });
  }
  // A graph without nodes, or with Constants only, belongs to the first backend.
  if (runs.length === 0) runs.push({ backend: backends[0] as Backend, end: model.graph.nodes.length });
  return runs;
}

function backendFor(
  method: string,
  node: OnnxNode,
  backends: readonly Backend[],
  byId: ReadonlyMap<string, Backend>,
  rules: readonly PartitionRule[],
): Backend {
  const rule = rules.find((each) => partitionRuleSelects(each, node));
  const wanted = rule && byId.get(rule.backend);
  const backend = wanted ?? backends.find((each) => takes(each, node));
  if (backend && takes(backend, node)) return backend;
  const who = wanted ? `backend "${wanted.id}" does not support` : "no backend supports";
  throw new FormatError(
    "unsupported",
    `Cannot compile method "${method}": ${who} ${operatorOf(node)}${node.name && ` "${node.name}"`}`,
    {
      hint: rule
        ? `Change the rule ${describePartitionRule(rule)}`
        : "Add a backend that supports every node, such as portable",
    },
  );
}

function takes(backend: Backend, node: OnnxNode): boolean {
  return backend.takes?.(node) ?? true;
}
