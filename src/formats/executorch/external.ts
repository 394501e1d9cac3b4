import type { ByteSource } from "../../io/byte-source.ts";
import { fileErrors, type FileFail } from "../../errors.ts";
import { type ExecutorchLayout, weightLayout } from "./layout.ts";
import type { ParsedData } from "./parse-data.ts";
import { SCALAR_TYPES } from "./schema.ts";
import type { NamedEntry } from "./segments.ts";
import {
  type FindExternal,
  type ExecutorchWeight,
  namedDataWeights,
  sameExecutorchLayout,
} from "./weights.ts";

/** A data file that was given. */
export interface DataFile extends ParsedData {
  /** Its index among the model's files. */
  readonly file: number;
  readonly source: ByteSource;
  /** Index of the program that it is named for, if several were given. */
  readonly owner?: number | undefined;
}

/** An entry of a data file. */
export interface DataFileEntry {
  readonly data: DataFile;
  readonly weight: ExecutorchWeight;
  readonly entry: NamedEntry;
}

/** The given data files, by their keys. */
export class ExternalData {
  readonly #homes = new Map<string, DataFileEntry[]>();

  constructor(files: readonly DataFile[]) {
    for (const data of files) {
      const weights = namedDataWeights(data, data.file);
      for (const [nth, entry] of data.named.entries()) {
        const home = { data, weight: weights[nth] as ExecutorchWeight, entry };
        const others = this.#homes.get(entry.key);
        if (others) others.push(home);
        else this.#homes.set(entry.key, [home]);
      }
    }
  }

  /**
   * Finds weights that a program needs, in the data files or in the program's own named data. Of several data files
   * with a key, those that are named for another program are ignored.
   * @param file index of the program
   * @throws FormatError `duplicate`, `mismatch`
   */
  finder(own: readonly ExecutorchWeight[], program: ByteSource, file: number): FindExternal {
    const embedded = new Map(own.map((weight) => [weight.name, weight]));
    const fail = fileErrors(program);
    return (tensor) => {
      const { name, layout, at } = tensor;
      const home = this.#homeOf(name, fail, file, at);
      if (home) {
        const { entry, data, weight } = home;
        const { length } = weight.at;
        const fits = entry.layout
          ? sameExecutorchLayout(layout, entry.layout)
          : (layout.length ?? length) === length;
        if (fits) return { name, ...weightLayout(layout, length), at: weight.at };
        const there = entry.layout ? formatLayout(entry.layout) : `${length} bytes`;
        const reason = `the program wants ${formatLayout(layout)}, "${data.source.name}" has ${there}`;
        throw fail("mismatch", reason, {
          offset: at,
          tensor: name,
          hint: "Give the data file that was exported with the program",
        });
      }
      const weight = embedded.get(name);
      if (!weight) return undefined;
      const { length } = weight.at;
      if ((layout.length ?? length) === length)
        return { name, ...weightLayout(layout, length), at: weight.at };
      const reason = `the program wants ${formatLayout(layout)}, its named data has ${length} bytes`;
      throw fail("mismatch", reason, { offset: at, tensor: name });
    };
  }

  /**
   * Entries of the data files that are not tensors of a program.
   * @param tensors names of the program's tensors in data files
   * @throws FormatError `duplicate`
   */
  others(tensors: ReadonlySet<string>, chooses: (key: string) => boolean, fail: FileFail): DataFileEntry[] {
    return [...this.#homes.keys()].flatMap((key) => {
      const home = !tensors.has(key) && chooses(key) ? this.#homeOf(key, fail, 0) : undefined;
      return home ? [home] : [];
    });
  }

  #homeOf(key: string, fail: FileFail, file: number, at?: number): DataFileEntry | undefined {
    const all = this.#homes.get(key) ?? [];
    const own = all.filter(({ data: { owner = file } }) => owner === file);
    const [home, other] = own.length > 0 ? own : all;
    if (!home || !other) return home;
    const reason = `"${home.data.source.name}" and "${other.data.source.name}" both have it`;
    throw fail("duplicate", reason, {
      offset: at,
      tensor: key,
      hint: "Give a program its own data files only",
    });
  }
}

function formatLayout({ type, sizes, dimOrder }: ExecutorchLayout): string {
  const dtype = SCALAR_TYPES.get(type)?.dtype ?? `scalar type ${type}`;
  const inOrder = dimOrder.every((axis, nth) => axis === nth);
  return `${dtype} [${sizes.join(", ")}]${inOrder ? "" : ` in the order [${dimOrder.join(", ")}]`}`;
}
