import { homedir } from "node:os";
import { join } from "node:path";

/** Returns `TARE_STORE`, else the path of `tare` in the XDG data folder. */
export function defaultStorePath(env: Readonly<Record<string, string | undefined>> = process.env): string {
  if (env.TARE_STORE) return env.TARE_STORE;
  return join(env.XDG_DATA_HOME || join(homedir(), ".local", "share"), "tare");
}
