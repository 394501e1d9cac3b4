import type { LinkedProgram } from "../link/linked-program.ts";
import type { Engine } from "./engine.ts";
import type { EngineCaches } from "./engine-caches.ts";
import type { LoadForecast } from "./load-forecast.ts";

/** Options of opening an engine. */
export interface EngineContext {
  /** Number of threads that run sessions; the engine's default unless given. */
  readonly workers?: number | undefined;
  /** Caches of the store that it may use; none unless given. */
  readonly caches?: EngineCaches | undefined;
}

/** An engine in the registry, before it is opened. Only `open` imports the engine. */
export interface EngineEntry<E extends AnyEngine = AnyEngine, P = LinkedProgram> {
  /** Same as {@link Engine.id}. */
  readonly id: string;
  /** Its name for people. */
  readonly label: string;
  /** Formats of models that it runs. */
  readonly formats: readonly string[];
  /** Hint that says how to run a model in it. */
  readonly hint: string;
  /**
   * Opens the engine.
   * @throws EngineError `no-engine` if its library is not installed
   */
  open(context: EngineContext): Promise<E>;
  /** Forecasts how a load with the default options uses the weights; unless given, all weights are mapped. */
  forecast?(program: P, caches: Pick<EngineCaches, "compiled">): Promise<LoadForecast>;
}

/** An engine of any programs and options. */
export type AnyEngine = Engine<never>;

/** The sessions that an engine makes. */
export type SessionOf<E extends AnyEngine> = Awaited<ReturnType<E["load"]>>;
