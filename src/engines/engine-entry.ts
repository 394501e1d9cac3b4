import type { LinkedProgram } from "../link/linked-program.ts";
import type { Engine } from "./engine.ts";
import type { EngineCaches } from "./engine-caches.ts";
import type { LoadForecast } from "./load-forecast.ts";

/** What an engine is opened with. */
export interface EngineContext {
  /** Threads that sessions live in; the engine's own number unless given. */
  readonly workers?: number | undefined;
  /** What it may keep in the store's cache; it keeps nothing unless given. */
  readonly caches?: EngineCaches | undefined;
}

/** An engine in the registry: what is known of it before it is opened. Its module loads the engine only in `open`. */
export interface EngineEntry<E extends AnyEngine = AnyEngine, P = LinkedProgram> {
  /** As in {@link Engine.id}. */
  readonly id: string;
  /** Its name for people. */
  readonly label: string;
  /** Formats of models that it runs. */
  readonly formats: readonly string[];
  /** How people run a model in it. */
  readonly hint: string;
  /**
   * Opens the engine.
   * @throws EngineError `no-engine` if its library is not installed
   */
  open(context: EngineContext): Promise<E>;
  /** Forecasts what a load with the default options does with the weights; they are mapped, and no more, unless given. */
  forecast?(program: P, caches: Pick<EngineCaches, "compiled">): Promise<LoadForecast>;
}

/** An engine of whatever programs and options: its entry knows which format it is given. */
export type AnyEngine = Engine<never>;

/** The sessions that an engine makes. */
export type SessionOf<E extends AnyEngine> = Awaited<ReturnType<E["load"]>>;
