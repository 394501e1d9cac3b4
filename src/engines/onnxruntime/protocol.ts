import type { PackedError } from "../../errors.ts";
import type { DType } from "../../tensor/dtype.ts";
import type { NumberTensor, Tensors } from "../../tensor/tensor.ts";
import type { Port } from "../engine.ts";

/** How a model is created; the settings that a compiled program depends on are part of its key. */
export interface CreateSettings {
  readonly level: "disabled" | "basic" | "extended" | "all";
  readonly prepack: boolean;
  /** Threads for one operator; the engine's default, one a core, if 0. */
  readonly threads: number;
  /** Whether idle threads spin: faster for one session, slower as soon as there are several. */
  readonly spinning: boolean;
  /** Folder that external data is relative to. */
  readonly folder: string | undefined;
}

/** File that a packing leaves: large initializers, and what was packed of them. */
export const PACKED_DATA = "packed.data";

/** What the engine's threads are asked to do. */
export type Request =
  | { readonly op: "compile"; readonly model: Uint8Array; readonly settings: CreateSettings }
  | { readonly op: "outputs"; readonly model: Uint8Array; readonly settings: CreateSettings }
  | {
      readonly op: "pack";
      readonly model: Uint8Array;
      readonly settings: CreateSettings;
      /** Existing folder for {@link PACKED_DATA}. */
      readonly into: string;
      /** In bytes: smaller initializers stay in the program. */
      readonly least: number;
    }
  /** Runs a program that takes nothing, and leaves what it gives in a file. */
  | {
      readonly op: "derive";
      readonly model: Uint8Array;
      readonly settings: CreateSettings;
      readonly output: string;
      readonly dtype: DType;
      readonly shape: readonly number[];
      /** A file that is not there yet. */
      readonly path: string;
    }
  | {
      readonly op: "load";
      readonly model: Uint8Array;
      readonly settings: CreateSettings;
      /** A session of this thread, whose held inputs the new one takes over. */
      readonly held?: number | undefined;
    }
  /** Keeps tensors here, to be fed to a session with each run; `undefined` lets go of one. */
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
  /** What the model gives, its types inferred where it does not say them. */
  readonly outputs: readonly Port[];
  /** The program as the engine saved it, which says where in the file what was packed lies. */
  readonly pack: Uint8Array;
  /** sha256 of what the file holds, in hexadecimal. */
  readonly derive: string;
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
