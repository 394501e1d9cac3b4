import type { PackedError } from "../../errors.ts";
import type { DType } from "../../tensor/dtype.ts";
import type { NumberTensor, Tensors } from "../../tensor/tensor.ts";
import type { Port } from "../engine.ts";

/** Levels of optimization. */
export const LEVELS = ["disabled", "basic", "extended", "all"] as const;

/** How far the engine optimizes a program. */
export type OptimizationLevel = (typeof LEVELS)[number];

/** How a model is created; the settings that a compiled program depends on are part of its key. */
export interface CreateSettings {
  readonly level: OptimizationLevel;
  readonly prepack: boolean;
  /** Threads for one operator; the engine's default, one a core, if 0. */
  readonly threads: number;
  /** Whether idle threads spin: faster for one session, slower as soon as there are several. */
  readonly spinning: boolean;
  /** Folder that external data is relative to. */
  readonly folder: string | undefined;
}

/** Name of the file that prepacking writes: large initializers, and their prepacked copies. */
export const PREPACKED_DATA = "prepacked.data";

/** What the engine's threads are asked to do. */
export type Request =
  | { readonly op: "compile"; readonly model: Uint8Array; readonly settings: CreateSettings }
  | { readonly op: "outputs"; readonly model: Uint8Array; readonly settings: CreateSettings }
  | {
      readonly op: "prepack";
      readonly model: Uint8Array;
      readonly settings: CreateSettings;
      /** Existing folder for {@link PREPACKED_DATA}. */
      readonly into: string;
      /** Smaller initializers stay in the program. */
      readonly minBytes: number;
    }
  /** Runs a program that takes nothing, and writes its output into a file. */
  | {
      readonly op: "fold";
      readonly model: Uint8Array;
      readonly settings: CreateSettings;
      readonly output: string;
      readonly dtype: DType;
      readonly shape: readonly number[];
      /** Of a file that does not exist yet. */
      readonly path: string;
    }
  | {
      readonly op: "load";
      readonly model: Uint8Array;
      readonly settings: CreateSettings;
      /** A session of this thread, whose held inputs the new one takes over. */
      readonly held?: number | undefined;
    }
  /** Holds tensors here, to be fed to a session with each run; `undefined` frees one. */
  | {
      readonly op: "hold";
      readonly session: number;
      readonly tensors: Readonly<Record<string, NumberTensor | undefined>>;
    }
  | {
      readonly op: "run";
      readonly session: number;
      readonly inputs: Tensors;
      readonly outputs: readonly string[] | undefined;
    }
  | { readonly op: "release"; readonly session: number };

/** What each request answers. */
export interface Answers {
  readonly compile: Uint8Array;
  /** The model's outputs, with types that are inferred where it does not say them. */
  readonly outputs: readonly Port[];
  /** The program as the engine saved it, with the place of each prepacked copy in the file. */
  readonly prepack: Uint8Array;
  /** sha256 of the file, in hexadecimal. */
  readonly fold: string;
  /** The session's number in its thread. */
  readonly load: number;
  readonly hold: null;
  readonly run: Tensors;
  readonly release: null;
}

/** A request on its way to a thread. */
export interface Call {
  readonly id: number;
  readonly request: Request;
}

/** Its answer. */
export type Reply =
  | { readonly id: number; readonly result: Answers[keyof Answers] }
  | { readonly id: number; readonly error: PackedError };
