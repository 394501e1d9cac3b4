/** Classes of which a reader may make something as large as a file says. */
const CLASSES = [
  "ArrayBuffer",
  "Uint8Array",
  "Uint16Array",
  "Uint32Array",
  "Float32Array",
  "Float64Array",
] as const;

type Class = new (size: unknown, ...rest: unknown[]) => { readonly byteLength: number };

/** Counts the bytes that are asked for, those that are gone again too, and refuses what is too much before it is there. */
export class Allocations {
  /** Since the last {@link start}. */
  made = 0;
  #limit = Number.POSITIVE_INFINITY;
  readonly #classes = CLASSES.map((name) => [name, globalThis[name]] as const);

  constructor() {
    const globals = globalThis as unknown as Record<string, Class>;
    for (const name of CLASSES) {
      const width = (globalThis[name] as { BYTES_PER_ELEMENT?: number }).BYTES_PER_ELEMENT ?? 1;
      globals[name] = new Proxy(globals[name] as Class, {
        construct: (target, args: [unknown], newTarget) => {
          if (typeof args[0] === "number") this.#count(args[0] * width);
          return Reflect.construct(target, args, newTarget) as object;
        },
      });
    }
  }

  /** Counts from 0. */
  start(limit: number): void {
    this.made = 0;
    this.#limit = limit;
  }

  #count(bytes: number): void {
    // What is no size of a buffer is an error of its own.
    if (!(bytes >= 0 && bytes <= Number.MAX_SAFE_INTEGER)) return;
    this.made += bytes;
    if (this.made > this.#limit) throw new Error(`${this.made} bytes are made, over ${this.#limit}`);
  }

  [Symbol.dispose](): void {
    for (const [name, own] of this.#classes) Object.assign(globalThis, { [name]: own });
  }
}
