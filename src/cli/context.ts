import prettyBytes from "pretty-bytes";
import type { Runtime } from "../runtime/runtime.ts";
import type { TareStore } from "../tare-store.ts";
import { defaultStorePath } from "../local-store/default-path.ts";
import type { Progress } from "../io/progress.ts";
import { printable, printableLine, printableProse } from "./printable.ts";

/** The streams that a command writes to, and the environment variables that it reads. */
export interface Streams {
  readonly stdout: NodeJS.WritableStream;
  readonly stderr: NodeJS.WritableStream & { readonly isTTY?: boolean };
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** Options that every verb takes. */
export interface GlobalOptions {
  readonly store?: string;
  readonly json?: boolean;
}

/** The streams, options and signal of one command. */
export class Context {
  readonly streams: Streams;
  readonly options: GlobalOptions;
  /** Aborts on Ctrl-C. */
  readonly signal: AbortSignal;

  constructor(streams: Streams, options: GlobalOptions, signal: AbortSignal) {
    this.streams = streams;
    this.options = options;
    this.signal = signal;
  }

  /** Path of the store's folder. */
  get storePath(): string {
    return this.options.store ?? defaultStorePath(this.streams.env);
  }

  /**
   * Opens the store. Its module is imported here because some verbs need no store.
   * @param options `create: false` for a verb that needs models of the store
   */
  async openStore({ create = true }: { readonly create?: boolean } = {}): Promise<TareStore> {
    const { openStore } = await import("../tare-store.ts");
    return openStore({ path: this.storePath, create });
  }

  /** Opens a runtime over a store. Its module is imported here because few verbs need it. */
  async openRuntime(store: TareStore): Promise<Runtime> {
    const { openRuntime } = await import("../runtime/runtime.ts");
    return openRuntime(store);
  }

  /**
   * Prints a result: as JSON with --json, else as text. Text and JSON escape what a terminal acts on.
   * @param text returns lines; names that files contain are parts of a line: {@link printableLine}
   */
  print(result: unknown, text: () => string): void {
    const shown = this.options.json ? JSON.stringify(result, replacer, 2) : text();
    this.streams.stdout.write(`${printable(shown)}\n`);
  }

  /** Prints running text at once, such as a model's, without a newline; nothing with --json. */
  printProse(text: string): void {
    if (!this.options.json) this.streams.stdout.write(printableProse(text));
  }

  /** Prints a message on stderr. */
  warn(message: string): void {
    this.streams.stderr.write(`tare: ${printable(message)}\n`);
  }

  /**
   * Runs work under a progress bar with bytes and rate. Shows no bar if stderr is not a terminal, with --json, under CI
   * or under NO_COLOR. Removes the bar at the end.
   */
  async withProgress<T>(
    label: string,
    work: (onProgress: (progress: Progress) => void) => Promise<T>,
  ): Promise<T> {
    const { stderr, env } = this.streams;
    if (!stderr.isTTY || env.CI || env.NO_COLOR !== undefined || this.options.json)
      return work(() => undefined);
    const { SingleBar } = await import("cli-progress");
    const bar = new SingleBar({
      stream: stderr,
      format: `${printableLine(label)} {bar} {percentage}%  {done} of {all}  {rate}/s  {eta_formatted} left`,
      barCompleteChar: "█",
      barIncompleteChar: "░",
      barsize: 24,
      hideCursor: true,
      clearOnComplete: true,
    });
    const began = performance.now();
    let started = false;
    try {
      return await work(({ done, total }) => {
        const rate = bytes(Math.round((done / Math.max(1, performance.now() - began)) * 1000));
        const payload = { done: bytes(done), all: bytes(total), rate };
        if (started) bar.update(done, payload);
        else bar.start(total, done, payload);
        started = true;
      });
    } finally {
      if (started) bar.stop();
    }
  }
}

/** Formats a size in bytes for people: `16.8 MB`. */
export function bytes(count: number): string {
  return prettyBytes(count);
}

/**
 * Formats rows of cells as aligned columns. A newline in a cell is escaped.
 * @param right indexes of the columns that are aligned to the right
 */
export function table(cells: readonly (readonly string[])[], right: readonly number[] = []): string {
  const rows = cells.map((row) => row.map(printableLine));
  const widths: number[] = [];
  for (const row of rows)
    row.forEach((cell, column) => (widths[column] = Math.max(widths[column] ?? 0, cell.length)));
  const line = (row: readonly string[]): string =>
    row
      .map((cell, column) =>
        right.includes(column) ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0),
      )
      .join("  ")
      .trimEnd();
  return rows.map(line).join("\n");
}

/** Writes an error in JSON with its message, which is not an enumerable property. */
function replacer(_key: string, value: unknown): unknown {
  if (!(value instanceof Error)) return value;
  const { message, ...fields } = value as Error & Record<string, unknown>;
  return { message, ...fields };
}
