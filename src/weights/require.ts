import { LinkError } from "../errors.ts";
import type { Digest } from "../tensor/digest.ts";
import { type HashOptions, hashWeight } from "./hash-weight.ts";
import type { WeightSource } from "./weight-source.ts";
import { type MismatchedWeight, WeightMismatchError } from "./weight-mismatch-error.ts";
import { sameLayout, type TensorLayout } from "../tensor/tensor-layout.ts";

/** A weight that a compiled program expects. */
export interface ExpectedWeight extends TensorLayout {
  readonly name: string;
  /** That of the weight it was compiled with; left out where any of that layout will do. */
  readonly digest?: Digest | undefined;
}

/** Options of {@link requireWeights}. */
export interface RequireOptions extends HashOptions {
  /** How errors call what expects the weights. */
  readonly program?: string | undefined;
  /** Hash also what the data gives a digest for. */
  readonly full?: boolean | undefined;
}

/**
 * Makes sure, before anything runs, that data is what a program expects: every weight by name, layout and digest, and
 * nothing besides. Only weights whose digest is expected and not known are read, piece by piece.
 * @throws NamedDataError `missing-weight`, `mismatch`, `unused-weight`, with every case; LinkError `duplicate`; and
 * what reading the data throws
 */
export async function requireWeights(
  expected: Iterable<ExpectedWeight>,
  data: WeightSource,
  options: RequireOptions,
): Promise<void> {
  const { program = "the program" } = options;
  const missing: string[] = [];
  const mismatched: MismatchedWeight[] = [];
  const unused = new Set(data.keys());
  const seen = new Set<string>();
  for (const weight of expected) {
    const { name, dtype, shape, digest } = weight;
    if (seen.has(name)) {
      throw new LinkError(
        "duplicate",
        `Cannot use what "${program}" expects: weight "${name}" is twice in it`,
        {
          path: program,
          tensor: name,
        },
      );
    }
    seen.add(name);
    unused.delete(name);
    const layout = data.layout(name);
    if (!layout) {
      missing.push(name);
      continue;
    }
    const same = sameLayout(weight, layout);
    const found = same && digest ? await digestOf(data, name, options) : layout.digest;
    if (same && (!digest || digest === found)) continue;
    mismatched.push({
      name,
      sides: [
        { source: program, dtype, shape, digest },
        { source: data.name, dtype: layout.dtype, shape: layout.shape, digest: found },
      ],
    });
  }
  if (missing.length + mismatched.length + unused.size === 0) return;
  const findings = { missing, mismatched, unused: [...unused] };
  throw new WeightMismatchError(`use "${data.name}" for "${program}"`, findings);
}

async function digestOf(data: WeightSource, name: string, options: RequireOptions): Promise<Digest> {
  const known = options.full ? undefined : data.layout(name)?.digest;
  return known ?? (await hashWeight(data, name, options));
}
