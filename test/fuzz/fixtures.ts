import { readdirSync, readFileSync } from "node:fs";
import type { Files, Fixture } from "./campaign.ts";

const FIXTURES = new URL("../../fixtures/", import.meta.url);

/** The files of a folder of `fixtures` whose names match. */
export function filesIn(folder: string, names: RegExp): Files {
  const url = new URL(`${folder}/`, FIXTURES);
  const found = readdirSync(url).filter((name) => names.test(name));
  return Object.fromEntries(found.map((name) => [name, new Uint8Array(readFileSync(new URL(name, url)))]));
}

/** Each file as a model of its own. */
export function lone(files: Files): Fixture[] {
  return Object.entries(files).map(([name, bytes]) => ({ files: { [name]: bytes }, given: [name] }));
}

/** The one file of a fixture of one file. */
export function onlyFile({
  files,
  given,
}: Pick<Fixture, "files" | "given">): [name: string, bytes: Uint8Array] {
  const [name = ""] = given;
  return [name, files[name] as Uint8Array];
}
