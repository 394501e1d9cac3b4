import type { PackedError } from "../../errors.ts";
import type { DType } from "../../tensor/dtype.ts";
import type { NumberTensor, Tensors } from "../../tensor/tensor.ts";
import type { Port } from "../engine.ts";

/** Levels of optimization. */
export const LEVELS = ["disabled", "basic", "extended", "all"] as const;

/** How far the engine optimizes a program. */
export type OptimizationLevel = (typeof LEVELS)[number];

/** Settings of a session. Those that a compiled program depends on are part of its key. */
export interface CreateSettings {
  readonly level: OptimizationLevel;
  readonly prepack: boolean;
  /** Number of threads of one operator; 0 for the engine's default, one for each core. */
  readonly threads: number;
  /** Whether idle threads spin: faster for one session, slower for several. */
  readonly spinning: boolean;
  /** Folder that external data is relative to. */
  readonly folder: string | undefined;
}

/** Name of the file with large initializers and their prepacked copies, which prepacking writes. */
export const PREPACKED_DATA = "prepacked.data";

/** Requests to the engine's threads. */
export type Request =
  | { readonly op: "compile"; readonly model: Uint8Array; readonly settings: CreateSettings }
  | { readonly op: "outputs"; readonly model: Uint8Array; readonly settings: CreateSettings }
  | {
      readonly op: "prepack";
      readonly model: Uint8Array;
      readonly settings: CreateSettings;
      /** Existing folder for {@link PREPACKED_DATA}. */
      readonly into: string;
      /** Minimum size in bytes: smaller initializers stay in the program. */
      readonly minBytes: number;
    }
  /** Runs a program without inputs, and writes its output into a file. */
  | {
      readonly op: "fold";
      readonly model: Uint8Array;
      readonly settings: CreateSettings;
      readonly output: string;
      readonly dtype: DType;
      readonly shape: readonly number[];
      /** Path of a new file. */
      readonly path: string;
    }
  | {
      readonly op: "load";
      readonly model: Uint8Array;
      readonly settings: CreateSettings;
      /** A session of this thread whose held inputs the new session takes over. */
      readonly held?: number | undefined;
    }
  /** Holds tensors in the thread as inputs of each run of a session; `undefined` frees a tensor. */
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

/** The result of each request. */
export interface Answers {
  readonly compile: Uint8Array;
  /** The model's outputs, with declared or inferred types. */
  readonly outputs: readonly Port[];
  /** The program that the engine saved, with the offset of each prepacked copy in the file. */
  readonly prepack: Uint8Array;
  /** sha256 of the file, in hexadecimal. */
  readonly fold: string;
  /** Id of the session in its thread. */
  readonly load: number;
  readonly hold: null;
  readonly run: Tensors;
  readonly release: null;
}

/** A request message to a thread. */
export interface Call {
  readonly id: number;
  readonly request: Request;
}

/** A reply message of a thread. */
export type Reply =
  | { readonly id: number; readonly result: Answers[keyof Answers] }
  | { readonly id: number; readonly error: PackedError };
