import { randomBytes } from "node:crypto";
import { hasProcess, isAlive, type ProcessIdentity, thisProcess } from "../node/process-identity.ts";

/** Owner and time of a folder, which its name has. */
export interface Owner {
  readonly process: ProcessIdentity;
  /** Start time in milliseconds. */
  readonly began: number;
  /** Whether an older version of tare made the name: it has only host and process number. */
  readonly isOld: boolean;
}

const HOST = /[^A-Za-z0-9-]/g;

/** Makes a new name of a folder of this process, which has its owner from its creation on. */
export function ownerName(): string {
  const { host, pid, linux } = thisProcess();
  const identity = linux ? `${linux.boot}-${linux.namespace}-${linux.started}` : "none";
  return [host.replace(HOST, "-"), pid, Date.now(), randomBytes(6).toString("hex"), identity].join(".");
}

/** Parses a name; `undefined` for another name. */
export function parseOwner(name: string): Owner | undefined {
  const [host = "", pidText = "", beganText = "", random = "", identity] = name.split(".");
  const [pid, began] = [Number(pidText), Number(beganText)];
  if (!Number.isSafeInteger(pid) || pid <= 0 || !Number.isSafeInteger(began) || beganText === "")
    return undefined;
  if (!/^[0-9a-f]{12}$/.test(random)) return undefined;
  const [, boot = "", namespace, started] = /^([0-9a-f]{32})-(\d+)-(\d+)$/.exec(identity ?? "") ?? [];
  const linux = boot === "" ? undefined : { boot, namespace: Number(namespace), started: Number(started) };
  return { process: { host, pid, linux }, began, isOld: identity === undefined };
}

/** Whether the owner of a name runs; `undefined` if it cannot be known. */
export function isOwnerAlive({ process: identity, isOld }: Owner): boolean | undefined {
  const here = thisProcess();
  const host = here.host.replace(HOST, "-");
  // An old name has no more than this; its process number may be in use again.
  if (isOld) return identity.host === host && !hasProcess(identity.pid) ? false : undefined;
  return isAlive(identity.host === host ? { ...identity, host: here.host } : identity);
}
