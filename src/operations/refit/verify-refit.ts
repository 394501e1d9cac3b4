import type { Session } from "../../engines/engine.ts";
import { LinkError, TareError } from "../../errors.ts";
import type { Tensors } from "../../tensor/tensor.ts";
import { randomInputs } from "./random-inputs.ts";

/** Sizes of dimensions that a signature leaves open, tried in turn: some graphs run only with 1. */
const FREE_DIMENSIONS = [3, 1];

/** The outputs of a refitted method that equal those of a fresh compilation. */
export interface RefitCheck {
  readonly method: string;
  /** Names of the outputs, which are equal bit for bit. */
  readonly outputs: readonly string[];
}

/**
 * Runs two sessions on the same inputs and compares all outputs bit for bit.
 * @param refitted session of the program that was compiled before
 * @param fresh session of a program that was compiled now
 * @param inputs inputs of both runs; generated unless given
 * @throws LinkError `mismatch` with the name of the output
 */
export async function compareSessions(
  method: string,
  refitted: Session,
  fresh: Session,
  inputs: Tensors | undefined,
): Promise<RefitCheck> {
  const [given, theirs] = inputs ? [inputs, await fresh.run(inputs)] : await runOnSome(fresh);
  const ours = await refitted.run(given);
  const names = Object.keys(theirs);
  for (const name of names) {
    if (same(ours[name], theirs[name])) continue;
    throw new LinkError(
      "mismatch",
      `Cannot verify the refit: output "${name}" of "${method}" differs from that of a fresh compilation`,
      {
        tensor: name,
        hint: "Remove compiled programs with tare gc --cache, and please report this",
      },
    );
  }
  return { method, outputs: names };
}

async function runOnSome(session: Session): Promise<[Tensors, Tensors]> {
  let failure: unknown;
  for (const free of FREE_DIMENSIONS) {
    const inputs = randomInputs(session.signature, free);
    try {
      return [inputs, await session.run(inputs)];
    } catch (error) {
      if (!(error instanceof TareError)) throw error;
      failure = error;
    }
  }
  throw failure;
}

function same(a: Tensors[string] | undefined, b: Tensors[string] | undefined): boolean {
  if (!a || !b || a.dtype !== b.dtype || a.shape.join() !== b.shape.join()) return false;
  if (a.dtype === "string" || b.dtype === "string") {
    return (
      a.dtype === "string" && b.dtype === "string" && JSON.stringify(a.strings) === JSON.stringify(b.strings)
    );
  }
  return Buffer.compare(a.bytes, b.bytes) === 0;
}
