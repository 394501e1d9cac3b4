import { abortable } from "../../io/abortable.ts";
import type { OnnxProgram } from "../../link/linked-program.ts";
import type { CompileCache } from "../engine-caches.ts";
import { type Artifact, decodeArtifact, encodeArtifact } from "./artifact.ts";
import { compileProgram } from "./compile-program.ts";
import { compileKey, type CompileTarget, DEFAULT_LEVEL } from "./program-key.ts";
import type { CreateSettings } from "./protocol.ts";
import type { EngineThread } from "./thread.ts";

/** A program to compile. */
export interface OrtCompileSource {
  /** Identifies all that the program depends on. */
  readonly key: string;
  /** Reads and parses the program: only if it was not compiled before. */
  open(): Promise<OnnxProgram>;
}

/** How a program is compiled. */
export interface OrtCompileOptions {
  /** How far the engine optimizes a program; "extended" unless given. */
  readonly level?: CreateSettings["level"] | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What came of a compilation. */
export interface OrtCompiled {
  readonly artifact: Artifact;
  /** Whether the program had been compiled before. */
  readonly cached: boolean;
}

/** Compiles each program once, without its weights; callers that ask for one at once wait for one compilation. */
export class Compiler {
  readonly #version: string;
  readonly #cache: CompileCache | undefined;
  readonly #compiling = new Map<string, Promise<Artifact>>();

  /** @param version of the engine */
  constructor(version: string, cache: CompileCache | undefined) {
    this.#version = version;
    this.#cache = cache;
  }

  /**
   * Compiles a program, or takes what was compiled before from the cache.
   * @param thread gives the thread to compile in
   * @throws EngineError
   */
  async compile(
    source: OrtCompileSource,
    thread: () => EngineThread,
    { level = DEFAULT_LEVEL, signal }: OrtCompileOptions = {},
  ): Promise<OrtCompiled> {
    signal?.throwIfAborted();
    return abortable(this.#compile(source, { version: this.#version, level }, thread), signal);
  }

  async #compile(
    source: OrtCompileSource,
    target: CompileTarget,
    thread: () => EngineThread,
  ): Promise<OrtCompiled> {
    const key = compileKey(source.key, target);
    const underway = this.#compiling.get(key);
    if (underway) return { artifact: await underway, cached: true };
    let cached = true;
    const compiling = readArtifact(this.#cache, key).then(async (known) => {
      if (known) return known;
      cached = false;
      const artifact = await compileProgram(await source.open(), target, thread());
      await this.#cache?.put(key, encodeArtifact(artifact));
      return artifact;
    });
    this.#compiling.set(key, compiling);
    try {
      return { artifact: await compiling, cached };
    } finally {
      this.#compiling.delete(key);
    }
  }
}

/** Reads an artifact that was compiled before; `undefined` if it was not. */
export async function readArtifact(
  cache: CompileCache | undefined,
  key: string,
): Promise<Artifact | undefined> {
  const known = await cache?.get(key);
  return known && decodeArtifact(known);
}
