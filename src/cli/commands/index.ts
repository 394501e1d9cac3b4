import type { DefineCommand } from "../command.ts";
import { add } from "./add.ts";
import { attach } from "./attach.ts";
import { compile } from "./compile.ts";
import { convert } from "./convert.ts";
import { detach } from "./detach.ts";
import { diff } from "./diff.ts";
import { externalize } from "./externalize.ts";
import { internalize } from "./internalize.ts";
import { exportCommand } from "./export.ts";
import { gc } from "./gc.ts";
import { join } from "./join.ts";
import { link } from "./link.ts";
import { ls } from "./ls.ts";
import { map } from "./map.ts";
import { merge } from "./merge.ts";
import { refit } from "./refit.ts";
import { rm } from "./rm.ts";
import { runCommand } from "./run.ts";
import { show } from "./show.ts";
import { split } from "./split.ts";
import { status } from "./status.ts";
import { swap } from "./swap.ts";
import { verify } from "./verify.ts";

/** Every verb, in the order of the help. */
export const COMMANDS: readonly DefineCommand[] = [
  add,
  ls,
  show,
  diff,
  map,
  runCommand,
  compile,
  swap,
  exportCommand,
  convert,
  link,
  split,
  join,
  externalize,
  internalize,
  merge,
  refit,
  detach,
  attach,
  rm,
  gc,
  verify,
  status,
];
