import { setTimeout as delay } from "node:timers/promises";
import { EngineError, packError, TareError } from "../../errors.ts";
import { type LoadedModel, loadModel } from "./model.ts";
import type { LlamaNative } from "./native.ts";
import type { Answers, Call, LoadSettings, ProcessSettings, Reply, Request } from "./protocol.ts";
import type { OpenedEngine } from "./text-model.ts";

const { cores, gpu } = JSON.parse(process.argv[2] as string) as ProcessSettings;
const models = new Map<number, LoadedModel>();
const underway = new Map<number, AbortController>();
/** Errors that the engine logged during the last load. */
const loadErrors: string[] = [];
let opening: Promise<OpenedEngine> | undefined;
let serial = 0;
// Run one load at a time, so that logged errors belong to it.
let lastLoad: Promise<unknown> = Promise.resolve();

process.on("message", (call: Call) => {
  if ("abort" in call) underway.get(call.id)?.abort();
  else void serve(call.id, call.request);
});
// Ignore signals of the terminal: the process ends when its parent ends.
process.on("disconnect", () => process.kill(process.pid, "SIGKILL"));
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => undefined);

async function serve(id: number, request: Request): Promise<void> {
  const controller = new AbortController();
  underway.set(id, controller);
  try {
    send({ id, result: await answer(id, request, controller.signal) });
  } catch (error) {
    const typed = error instanceof TareError ? error : new EngineError("engine", messageOf(error));
    send({ id, error: packError(typed) });
  } finally {
    underway.delete(id);
  }
}

async function answer(id: number, request: Request, signal: AbortSignal): Promise<Answers[keyof Answers]> {
  if (request.op === "start") {
    await start();
    return null;
  }
  if (request.op === "load") {
    const loading = lastLoad.then(() => load(request.settings, signal));
    lastLoad = loading.catch(() => undefined);
    return loading;
  }
  const model = models.get(request.session);
  if (!model) throw new EngineError("released", "Cannot run a session that was released");
  try {
    return await use(model, id, request, signal);
  } catch (error) {
    if (error instanceof TareError || signal.aborted) throw error;
    throw new EngineError("engine", `Cannot run "${model.name}": ${messageOf(error)}`);
  }
}

async function use(
  model: LoadedModel,
  id: number,
  request: Exclude<Request, { op: "start" | "load" }>,
  signal: AbortSignal,
): Promise<Answers[keyof Answers]> {
  switch (request.op) {
    case "generate":
      return model.generate(request.prompt, request.settings, signal, (text) => send({ id, text }));
    case "embed":
      return model.embed(request.text);
    case "tokenize":
      return model.tokenize(request.text);
    default:
      models.delete(request.session);
      await model.release();
      return null;
  }
}

async function load(settings: LoadSettings, signal: AbortSignal): Promise<Answers["load"]> {
  signal.throwIfAborted();
  const engine = await start();
  loadErrors.length = 0;
  try {
    const model = await loadModel(engine, settings, signal);
    models.set(++serial, model);
    return { session: serial, info: model.info };
  } catch (error) {
    if (error instanceof TareError || signal.aborted) throw error;
    const { name, path } = settings;
    const message = messageOf(error);
    const reason = (message.startsWith("Failed to") && (await firstLoadError())) || message;
    throw new EngineError("engine", `Cannot load "${name}": ${reason}`, { path, hint: hintAt(reason) });
  }
}

function start(): Promise<OpenedEngine> {
  opening ??= open();
  return opening;
}

async function open(): Promise<OpenedEngine> {
  const native = (await import("node-llama-cpp").catch((cause: unknown) => {
    throw new EngineError("no-engine", `Cannot load llama.cpp: ${messageOf(cause)}`, {
      hint: "Install it: npm install node-llama-cpp",
    });
  })) as unknown as LlamaNative;
  try {
    const llama = await native.getLlama({
      build: "never",
      gpu: gpu && "auto",
      maxThreads: cores,
      logLevel: "error",
      logger: (_, message) => void loadErrors.push(message),
      progressLogs: false,
      skipDownload: true,
    });
    return { native, llama, cores };
  } catch (error) {
    throw new EngineError("no-engine", `Cannot load llama.cpp: ${messageOf(error)}`, {
      hint: "Check that node-llama-cpp has a build for this platform",
    });
  }
}

/** Finds the reason of a failure in the log of the engine, which often arrives after the failure. */
async function firstLoadError(): Promise<string | undefined> {
  for (let tries = 0; tries < 20 && loadErrors.length === 0; tries++) await delay(10);
  // "llama_model_load: error loading model: unknown model architecture: 'x'"
  return loadErrors[0]?.replace(/^\w+: (?:error loading model: )*/, "").trim();
}

function hintAt(reason: string): string | undefined {
  return reason.includes("architecture") ? "A later node-llama-cpp may know it" : undefined;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function send(reply: Reply): void {
  process.send?.(reply);
}
