import { eachField, type Field, type Frame, frameOf, malformed } from "../../encodings/protobuf/fields.ts";
import type { SparseBytes } from "../../encodings/protobuf/sparse-bytes.ts";
import { fileErrors, type FileFail, FormatError, operationError } from "../../errors.ts";
import type { OnnxGraph, OnnxModel, OnnxNode, OnnxTensor, OnnxValue } from "./graph.ts";
import { parseTensor, readHint, readInt, readString, readUint } from "./parse-tensor.ts";
import { parseValue } from "./parse-value.ts";
import {
  AttributeFields,
  FuncFields,
  GraphFields,
  ModelFields,
  NodeFields,
  OpsetFields,
  SparseFields,
  TrainingFields,
} from "./schema.ts";

/** Fields of an attribute that hold tensors. */
const HOLDERS: readonly number[] = [
  AttributeFields.tensor,
  AttributeFields.tensors,
  AttributeFields.sparse,
  AttributeFields.sparses,
  AttributeFields.graph,
  AttributeFields.graphs,
];

/**
 * Deepest nesting of graphs. A graph in a node's attribute takes four messages; protobuf implementations stop at 100.
 */
const MAX_GRAPH_DEPTH = 32;

/** Most fields of graphs, nodes and functions, all of which are kept: six times those of a graph of 100,000 nodes. */
const MAX_FIELDS = 4_000_000;

/** Longest total of all names, in characters: a name contains those of the nodes around it. */
const MAX_NAMES_LENGTH = 32 * 1024 * 1024;

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/**
 * Parses an ONNX model without its large payloads. Pure: reads the view only.
 * @throws FormatError `malformed`, `duplicate`, `size-mismatch`, `unsupported`, `too-large`, with tensor and offset
 * @see https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
 */
export function parseOnnx(view: SparseBytes): OnnxModel {
  return new Parser(view).model();
}

class Parser {
  readonly #view: SparseBytes;
  readonly #fail: FileFail;
  readonly #graphs: OnnxGraph[] = [];
  readonly #functionNodes: OnnxNode[] = [];
  readonly #tensors: OnnxTensor[] = [];
  #depth = 0;
  /** False in functions and training information, whose tensors belong to no graph. */
  #inGraph = true;
  #trainings = 0;
  #fields = 0;
  #characters = 0;

  constructor(view: SparseBytes) {
    this.#view = view;
    this.#fail = fileErrors(view);
  }

  model(): OnnxModel {
    const view = this.#view;
    const frame: Frame = { prefix: 0, start: 0, end: view.size, parent: undefined };
    const opsets = new Map<string, number>();
    let irVersion = 0;
    let irField: Field | undefined;
    let graph: OnnxGraph | undefined;
    this.#each(frame, (field) => {
      if (field.number === ModelFields.irVersion) {
        irVersion = readUint(view, field);
        irField = field;
      } else if (field.number === ModelFields.opsetImport) {
        let domain = "";
        let version = 0;
        this.#each(frameOf(field, frame, view), (part) => {
          if (part.number === OpsetFields.domain) domain = readString(view, part);
          else if (part.number === OpsetFields.version) version = readUint(view, part);
        });
        opsets.set(domain === "ai.onnx" ? "" : domain, version);
      } else if (field.number === ModelFields.graph) {
        if (graph) throw malformed(view, field.start, "a second main graph");
        graph = this.#graph(frameOf(field, frame, view), "", undefined);
      } else if (field.number === ModelFields.functions) this.#function(frameOf(field, frame, view));
      else if (field.number === ModelFields.trainingInfo) this.#training(frameOf(field, frame, view));
    });
    if (!graph)
      throw operationError(FormatError, {
        code: "malformed",
        doing: `find a graph in "${view.name}"`,
        path: view.name,
        hint: "Is this an ONNX model?",
      });
    return {
      irVersion,
      opsets,
      irField,
      frame,
      graph,
      graphs: this.#graphs,
      functionNodes: this.#functionNodes,
      trains: this.#trainings > 0,
      tensors: this.#tensors,
    };
  }

  #graph(frame: Frame, path: string, parent: OnnxGraph | undefined): OnnxGraph {
    const view = this.#view;
    if (++this.#depth > MAX_GRAPH_DEPTH)
      throw malformed(view, frame.start, `graphs nested over ${MAX_GRAPH_DEPTH} deep`);
    const inputs: OnnxValue[] = [];
    const outputs: OnnxValue[] = [];
    const nodes: OnnxNode[] = [];
    const values: OnnxValue[] = [];
    const graph: OnnxGraph = { frame, inputs, outputs, nodes, values, parent };
    this.#graphs.push(graph);
    const names = new Set<string>();
    const claim = (name: string, at: number): void => {
      if (names.has(name)) {
        throw this.#fail("duplicate", "two tensors have that name", { tensor: name, offset: at });
      }
      names.add(name);
    };
    this.#each(frame, (field) => {
      if (field.number === GraphFields.node) {
        nodes.push(this.#node(field, frameOf(field, frame, view), `${path}#${nodes.length}`, graph, path));
      } else if (field.number === GraphFields.initializer) {
        const tensor = parseTensor(view, frameOf(field, frame, view), path);
        claim(tensor.local, field.start);
        this.#add({ ...tensor, role: "initializer", field, graph });
      } else if (field.number === GraphFields.sparse) {
        const [values] = this.#sparse(frameOf(field, frame, view), path, graph);
        if (values) claim(values, field.start);
      } else if (field.number === GraphFields.input) inputs.push(parseValue(view, field, frame));
      else if (field.number === GraphFields.output) outputs.push(parseValue(view, field, frame));
      else if (field.number === GraphFields.valueInfo && path === "")
        values.push(parseValue(view, field, frame));
    });
    this.#depth--;
    return graph;
  }

  /** @param id path of the node, for the names of its contents */
  #node(nodeField: Field, frame: Frame, id: string, graph: OnnxGraph | undefined, path: string): OnnxNode {
    const view = this.#view;
    const node: Mutable<OnnxNode> = {
      frame,
      name: "",
      opType: "",
      domain: "",
      inputs: [],
      outputs: [],
      transB: false,
      field: nodeField,
    };
    const inputs: string[] = [];
    const outputs: string[] = [];
    const attributes: Frame[] = [];
    this.#each(frame, (field) => {
      if (field.number === NodeFields.input) inputs.push(readString(view, field));
      else if (field.number === NodeFields.output) outputs.push(readString(view, field));
      else if (field.number === NodeFields.name) node.name = readHint(view, field);
      else if (field.number === NodeFields.opType) node.opType = readString(view, field);
      else if (field.number === NodeFields.domain) node.domain = readString(view, field);
      else if (field.number === NodeFields.attribute) attributes.push(frameOf(field, frame, view));
    });
    node.inputs = inputs;
    node.outputs = outputs;
    if (node.domain === "ai.onnx") node.domain = "";
    if (node.opType === "Gemm") node.transB = attributes.some((attribute) => this.#isTransB(attribute));
    const constant = node.opType === "Constant" && node.domain === "" ? outputs[0] : undefined;
    for (const attribute of attributes) {
      this.#attribute(
        attribute,
        id,
        graph,
        constant === undefined ? undefined : { nodeField, constant, path },
      );
    }
    return node;
  }

  #isTransB(frame: Frame): boolean {
    let name = "";
    let value = 0;
    this.#each(frame, (field) => {
      if (field.number === AttributeFields.name) name = readString(this.#view, field);
      else if (field.number === AttributeFields.int) value = readInt(this.#view, field);
    });
    return name === "transB" && value !== 0;
  }

  #attribute(
    frame: Frame,
    id: string,
    graph: OnnxGraph | undefined,
    of: { nodeField: Field; constant: string; path: string } | undefined,
  ): void {
    const view = this.#view;
    let name = "";
    const inner: Field[] = [];
    eachField(view, frame.start, frame.end, (field) => {
      if (field.number === AttributeFields.name) name = readString(view, field);
      // Numbers and strings are skipped: a node may have millions.
      else if (HOLDERS.includes(field.number)) {
        this.#count();
        inner.push(field);
      }
    });
    let nth = 0;
    for (const field of inner) {
      const path = `${id}.${name}${nth > 0 ? `.${nth}` : ""}/`;
      if (field.number === AttributeFields.tensor || field.number === AttributeFields.tensors) {
        const tensor = parseTensor(view, frameOf(field, frame, view), path);
        if (of && field.number === AttributeFields.tensor && name === "value") {
          const { constant: local, nodeField } = of;
          this.#add({
            ...tensor,
            name: of.path + local,
            local,
            role: "constant",
            field: nodeField,
            graph,
          });
        } else this.#add({ ...tensor, role: "attribute", field: undefined, graph });
      } else if (field.number === AttributeFields.sparse || field.number === AttributeFields.sparses) {
        this.#sparse(frameOf(field, frame, view), path, graph);
      } else this.#graph(frameOf(field, frame, view), path, graph);
      nth++;
    }
  }

  /** @returns the names of the values tensor and of the indices tensor */
  #sparse(frame: Frame, path: string, graph: OnnxGraph | undefined): string[] {
    const view = this.#view;
    const names: string[] = [];
    this.#each(frame, (field) => {
      if (field.number !== SparseFields.values && field.number !== SparseFields.indices) return;
      const tensor = parseTensor(view, frameOf(field, frame, view), path);
      const part = field.number === SparseFields.values ? "values" : "indices";
      names[part === "values" ? 0 : 1] = tensor.local;
      const name = part === "values" ? tensor.name : `${path}${names[0] ?? tensor.local}.indices`;
      this.#add({ ...tensor, name, role: "sparse", field: undefined, graph });
    });
    return names;
  }

  #function(frame: Frame): void {
    const view = this.#view;
    let name = "";
    let domain = "";
    let overload = "";
    const nodes: Field[] = [];
    const attributes: Field[] = [];
    this.#each(frame, (field) => {
      if (field.number === FuncFields.name) name = readString(view, field);
      else if (field.number === FuncFields.domain) domain = readString(view, field);
      else if (field.number === FuncFields.overload) overload = readString(view, field);
      else if (field.number === FuncFields.node) nodes.push(field);
      else if (field.number === FuncFields.attribute) attributes.push(field);
    });
    const path = `${domain}::${name}${overload && `:${overload}`}/`;
    this.#inGraph = false;
    nodes.forEach((field, index) => {
      this.#functionNodes.push(
        this.#node(field, frameOf(field, frame, view), `${path}#${index}`, undefined, path),
      );
    });
    for (const field of attributes) this.#attribute(frameOf(field, frame, view), path, undefined, undefined);
    this.#inGraph = true;
  }

  #training(frame: Frame): void {
    const id = `training#${this.#trainings++}`;
    this.#inGraph = false;
    this.#each(frame, (field) => {
      if (field.number === TrainingFields.initialization || field.number === TrainingFields.algorithm) {
        const path = `${id}.${field.number === TrainingFields.algorithm ? "algorithm" : "initialization"}/`;
        this.#graph(frameOf(field, frame, this.#view), path, undefined);
      }
    });
    this.#inGraph = true;
  }

  #add(tensor: OnnxTensor): void {
    this.#characters += tensor.name.length;
    if (this.#characters > MAX_NAMES_LENGTH) {
      const { start: offset } = tensor.frame;
      throw this.#fail("too-large", "the names of its tensors are too long", { offset });
    }
    this.#tensors.push(this.#inGraph ? tensor : { ...tensor, graph: undefined });
  }

  #each(frame: Frame, visit: (field: Field) => void): void {
    eachField(this.#view, frame.start, frame.end, (field) => {
      this.#count();
      visit(field);
    });
  }

  #count(): void {
    if (++this.#fields <= MAX_FIELDS) return;
    throw this.#fail("too-large", `its graphs have over ${MAX_FIELDS} parts`);
  }
}
