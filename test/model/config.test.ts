import { describe, expect, test } from "vitest";
import { configJson, isPlainPath, type ModelConfig, parseConfig } from "../../src/model/config.ts";
import { parseIndex, parseLocations, parseManifest } from "../../src/model/manifest.ts";

const digest = `sha256:${"0".repeat(64)}` as const;
const good: ModelConfig = {
  version: 1,
  format: "onnx",
  methods: [
    { name: "m", file: 0, weights: [{ name: "w", dtype: "float32", shape: [2, 2], digest }], constants: [] },
  ],
  files: [{ path: "m.onnx", size: 100, skeleton: digest, holes: [{ offset: 10, length: 16, digest }] }],
};
/** The file of {@link good} as it stands on disk. */
const stored = { path: "m.onnx", size: 100, rest: digest, holes: [{ offset: 10, length: 16, digest }] };

/** The JSON of the config with one value replaced, by its path. */
function change(path: string, value: unknown): unknown {
  const copy = structuredClone(configJson(good)) as Record<string, unknown>;
  const keys = path.split(".");
  let at: Record<string, unknown> = copy;
  for (const key of keys.slice(0, -1)) at = at[key] as Record<string, unknown>;
  at[keys.at(-1) as string] = value;
  return copy;
}

describe("configJson()", () => {
  test("keeps the keys of stored configs and their order, which the digest of a config covers", () => {
    expect(JSON.stringify(configJson(good))).toBe(JSON.stringify({ ...good, files: [stored] }));
  });
});

describe("parseConfig()", () => {
  test("accepts what tare writes", () => {
    expect(parseConfig(structuredClone(configJson(good)), "c")).toEqual(good);
  });

  test.each([
    ["files.0.path", "../evil"],
    ["files.0.path", "/etc/passwd"],
    ["files.0.path", "a//b"],
    ["files.0.path", "a\0b"],
    ["files.0.path", ""],
    ["files.0.size", -1],
    ["files.0.size", 2 ** 60],
    ["files.0.rest", "sha256:xyz"],
    ["files.0.holes.0.offset", 90],
    ["files.0.holes.0.length", -1],
    [
      "files.0.holes",
      [
        { offset: 10, length: 16, digest },
        { offset: 20, length: 16, digest },
      ],
    ],
    ["files", [stored, stored]],
    ["methods.0.file", 1],
    ["methods.0.weights.0.dtype", "float33"],
    ["methods.0.weights.0.dtype", "toString"],
    ["methods.0.weights.0.shape", [-1]],
    ["methods.0.weights.0.shape", [2 ** 40, 2 ** 40]],
    ["methods", null],
  ])("refuses %s = %j", (path, value) => {
    expect(() => parseConfig(change(path, value), "c")).toThrow(
      expect.objectContaining({ code: "malformed", path: "c" }),
    );
  });

  test.each(["a\\b", "a:b"])("accepts the file %j, whose name POSIX allows", (path) => {
    expect(parseConfig(change("files.0.path", path), "c").files[0]?.path).toBe(path);
  });

  test("says that a newer tare is wanted", () => {
    expect(() => parseConfig(change("version", 2), "c")).toThrow(
      expect.objectContaining({ code: "newer-version" }),
    );
  });

  test.each([null, 7, "x", []])("refuses %j", (value) => {
    expect(() => parseConfig(value, "c")).toThrow(expect.objectContaining({ code: "malformed" }));
  });
});

describe("parseManifest(), parseIndex(), parseLocations()", () => {
  test.each([
    null,
    {},
    { schemaVersion: 1 },
    { schemaVersion: 2, manifests: [{}], layers: [{}], weights: [{}] },
  ])("refuse %j", (value) => {
    for (const parse of [parseManifest, parseIndex, parseLocations]) {
      expect(() => parse(value, "x")).toThrow(expect.objectContaining({ code: "malformed" }));
    }
  });
});

describe("isPlainPath()", () => {
  test.each(["a", "a/b.bin", "ü w", "..a"])("accepts %j", (path) => expect(isPlainPath(path)).toBe(true));
  test.each(["", ".", "..", "a/..", "/a", "a/", "a\0", "c:x"])("refuses %j", (path) =>
    expect(isPlainPath(path)).toBe(false),
  );
});
