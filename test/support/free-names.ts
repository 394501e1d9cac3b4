/** A node of a syntax tree (ESTree). */
interface Node {
  readonly type: string;
  readonly [field: string]: unknown;
}

/**
 * Names that a script uses and does not declare, but for those that it asks for first with `typeof`. A name that is
 * declared anywhere counts as declared.
 */
export function freeNames(tree: object): Set<string> {
  const used = new Set<string>();
  const declared = new Set<string>();
  visit(tree as Node, new Set());
  return new Set([...used].filter((name) => !declared.has(name)));

  function visit(node: Node, asked: ReadonlySet<string>): void {
    if (node.type === "Identifier") {
      if (!asked.has(node.name as string)) used.add(node.name as string);
      return;
    }
    if (node.type === "UnaryExpression" && node.operator === "typeof") return;
    const known = GUARDS.includes(node.type) ? new Set([...asked, ...askedIn(node)]) : asked;
    for (const [field, value] of Object.entries(node)) {
      if (isName(node, field)) continue;
      if (isBinding(node, field)) for (const name of boundIn(value)) declared.add(name);
      for (const child of Array.isArray(value) ? value : [value]) if (isNode(child)) visit(child, known);
    }
  }
}

const GUARDS: readonly string[] = ["LogicalExpression", "ConditionalExpression", "IfStatement"];

/** Names that a `typeof` in a node's condition is about. */
function askedIn(node: Node): string[] {
  const condition = node.test ?? node.left;
  if (!isNode(condition)) return [];
  const names: string[] = [];
  const look = (each: Node): void => {
    if (each.type === "UnaryExpression" && each.operator === "typeof" && isNode(each.argument)) {
      if (each.argument.type === "Identifier") names.push(each.argument.name as string);
    }
    for (const value of Object.values(each)) {
      for (const child of Array.isArray(value) ? value : [value]) if (isNode(child)) look(child);
    }
  };
  look(condition);
  return names;
}

/** Whether a field is the name of a property or a label, and no use of a variable. */
function isName(node: Node, field: string): boolean {
  if (node.computed === true) return false;
  if (node.type === "MemberExpression") return field === "property";
  if (["Property", "MethodDefinition", "PropertyDefinition"].includes(node.type)) return field === "key";
  return field === "label";
}

function isBinding(node: Node, field: string): boolean {
  return field === "params" || field === "param" || (field === "id" && node.type !== "ImportSpecifier");
}

/** Names that a pattern declares; defaults in it count too, which declares too much where they use a variable. */
function boundIn(pattern: unknown): string[] {
  if (Array.isArray(pattern)) return pattern.flatMap(boundIn);
  if (!isNode(pattern)) return [];
  if (pattern.type === "Identifier") return [pattern.name as string];
  if (pattern.type === "AssignmentPattern") return boundIn(pattern.left);
  if (pattern.type === "Property") return boundIn(pattern.value);
  return [pattern.elements, pattern.properties, pattern.argument].flatMap(boundIn);
}

function isNode(value: unknown): value is Node {
  return typeof value === "object" && value !== null && "type" in value && typeof value.type === "string";
}
