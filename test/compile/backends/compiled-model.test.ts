import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decodeCompiled, encodeCompiled } from "../../../src/compile/backends/compiled-file.ts";
import {
  type CompiledModel,
  compiledModelJson,
  parseCompiledModel,
} from "../../../src/compile/backends/compiled-model.ts";
import { checkCompileCompatibility } from "../../../src/compile/backends/fit.ts";
import { PortableBackend } from "../../../src/compile/backends/portable.ts";
import { TareError } from "../../../src/errors.ts";
import type { Port } from "../../../src/tensor/signature.ts";
import { sha256 } from "../../../src/node/sha256.ts";
import { changeJson } from "../../support/change-json.ts";
import { SAMPLED, some } from "../../support/speed.ts";

const program = new TextEncoder().encode("a program");
const other = new TextEncoder().encode("another");
const data = Uint8Array.of(1, 2, 3);
const f32 = (name: string): Port => ({ name, dtype: "float32", shape: ["batch", 2, undefined] });

const model: CompiledModel = {
  model: "m",
  methods: [
    {
      name: "main",
      source: sha256(Uint8Array.of(0)),
      signature: {
        inputs: [f32("x")],
        outputs: [f32("y"), { name: "list", dtype: undefined, shape: undefined }],
      },
      partitions: [
        {
          backend: "portable",
          form: "onnx",
          program: { digest: sha256(program), size: program.byteLength },
          signature: { inputs: [f32("x")], outputs: [f32("h")] },
          bindings: [
            {
              input: "#0.body/w",
              weight: "#3.body/w",
              digest: sha256(data),
              dtype: "float32",
              shape: [2, 3],
              layout: "row-major",
            },
          ],
          nodes: { before: 3, after: 2 },
          settings: { level: "disabled" },
        },
        {
          backend: "portable",
          form: "onnx",
          program: { digest: sha256(other), size: other.byteLength },
          signature: {
            inputs: [f32("h"), f32("x")],
            outputs: [f32("y"), { name: "list", dtype: undefined, shape: undefined }],
          },
          bindings: [],
          nodes: { before: 1, after: 1 },
          settings: {},
        },
      ],
    },
  ],
  records: [
    {
      backend: "portable",
      engine: "any",
      version: "1",
      target: "any",
      cpu: [],
      settings: {},
      dimensions: [{ name: "batch", from: 0, to: null }],
    },
  ],
  data: [{ key: "k", digest: sha256(data), size: 3, alignment: 64 }],
};
const parts = new Map([program, other, data].map((bytes) => [sha256(bytes), bytes]));

/** What a file gives once it was JSON. */
function json(): unknown {
  return JSON.parse(JSON.stringify(compiledModelJson(model)));
}

describe("parseCompiledModel()", () => {
  test("reads what was written", () => {
    expect(parseCompiledModel(json(), "c.json")).toEqual(model);
  });

  const part = "methods.0.partitions.0";
  const twice = (list: unknown): unknown[] => [...(list as unknown[]), (list as unknown[])[0]];
  test.each<[string, string, (old: unknown) => unknown, string]>([
    ["a newer version", "version", () => 2, "newer-version"],
    ["no version", "version", () => undefined, "malformed"],
    ["an unknown field", "methods.0.more", () => 1, "malformed"],
    ["a digest that is none", "methods.0.source", () => "sha256:0", "malformed"],
    ["a type that is none", `${part}.bindings.0.dtype`, () => "f", "malformed"],
    ["a huge shape", `${part}.bindings.0.shape`, () => [2 ** 50, 8], "malformed"],
    ["a negative size", `${part}.program.size`, () => -1, "malformed"],
    ["no partitions", "methods.0.partitions", () => [], "malformed"],
    ["a partition without a record", "records", () => [], "malformed"],
    ["two records of a backend", "records", twice, "malformed"],
    ["two methods of a name", "methods", twice, "malformed"],
    ["an input bound twice", `${part}.bindings`, twice, "malformed"],
    ["two ports of a name", "methods.0.signature.inputs", twice, "malformed"],
    ["partitions out of order", "methods.0.partitions", (old) => (old as []).toReversed(), "malformed"],
    ["an output that nobody makes", "methods.0.partitions", (old) => (old as []).slice(0, 1), "malformed"],
    ["a value made twice", "methods.0.partitions", twice, "malformed"],
    ["two data of a key", "data", twice, "malformed"],
    ["alignment 0", "data.0.alignment", () => 0, "malformed"],
  ])("refuses %s", (_, path, change, code) => {
    const value = json();
    changeJson(value, path, change);
    expect(() => parseCompiledModel(value, "c.json")).toThrow(
      expect.objectContaining({ code, path: "c.json" }),
    );
  });

  test("gives a record or a typed error for anything", SAMPLED, () => {
    const check = (value: unknown): void => {
      try {
        const parsed = parseCompiledModel(value, "c.json");
        expect(parseCompiledModel(compiledModelJson(parsed), "c.json")).toEqual(parsed);
      } catch (error) {
        if (!(error instanceof TareError)) throw error;
      }
    };
    fc.assert(fc.property(fc.jsonValue(), check));
    const odd = fc.oneof(
      fc.constantFrom(null, [], {}, "", -1, 0.5, 1e300, "__proto__", [null]),
      fc.jsonValue({ maxDepth: 2 }),
    );
    fc.assert(
      fc.property(fc.array(fc.nat(20), { minLength: 1, maxLength: 8 }), odd, (path, replacement) => {
        const value = json();
        let at = value as Record<string, unknown>;
        for (const [depth, step] of path.entries()) {
          const keys = Object.keys(at);
          const key = keys[step % Math.max(1, keys.length)];
          if (key === undefined) break;
          const next = at[key];
          if (depth === path.length - 1 || typeof next !== "object" || next === null) {
            at[key] = replacement;
            break;
          }
          at = next as Record<string, unknown>;
        }
        check(value);
      }),
      { numRuns: some(2000) },
    );
  });
});

describe("decodeCompiled()", () => {
  const bytes = encodeCompiled({ model, parts });

  test("reads what was written", () => {
    expect(decodeCompiled(bytes, "c", sha256)).toEqual({ model, parts });
  });

  test("refuses what is cut off anywhere, and what follows", () => {
    for (let end = 0; end < bytes.byteLength; end++) {
      expect(() => decodeCompiled(bytes.subarray(0, end), "c", sha256), `at ${end}`).toThrow(TareError);
    }
    expect(() => decodeCompiled(Buffer.concat([bytes, Buffer.of(0)]), "c", sha256)).toThrow(TareError);
  });

  test("refuses a changed bit in any program or data", () => {
    const parts = program.byteLength + other.byteLength + data.byteLength;
    for (let at = bytes.byteLength - parts; at < bytes.byteLength; at++) {
      const odd = bytes.slice();
      odd[at] = (odd[at] as number) ^ 0x10;
      expect(() => decodeCompiled(odd, "c", sha256)).toThrow(
        expect.objectContaining({ code: "mismatch", path: "c" }),
      );
    }
  });

  test("gives what it should or a typed error, whatever bytes change", SAMPLED, () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(bytes.byteLength - 1), fc.nat(255)), { maxLength: 6 }),
        (edits) => {
          const odd = bytes.slice();
          for (const [at, value] of edits) odd[at] = value;
          try {
            const decoded = decodeCompiled(odd, "c", sha256);
            for (const [digest, part] of decoded.parts) expect(sha256(part)).toBe(digest);
          } catch (error) {
            if (!(error instanceof TareError)) throw error;
          }
        },
      ),
      { numRuns: some(1000) },
    );
  });
});

describe("requireFit()", () => {
  const machine = { target: "linux-x64", cpu: ["avx2"] };
  const [record] = model.records;

  test("takes what any engine runs anywhere, and says what differs otherwise", () => {
    const backends = [new PortableBackend()];
    const fit = (change: object) => () => {
      checkCompileCompatibility(
        [{ ...(record as NonNullable<typeof record>), ...change }],
        backends,
        machine,
        "c",
      );
    };
    expect(fit({})).not.toThrow();
    expect(fit({ target: "linux-x64", cpu: ["avx2"] })).not.toThrow();
    expect(fit({ version: "0" })).toThrow('Cannot use "c": portable 0 compiled it, and this is portable 1');
    expect(fit({ target: "darwin-arm64" })).toThrow("compiled for darwin-arm64, and this is linux-x64");
    expect(fit({ cpu: ["avx2", "amx_int8"] })).toThrow(
      "a processor with amx_int8, which this processor does not have",
    );
    expect(fit({ backend: "tpu" })).toThrow(expect.objectContaining({ code: "no-engine" }));
  });
});
