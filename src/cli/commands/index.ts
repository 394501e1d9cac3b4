import type { DefineCommand } from "../command.ts";

/** Every verb, in the order of the help. Each is imported on use, because imports take most of the start time. */
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
  fsck: async () => (await import("./fsck.ts")).fsck,
  status: async () => (await import("./status.ts")).status,
};

/** Loads the verb of a command line; all verbs if the command line has none, an alias or an unknown verb. */
export function commandsFor(argv: readonly string[]): Promise<DefineCommand[]> {
  const verb = argv.find((word, at) => !word.startsWith("-") && argv[at - 1] !== "--store") ?? "";
  const load = Object.hasOwn(COMMANDS, verb) ? COMMANDS[verb] : undefined;
  return Promise.all((load ? [load] : Object.values(COMMANDS)).map((each) => each()));
}
