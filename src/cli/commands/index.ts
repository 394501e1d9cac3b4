import type { DefineCommand } from "../command.ts";

/** Every verb, in the order of the help; loaded where it is used, since most of the start is loading. */
export const COMMANDS: Readonly<Record<string, () => Promise<DefineCommand>>> = {
  add: async () => (await import("./add.ts")).add,
  ls: async () => (await import("./ls.ts")).ls,
  show: async () => (await import("./show.ts")).show,
  diff: async () => (await import("./diff.ts")).diff,
  map: async () => (await import("./map.ts")).map,
  run: async () => (await import("./run.ts")).runCommand,
  compile: async () => (await import("./compile.ts")).compile,
  swap: async () => (await import("./swap.ts")).swap,
  export: async () => (await import("./export.ts")).exportCommand,
  convert: async () => (await import("./convert.ts")).convert,
  link: async () => (await import("./link.ts")).link,
  split: async () => (await import("./split.ts")).split,
  join: async () => (await import("./join.ts")).join,
  externalize: async () => (await import("./externalize.ts")).externalize,
  internalize: async () => (await import("./internalize.ts")).internalize,
  merge: async () => (await import("./merge.ts")).merge,
  refit: async () => (await import("./refit.ts")).refit,
  detach: async () => (await import("./detach.ts")).detach,
  attach: async () => (await import("./attach.ts")).attach,
  rm: async () => (await import("./rm.ts")).rm,
  gc: async () => (await import("./gc.ts")).gc,
  verify: async () => (await import("./verify.ts")).verify,
  status: async () => (await import("./status.ts")).status,
};

/** The verbs that a command line may mean: those that it has words of, all where it has none. */
export function commandsFor(argv: readonly string[]): Promise<DefineCommand[]> {
  const named = Object.keys(COMMANDS).filter((verb) => argv.includes(verb));
  const verbs = named.length > 0 ? named : Object.keys(COMMANDS);
  return Promise.all(verbs.map((verb) => (COMMANDS[verb] as () => Promise<DefineCommand>)()));
}
