import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Writable } from "node:stream";
import { describe, expect, test } from "vitest";
import { run } from "../../src/cli/run.ts";
import { printable, printableLine, printableProse } from "../../src/cli/printable.ts";
import { safetensorsFile } from "../support/safetensors-file.ts";
import { temporaryFolder } from "../support/temporary.ts";

/** A name with an escape sequence, NUL, a newline, C1, bidi controls, zero width, a tag and a lone surrogate. */
const HOSTILE = "w\u001b[2J\0\n  hint: x\u009b\u202e\u2066\u200b\ufeff\u061c\u{e0041}\ud800é✓😀";
/** What a terminal may get: no control but the newline, nothing invisible, no lone surrogate. */
const SAFE = /^(?:[\P{C}\n])*$/u;

async function tare(store: string, ...argv: readonly string[]) {
  const sink = (): Writable & { text: string } => {
    const stream = new Writable({
      write(chunk: Buffer, _, done) {
        Object.assign(stream, { text: stream.text + String(chunk) });
        done();
      },
    }) as Writable & { text: string };
    return Object.assign(stream, { text: "" });
  };
  const [stdout, stderr] = [sink(), sink()];
  const code = await run(argv, { stdout, stderr, env: { TARE_STORE: store } });
  return { code, out: stdout.text, err: stderr.text };
}

describe("printable()", () => {
  test("escapes what a terminal acts on or hides, and keeps newlines and letters", () => {
    expect(printable(HOSTILE)).toBe(
      "w\\u001b[2J\\u0000\n  hint: x\\u009b\\u202e\\u2066\\u200b\\ufeff\\u061c\\udb40\\udc41\\ud800é✓😀",
    );
    expect(printable("\r\t\u007f\u00ad\u2028")).toBe("\\u000d\\u0009\\u007f\\u00ad\\u2028");
  });

  test("keeps the strings of a JSON text", () => {
    expect(JSON.parse(printable(JSON.stringify({ [HOSTILE]: [HOSTILE] }, null, 2)))).toEqual({
      [HOSTILE]: [HOSTILE],
    });
  });

  test("of a line escapes newlines", () => {
    expect(printableLine("a\nb")).toBe("a\\u000ab");
  });

  test("of prose escapes controls alone", () => {
    expect(printableProse("a\tb\r\n\u001b[0m👩‍👩‍👧 שלום")).toBe("a\tb\r\n\\u001b[0m👩‍👩‍👧 שלום");
  });
});

describe("the command line, with names that files contain,", () => {
  test("prints them escaped, in one line each, and exactly with --json", async () => {
    const folder = await temporaryFolder();
    const store = join(folder, "store");
    await mkdir(join(folder, "m"));
    const name = HOSTILE.replace("\ud800", "");
    await writeFile(join(folder, "m", "model.safetensors"), safetensorsFile([name], 1));
    expect((await tare(store, "add", join(folder, "m"))).code).toBe(0);
    const { out } = await tare(store, "show", "m");
    expect(out).toMatch(SAFE);
    expect(out).toContain("\nw\\u001b[2J\\u0000\\u000a  hint: x\\u009b\\u202e");
    const json = await tare(store, "show", "m", "--json");
    expect(json.out).toMatch(SAFE);
    expect(JSON.parse(json.out).methods[0].weights[0].name).toBe(name);
  });

  test("prints errors about them in one line, and keeps the lines of a list", async () => {
    const folder = await temporaryFolder();
    const store = join(folder, "store");
    const file = join(folder, "bad.safetensors");
    await writeFile(file, safetensorsFile(["\u001b[31m\n  hint: delete everything"], 1, [2]));
    for (const flags of [[], ["--json"]]) {
      const { code, out, err } = await tare(store, "add", file, ...flags);
      expect([code, out, err]).toEqual([1, expect.stringMatching(SAFE), expect.stringMatching(SAFE)]);
      expect(err).toMatch(/^tare: .*\\u001b\[31m\\u000a {2}hint: delete everything/);
      expect(err.split("\n").filter((line) => line.startsWith("  hint: delete"))).toEqual([]);
    }
    const thin = join(folder, "thin.mlir");
    await writeFile(thin, '"a.b"() {v = dense_resource<w> : tensor<9xi4>} : () -> ()\n');
    const { err } = await tare(store, "attach", thin, "--out", join(folder, "out.mlir"));
    expect(err).toMatch(/^tare: Cannot use .*: missing: "w"\n {2}hint: /);
  });
});
