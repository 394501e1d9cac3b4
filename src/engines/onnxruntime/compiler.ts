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
  /** Identifies the program in caches. */
  readonly key: string;
  /** Reads and parses the program. Called only if the cache does not have it. */
  open(): Promise<OnnxProgram>;
}

/** Options of a compilation. */
export interface OrtCompileOptions {
  /** Optimization level; "extended" unless given. */
  readonly level?: CreateSettings["level"] | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Result of a compilation. */
export interface OrtCompiled {
  readonly artifact: Artifact;
  /** Whether the program came from the cache. */
  readonly cached: boolean;
}

/** Compiles each program once, without its weights. Concurrent callers wait for the same compilation. */
export class Compiler {
  readonly #version: string;
  readonly #cache: CompileCache | undefined;
  readonly #compiling = new Map<string, Promise<Artifact>>();

  /** @param version version of the engine */
  constructor(version: string, cache: CompileCache | undefined) {
    this.#version = version;
    this.#cache = cache;
  }

  /**
   * Compiles a program, or reads its compilation from the cache.
   * @param thread returns the thread to compile in
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

/** Reads a cached artifact; `undefined` if there is none. */
export async function readArtifact(
  cache: CompileCache | undefined,
  key: string,
): Promise<Artifact | undefined> {
  const known = await cache?.get(key);
  return known && decodeArtifact(known);
}
