import { readFileSync, readlinkSync } from "node:fs";
import { hostname } from "node:os";

/** A process among all processes of all machines. A process number alone is in use again after its process ended. */
export interface ProcessIdentity {
  readonly host: string;
  /** Process number in its namespace. */
  readonly pid: number;
  /** What Linux knows; `undefined` if the system has no `/proc`. */
  readonly linux?: LinuxIdentity | undefined;
}

/** The part of a {@link ProcessIdentity} that containers of one host name do not share. */
export interface LinuxIdentity {
  /** Random number of this start of the machine, 32 hexadecimal digits. */
  readonly boot: string;
  /** Inode of the namespace of process numbers. */
  readonly namespace: number;
  /** Start time in clock ticks since the start of the machine. */
  readonly started: number;
}

let own: ProcessIdentity | undefined;

/** Returns the identity of this process. */
export function thisProcess(): ProcessIdentity {
  own ??= { host: hostname(), pid: process.pid, linux: readLinux() };
  return own;
}

/**
 * Whether a process runs; a process that is stopped does.
 * @returns `undefined` if it cannot be known: a process of another machine, of an earlier start of this one, or of another
 * namespace
 */
export function isAlive({ host, pid, linux }: ProcessIdentity): boolean | undefined {
  const here = thisProcess();
  if (!linux || !here.linux) return !linux && !here.linux && host === here.host ? hasProcess(pid) : undefined;
  if (linux.boot !== here.linux.boot || linux.namespace !== here.linux.namespace) return undefined;
  if (!hasProcess(pid)) return false;
  const stat = readStat(pid);
  // Some systems hide the processes of other users.
  if (!stat) return hasProcess(pid) ? undefined : false;
  return stat.started === linux.started && !stat.ended;
}

/** Whether a process of this namespace has this number: it runs, or its parent has not asked how it ended. */
export function hasProcess(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

function readLinux(): LinuxIdentity | undefined {
  try {
    // In a container, `/proc` may be that of another namespace.
    if (readlinkSync("/proc/self") !== String(process.pid)) return undefined;
    const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").replace(/[^0-9a-f]/g, "");
    const namespace = Number(/\d+/.exec(readlinkSync("/proc/self/ns/pid"))?.[0]);
    const started = readStat(process.pid)?.started;
    if (boot.length !== 32 || !Number.isSafeInteger(namespace) || started === undefined) return undefined;
    return { boot, namespace, started };
  } catch {
    return undefined;
  }
}

/** Reads when a process started, and whether it ended and only waits for its parent. */
function readStat(pid: number): { readonly started: number; readonly ended: boolean } | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The name of the program, in parentheses, may have spaces and parentheses.
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
    const started = Number(fields[19]);
    return Number.isSafeInteger(started)
      ? { started, ended: fields[0] === "Z" || fields[0] === "X" }
      : undefined;
  } catch {
    return undefined;
  }
}
