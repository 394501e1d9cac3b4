import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Writable } from "node:stream";
import { beforeAll, describe, expect, test } from "vitest";
import { COMMANDS } from "../../src/cli/commands/index.ts";
import { run } from "../../src/cli/run.ts";
import { openStore } from "../../src/tare-store.ts";
import { parseNpz } from "../../src/formats/npy/npz.ts";
import { writeSafetensors } from "../../src/formats/safetensors/write.ts";
import { charlm } from "../support/charlm.ts";
import { mlirPath } from "../support/mlir.ts";
import { temporaryFolder } from "../support/temporary.ts";

let family: string;
let shared: string;
beforeAll(async () => {
  family = await charlm();
});

const VERBS = [
  "add",
  "ls",
  "show",
  "diff",
  "map",
  "run",
  "compile",
  "swap",
  "export",
  "convert",
  "link",
  "split",
  "join",
  "externalize",
  "internalize",
  "merge",
  "refit",
  "detach",
  "attach",
  "rm",
  "gc",
  "verify",
  "fsck",
  "status",
] as const;

class Sink extends Writable {
  text = "";
  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.text += String(chunk);
    done();
  }
}

interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

async function tare(...argv: readonly string[]): Promise<Outcome> {
  const stdout = new Sink();
  const stderr = new Sink();
  const code = await run(argv, { stdout, stderr, env: { TARE_STORE: shared } });
  return { code, out: stdout.text, err: stderr.text };
}

describe("tare", () => {
  beforeAll(async () => {
    const folder = await mkdtemp(join(tmpdir(), "tare-test-"));
    shared = join(folder, "store");
    const { code, out } = await tare("add", join(family, "base"), join(family, "kjv"));
    expect(code).toBe(0);
    expect(out).toMatch(/^added base: 16.8 MB in files, 106 weights/);
    return () => rm(folder, { recursive: true, force: true });
  });

  test("ls lists models with what they share, as text and as JSON", async () => {
    expect((await tare("ls")).out).toMatch(
      /^NAME.*\nbase +16.8 MB +6.57 MB +1.7 MB .*decoder, decoder_with_past\nkjv /,
    );
    expect(JSON.parse((await tare("ls", "--json")).out)).toMatchObject([
      { name: "base", fileBytes: 16_796_381, sharedBytes: 6_570_304, ownBytes: 1_700_352 },
      { name: "kjv" },
    ]);
  });

  test("--store goes before or after the verb, and wins over TARE_STORE", async () => {
    const empty = join(await temporaryFolder(), "empty");
    expect(await tare("--store", empty, "ls")).toMatchObject({
      code: 1,
      err: expect.stringMatching(
        /^tare: Cannot find a store in ".*empty"\n {2}hint: Make one with tare add PATH/,
      ),
    });
    await openStore({ path: empty });
    expect((await tare("--store", empty, "ls")).out).toMatch(/^the store is empty/);
    expect((await tare("ls", "--store", empty)).out).toMatch(/^the store is empty/);
  });

  test("show prints signature, sharing and what the engine copies", async () => {
    const { out } = await tare("show", "kjv", "--method", "decoder");
    expect(out).toMatch(/program +49720c7b36a3, the same in base/);
    expect(out).toMatch(/inputs +input_ids: int64 \[batch, sequence\]/);
    expect(out).toMatch(/engine +maps every weight, copies none/);
    expect(out).toMatch(/m.token_embd.weight +float32 +\[99, 192\] +76 kB +6155d7827d06 +base/);
  });

  test("diff says what changed and how much", async () => {
    const { out } = await tare("diff", "base", "kjv");
    expect(out).toMatch(
      /programs +the same: one family\nsame +84 weights, 6.57 MB\nchanged +22 weights\nupdate +1.7 MB/,
    );
    expect(JSON.parse((await tare("diff", "base", "kjv", "--json")).out).changed).toHaveLength(22);
  });

  test("split plans, writes and says what an update ships; join undoes it", async () => {
    const folder = await temporaryFolder();
    const dist = join(folder, "dist");
    const plan = await tare("split", "base", "kjv", "--dry-run");
    expect(plan.out).toMatch(/^FILE .*\nfoundation.bin +base, kjv +38 +6.57 MB\nadapter-base.bin +base +11 /);
    expect(plan.out).toMatch(/planned +nothing was written/);
    expect((await tare("split", "base", "kjv")).code).toBe(2);
    expect((await tare("split", "base", "kjv", "--out", dist)).out).toMatch(/written +\S+dist\n$/);
    const update = await tare("split", "kjv", "base", "--since", dist, "--dry-run", "--json");
    expect(JSON.parse(update.out)).toMatchObject({ format: "onnx", shipBytes: 0 });
    await writeFile(
      join(folder, "rules.json"),
      JSON.stringify({ rules: [{ part: "adapter", names: "*norm*" }] }),
    );
    const ruled = await tare("split", "base", "kjv", "--dry-run", "--rules", join(folder, "rules.json"));
    expect(ruled.out).toMatch(/foundation.bin +base, kjv +[23]\d /);
    const none = await tare("split", "base", "--dry-run", "--adapter", "*lm_head*");
    expect(none).toMatchObject({
      code: 1,
      err: expect.stringMatching(/--adapter \*lm_head\*: it selects no weight/),
    });
    const joined = await tare("join", dist, "kjv", "--out", join(folder, "kjv"));
    expect(joined.out).toMatch(/^joined kjv: 16.8 MB to /);
    for (const graph of ["decoder.onnx", "decoder_with_past.onnx"]) {
      const [ours, theirs] = await Promise.all(
        [join(folder, "kjv", graph), join(family, "kjv", graph)].map((path) => readFile(path)),
      );
      expect(ours?.equals(theirs as Buffer)).toBe(true);
    }
  });

  test("compile says what it made of what, for whom, and what it had already", async () => {
    const out = join(await temporaryFolder(), "dist");
    const rule = ["--partition", "Softmax=portable"];
    const first = await tare("compile", "base", ...rule, "--out", out);
    expect(first.err).toBe("");
    expect(first.out).toMatch(
      /^METHOD +PARTITION +BACKEND +NODES +WEIGHTS +PROGRAM\ndecoder +0 +onnxruntime /,
    );
    expect(first.out).toMatch(/\ndecoder +1 +portable +1 +0 +\d+ B\n/);
    expect(first.out).toMatch(/\nreused +0 of 22 partitions/);
    expect(first.out).toMatch(/\nonnxruntime +onnxruntime-node \d\S+; .*level extended.*any batch, sequence/);
    expect(first.out).toMatch(/\nwritten +\S+dist\n$/);
    expect(JSON.parse(await readFile(join(out, "compiled.json"), "utf8"))).toMatchObject({
      compiled: { model: "base" },
    });
    expect((await tare("compile", "kjv", ...rule)).out).toMatch(/\nreused +all partitions/);
    const json = JSON.parse((await tare("compile", "kjv", "--backend", "portable", "--json")).out);
    expect(json).toMatchObject({ model: "kjv", cached: false, records: [{ backend: "portable" }] });
    expect(await tare("compile", "base", "--partition", "Softmax")).toMatchObject({
      code: 2,
      err: expect.stringMatching(/Write PATTERN=BACKEND/),
    });
    expect((await tare("compile", "base", "--backend", "tpu")).code).toBe(2);
    expect((await tare("compile", "base", "--out", out)).code).toBe(1);
  });

  test("show --bindings says what is bound for each weight", async () => {
    const { out } = await tare("show", "kjv", "--bindings", "--method", "decoder");
    expect(out).toMatch(/^method +decoder\n\nWEIGHT +BOUND AS +PARTITION +LAYOUT +TYPE +DIGEST\n/);
    expect(out).toMatch(
      /m.token_embd.weight +the same +0 onnxruntime +row-major +float32 \[99, 192\] +6155d7827d06/,
    );
  });

  test("refit binds other weights, verifies them, and proposes names", async () => {
    const done = await tare("refit", "base", "kjv", "--as", "refitted", "--verify");
    expect(done.out).toMatch(/^refitted +base as refitted\nbound +106 weights\nnew /);
    expect(done.out).toMatch(
      /verified +decoder: 11 outputs equal those of a fresh compilation, bit for bit\n/,
    );
    expect(JSON.parse((await tare("diff", "kjv", "refitted", "--json")).out)).toMatchObject({ changed: [] });
    expect((await tare("rm", "refitted")).code).toBe(0);
    expect((await tare("refit", "base", "kjv")).code).toBe(2);
    const folder = await temporaryFolder();
    const proposed = await tare("refit", "base", "kjv", "--propose", "--out", join(folder, "map.json"));
    expect(proposed.out).toMatch(/^no name differs/);
    expect(JSON.parse(await readFile(join(folder, "map.json"), "utf8"))).toEqual({});
  });

  test("map writes a page and a picture", async () => {
    const folder = await temporaryFolder();
    expect((await tare("map", "--out", join(folder, "m.html"))).out).toMatch(/^drawn: file:/);
    expect((await tare("map", "base", "--out", join(folder, "m.svg"))).code).toBe(0);
    expect(await readFile(join(folder, "m.html"), "utf8")).toContain("kjv");
    expect(await readFile(join(folder, "m.svg"), "utf8")).toMatch(/^<svg/);
    expect((await tare("map", "--out", join(folder, "m.png"))).code).toBe(2);
    const nowhere = await tare("map", "--out", join(folder, "no", "m.html"));
    expect(nowhere).toMatchObject({
      code: 1,
      err: expect.stringMatching(/^tare: ENOENT: no such file or directory/),
    });
  });

  test("run takes JSON, npz, npy and safetensors, and writes them", async () => {
    const folder = await temporaryFolder();
    const at = (name: string): string => join(folder, name);
    const decoder = ["run", "base", "--method", "decoder"];
    const first = await tare(...decoder, "--input", "input_ids=[[1,37,82]]", "--out", at("o.npz"));
    expect(first.err).toBe("");
    expect(first.out).toMatch(/logits +float32 +\[1, 3, 99\] .*\n[^]*ran in .* ms\nwritten: /);
    const logits = parseNpz(await readFile(at("o.npz")), "o.npz").logits;
    await writeFile(at("in.json"), '{"input_ids": [[1, 37, 82]]}');
    const json = JSON.parse((await tare(...decoder, "--in", at("in.json"), "--json")).out);
    expect(json.outputs.logits.flat(2).map(Math.fround)).toEqual([
      ...new Float32Array(new Uint8Array((logits as { bytes: Uint8Array }).bytes).buffer),
    ]);
    expect((await tare(...decoder, at("in.json"), "--out", at("o.safetensors"))).code).toBe(0);
  });

  test("run without inputs prints the exact signature", async () => {
    const { code, err } = await tare("run", "base", "--method", "decoder");
    expect(code).toBe(1);
    expect(err).toMatch(
      /Cannot run "base" without input_ids\n {2}inputs\n {4}input_ids: int64 \[batch, sequence\]\n {2}outputs/,
    );
  });

  test("run names the methods when none is chosen, and inputs it does not have", async () => {
    expect(await tare("run", "base")).toMatchObject({
      code: 2,
      err: expect.stringContaining("--method: decoder, decoder_with_past"),
    });
    const odd = await tare("run", "base", "--method", "decoder", "--input", "ids=[[1]]");
    expect(odd).toMatchObject({ code: 2, err: expect.stringContaining("inputs: input_ids") });
  });

  test("export takes a bare second path or --out, and not both", async () => {
    const folder = await temporaryFolder();
    expect((await tare("export", "base", join(folder, "a"))).code).toBe(0);
    expect((await tare("export", "base", "--out", join(folder, "b"))).code).toBe(0);
    expect((await tare("export", "base", join(folder, "c"), "--out", join(folder, "d"))).code).toBe(2);
    expect((await tare("export", "base")).code).toBe(2);
    const files = await Promise.all(["a", "b"].map((name) => readFile(join(folder, name, "decoder.onnx"))));
    expect(files[0]?.equals(await readFile(join(family, "base", "decoder.onnx")))).toBe(true);
    expect(files[0]?.equals(files[1] as Buffer)).toBe(true);
  });

  test("detach and attach say what went where, and list it", async () => {
    const folder = await temporaryFolder();
    const fixture = (name: string): string => mlirPath(name);
    const [thin, full] = [join(folder, "thin.mlirbc"), join(folder, "full.mlirbc")];
    const detached = await tare("detach", fixture("base-22.mlirbc"), "--out", thin, "--as", "program");
    expect(detached).toMatchObject({ code: 0, err: "" });
    expect(detached.out).toMatch(
      /^detached .*: 17.4 kB, thin 1.4 kB in .*\n6 weights, 16.7 kB: in the store as program, .* new\nnote: only MLIR22\.1\.8 reads bytecode 6/,
    );
    const listed = await tare("attach", thin, "--list");
    expect(listed.out).toMatch(/^RESOURCE .*\nscale +16 B +3bb5bfd16da1 +found +store: program\n/);
    expect((await tare("attach", thin, "--verify")).code).toBe(0);
    expect(
      (await tare("attach", fixture("lowered-thin-22.mlirbc"), "--out", full, "--from", "program")).out,
    ).toMatch(/^attached 5 weights, 16.7 kB: 17.4 kB in .*\nunused: 1 \(unused\)\n$/);
    expect((await readFile(full)).equals(await readFile(fixture("lowered-22.mlirbc")))).toBe(true);
    expect((await tare("rm", "program")).code).toBe(0);
    expect((await tare("attach", thin, "--list")).code).toBe(1);
    const inPlace = join(folder, "in-place.mlirbc");
    const left = await tare("detach", fixture("base-22.mlirbc"), "--out", inPlace, "--in-place", "--json");
    expect(JSON.parse(left.out)).toMatchObject({ weights: 6, weightBytes: 16_696 });
    expect((await tare("detach", thin, "--out", inPlace, "--in-place", "--as", "x")).code).toBe(2);
    expect((await tare("detach", fixture("base-22.mlirbc"))).code).toBe(2);
  });

  test("link writes a symbolic program, and gives it weights again", async () => {
    const folder = await temporaryFolder();
    const [thin, whole] = [join(folder, "thin.onnx"), join(folder, "whole.onnx")];
    const plan = await tare("link", "base", "--method", "decoder", "--plan", "--json");
    expect(JSON.parse(plan.out)).toMatchObject({ bindings: expect.arrayContaining([]) });
    expect((await tare("link", "base", "--method", "decoder", "--plan")).out).toMatch(
      /WEIGHT +DTYPE +SHAPE +SIZE +IN +AT.*\n.*float32 +\[1, 16\] +64 B +blob [0-9a-f]{12} +\d+/,
    );
    const written = await tare("link", "base", "--method", "decoder", "--symbolic", "b", "--out", thin);
    expect(written.out).toContain(`written: ${thin}`);
    const unknown = await tare("link", thin, whole, "--embed");
    expect(unknown).toMatchObject({ code: 1, err: expect.stringContaining("--scope b=WEIGHTS") });
    expect(await tare("link", thin, "--scope", "b")).toMatchObject({ code: 2 });
    expect(await tare("link", "base", "--scope", "b=x", "--embed")).toMatchObject({ code: 2 });
    expect(await tare("link", "base", "--embed", "--symbolic", "b")).toMatchObject({ code: 2 });
    await tare("export", "base", join(folder, "base"));
    const scope = `b=${join(folder, "base", "decoder.onnx")}`;
    const json = await tare("link", thin, "--scope", scope, "--embed", "--out", whole, "--json");
    expect(JSON.parse(json.out)).toMatchObject({ path: whole, storage: "embedded" });
    expect((await tare("add", whole, "--as", "linked")).code).toBe(0);
    const ids = ["--input", "input_ids=[[1,37,82]]", "--json"];
    const outputs = async (...argv: string[]): Promise<unknown> =>
      (JSON.parse((await tare("run", ...argv, ...ids)).out) as { outputs: unknown }).outputs;
    const expected = await outputs("base", "--method", "decoder");
    expect(await outputs("linked")).toEqual(expected);
    await tare("rm", "linked");
    await tare("gc");
  });

  test("link says how the weights got there", async () => {
    expect((await tare("link", "base", join(await temporaryFolder(), "v"))).out).toMatch(
      /linked base: 8.27 MB (hard|ref)-?linked/,
    );
  });

  test("verify, status, rm and gc say what they did", async () => {
    expect((await tare("verify", "--full")).out).toMatch(/^intact: 2 models, .* every byte hashed/);
    expect((await tare("status")).out).toMatch(
      /models +2 in \d+ blobs\nas files +33.6 MB\nstored +10.3 MB \(\d+ % less\)/,
    );
    await tare("add", join(family, "licence"));
    expect((await tare("rm", "licence")).out).toMatch(/removed licence; tare gc frees/);
    expect((await tare("gc", "--dry-run")).out).toMatch(/would free 2.9\d? MB/);
    expect((await tare("gc")).out).toMatch(/^freed 2.9\d? MB/);
  });

  test("a failure prints what, why and what to do, also as JSON", async () => {
    const text = await tare("show", "nobody");
    expect(text).toMatchObject({ code: 1, out: "" });
    expect(text.err).toBe(
      'tare: Cannot find model "nobody" in the store\n  hint: Use a name of the store: base, kjv\n',
    );
    expect(JSON.parse((await tare("show", "nobody", "--json")).out)).toMatchObject({
      error: { code: "not-found" },
    });
  });

  test("a usage mistake prints the nearest correct form", async () => {
    expect(await tare("shwo", "x")).toMatchObject({
      code: 2,
      err: expect.stringContaining("Did you mean show?"),
    });
    expect(await tare("show")).toMatchObject({
      code: 2,
      err: expect.stringContaining("missing required argument 'model'"),
    });
  });

  test("a store that cannot be one is refused with a hint", async () => {
    const folder = await temporaryFolder();
    await mkdir(join(folder, "photos"));
    expect(await tare("ls", "--store", folder)).toMatchObject({
      code: 1,
      err: expect.stringContaining('it contains "photos"'),
    });
  });

  test("fsck and verify --repair mend a store", async () => {
    const folder = await temporaryFolder();
    const [file, store] = [join(folder, "a.safetensors"), join(folder, "store")];
    const bytes = new Uint8Array(20_000).fill(3);
    await writeFile(file, writeSafetensors({ w: { dtype: "uint8", shape: [bytes.length], bytes } }));
    await tare("--store", store, "add", file);
    await writeFile(join(store, "index.json"), "");
    expect(await tare("--store", store, "ls")).toMatchObject({
      code: 1,
      err: expect.stringContaining("tare fsck"),
    });
    expect(await tare("--store", store, "fsck")).toMatchObject({
      code: 0,
      out: "index.json was made again with 1 models: a\n",
    });
    const [{ digest }] = JSON.parse((await tare("--store", store, "ls", "--json")).out);
    await rm(join(store, "blobs", "sha256", digest.slice("sha256:".length)));
    expect((await tare("--store", store, "ls")).out).toMatch(/a .*damaged .*Cannot find blob/);
    expect((await tare("--store", store, "fsck")).code).toBe(1);
    expect(await tare("--store", store, "verify", "--repair", file)).toMatchObject({
      code: 0,
      out: expect.stringMatching(/^repaired: 1 blobs\nintact: 1 models, .* every byte hashed\n$/),
    });
  });

  test.each(VERBS)("%s --help shows examples", async (verb) => {
    const { code, out } = await tare(verb, "--help");
    expect(code).toBe(0);
    expect(out).toMatch(new RegExp(`Examples:\\n {2}\\$ tare ${verb}`));
    expect(out).toContain("--json");
  });

  test("knows aliases, and models that are called as verbs are", async () => {
    expect((await tare("--store", shared, "list", "--json")).code).toBe(0);
    expect(await tare("remove", "export")).toMatchObject({
      code: 1,
      err: expect.stringContaining('Cannot find model "export" in the store'),
    });
    expect((await tare("--store", "ls", "--help")).out).toContain("export [options]");
    expect((await tare("help", "ls")).out).toContain("Usage: tare ls");
    expect(await tare("shwo", "add")).toMatchObject({
      code: 2,
      err: expect.stringContaining("Did you mean show"),
    });
  });

  test("has no verb without an entry above", () => {
    expect(Object.keys(COMMANDS).sort()).toEqual([...VERBS].sort());
  });
});
