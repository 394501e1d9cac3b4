import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import * as ort from "onnxruntime-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { endRuntime } from "../support/runtime.ts";
import { openStore, type TareStore } from "../../src/tare-store.ts";
import {
  FICKLE_REASONS,
  findVectors,
  type Outcome,
  type Vector,
  VectorRunner,
} from "../support/onnx-vectors.ts";

/** Vectors that stock ONNX Runtime cannot run from JavaScript, by reason; names are `SUITE/VECTOR`. */
const SKIPPED = fileURLToPath(new URL("onnx-vectors-skipped.json", import.meta.url));
/** How far from stock tare may be where stock makes new weights of weights, and why that is. */
const BOUNDS = fileURLToPath(new URL("onnx-vectors-bounds.json", import.meta.url));
/** Set to write the list anew: for another version of onnx or onnxruntime-node. */
const UPDATE = process.env.TARE_UPDATE_VECTORS === "1";
/** Of the list: these are compared with stock, only what they expect is not. */
const UNEXPECTED = "stock gives something other than the vector expects";

const DEBIAN = "/usr/share/libonnx-testdata/data";
const ONNX = fileURLToPath(new URL("../../build/interop/vectors", import.meta.url));
const SUITES: Readonly<Record<string, string>> = {
  "debian/node": join(DEBIAN, "node"),
  "debian/simple": join(DEBIAN, "simple"),
  "debian/pytorch-converted": join(DEBIAN, "pytorch-converted"),
  "debian/pytorch-operator": join(DEBIAN, "pytorch-operator"),
  "onnx/converted": join(ONNX, "converted"),
  "onnx/light": join(ONNX, "light"),
  "onnx/light-filled": join(ONNX, "light-filled"),
  "onnx/node": join(ONNX, "node"),
  "onnx/node-first": join(ONNX, "node-first"),
  "onnx/node-rest": join(ONNX, "node-rest"),
  "onnx/node-odd": join(ONNX, "node-odd"),
  "onnx/node-function": join(ONNX, "node-function"),
  "onnx/node-if": join(ONNX, "node-if"),
  "onnx/node-sparse": join(ONNX, "node-sparse"),
};
/** Suites of the vectors of onnx/node with weights in place of inputs. */
const BOUND = ["onnx/node-first", "onnx/node-rest", "onnx/node-function", "onnx/node-sparse"];

interface Bound {
  /** Matches the names it is for. */
  readonly vectors: string;
  readonly absolute: number;
  /** Of the largest magnitude of the output. */
  readonly relative: number;
  readonly why: string;
}

let folder: string;
let store: TareStore;
const skipped: Record<string, string[]> = {};

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tare-interop-"));
  store = await openStore({ path: join(folder, "store") });
});

afterAll(async () => {
  await endRuntime(store);
  await rm(folder, { recursive: true, force: true });
  if (!UPDATE) return;
  for (const names of Object.values(skipped)) names.sort();
  const sorted = Object.entries(skipped).sort(([a], [b]) => (a < b ? -1 : 1));
  await writeFile(SKIPPED, `${JSON.stringify(Object.fromEntries(sorted), null, 2)}\n`);
});

describe("ONNX's test vectors", () => {
  test.for(Object.keys(SUITES))("%s give what stock ONNX Runtime gives, bit for bit", async (suite) => {
    const outcomes = await new VectorRunner(store, ort).run(await vectorsOf(suite));
    expect(outcomes.size).toBeGreaterThan(0);
    const different: Record<string, string> = {};
    const now: Record<string, string[]> = {};
    for (const [name, outcome] of outcomes) {
      const id = `${suite}/${name}`;
      if (outcome.kind === "different") different[id] = outcome.detail;
      if (outcome.kind === "close") Object.assign(different, await outOfBounds(id, outcome));
      const reason =
        outcome.kind === "skipped"
          ? outcome.reason
          : outcome.kind === "equal" && outcome.unexpected !== undefined
            ? UNEXPECTED
            : undefined;
      if (reason !== undefined) (now[reason] ??= []).push(id);
    }
    expect(different).toEqual({});
    for (const [reason, names] of Object.entries(now)) (skipped[reason] ??= []).push(...names);
    if (UPDATE) return;

    const listed = JSON.parse(await readFile(SKIPPED, "utf8")) as Record<string, string[]>;
    for (const reason of new Set([...Object.keys(listed), ...Object.keys(now)])) {
      const known = (listed[reason] ?? []).filter((id) => id.startsWith(`${suite}/`));
      const found = now[reason] ?? [];
      if ([...FICKLE_REASONS, UNEXPECTED].includes(reason)) {
        expect(
          found.filter((id) => !known.includes(id)),
          `not listed: ${reason}`,
        ).toEqual([]);
      } else expect(found.sort(), reason).toEqual(known.sort());
    }
  });
});

async function vectorsOf(suite: string): Promise<Vector[]> {
  const vectors = await findVectors(SUITES[suite] as string);
  if (!BOUND.includes(suite)) return vectors;
  // The vector itself, where all is fed.
  const fed = new Map((await vectorsOf("onnx/node")).map((vector) => [vector.name, vector]));
  return vectors.map((vector) => ({ ...vector, fed: fed.get(vector.name) }));
}

async function outOfBounds(
  id: string,
  { difference }: Extract<Outcome, { kind: "close" }>,
): Promise<Record<string, string>> {
  const bounds = JSON.parse(await readFile(BOUNDS, "utf8")) as Bound[];
  const bound = bounds.find((each) => new RegExp(each.vectors).test(id));
  if (bound && difference.absolute <= bound.absolute && difference.relative <= bound.relative) return {};
  return { [id]: `${bound ? "out of its bound" : "no bound"}: ${JSON.stringify(difference)}` };
}
