import { createHash } from "node:crypto";
import { mkdtemp, open, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parentPort } from "node:worker_threads";
import { EngineError, packError, TareError } from "../../errors.ts";
import { isDType } from "../../tensor/dtype.ts";
import type { NumberTensor, Tensors } from "../../tensor/tensor.ts";
import type { Port } from "../engine.ts";
import type { OrtNative, OrtSession, OrtSessionOptions, OrtTensor } from "./native.ts";
import {
  type Answers,
  type Call,
  type CreateSettings,
  PREPACKED_DATA,
  type Reply,
  type Request,
} from "./protocol.ts";
import { fromOrt, requireReadable, toOrt } from "./tensors.ts";

// `create` and `run` block their thread, so they run in this one.
const native = (await import("onnxruntime-node")) as unknown as OrtNative;
const CHUNK = 1024 * 1024;
const sessions = new Map<number, OrtSession>();
let serial = 0;
/** Weights in memory by session, which are inputs of each run. */
const held = new Map<number, Map<string, OrtTensor>>();
// Handle requests in order, so that a release does not overtake a run.
let last: Promise<void> = Promise.resolve();

parentPort?.on("message", ({ id, request }: Call) => {
  last = last.then(async () => {
    let reply: Reply;
    try {
      reply = { id, result: await answer(request) };
    } catch (error) {
      const typed = error instanceof TareError ? error : new EngineError("engine", messageOf(error));
      reply = { id, error: packError(typed) };
    }
    parentPort?.postMessage(reply);
  });
});
parentPort?.postMessage("ready");

async function answer(request: Request): Promise<Answers[keyof Answers]> {
  switch (request.op) {
    case "compile":
      return inTemporaryFolder((folder) => save(request.model, options(request.settings), folder));
    case "outputs":
      return outputsOf(request.model, request.settings);
    case "prepack": {
      const { model, settings, into, minBytes } = request;
      const extra = {
        save_external_prepacked_constant_initializers: "1",
        optimized_model_external_initializers_file_name: PREPACKED_DATA,
        optimized_model_external_initializers_min_size_in_bytes: String(minBytes),
      };
      return save(model, options(settings, extra), into);
    }
    case "fold":
      return fold(request);
    case "load": {
      sessions.set(++serial, await native.InferenceSession.create(request.model, options(request.settings)));
      held.set(serial, new Map(held.get(request.held ?? 0)));
      return serial;
    }
    case "hold":
      hold(request.session, request.tensors);
      return null;
    case "run":
      return run(request.session, request.inputs, request.outputs);
    default: {
      await sessions.get(request.session)?.release();
      sessions.delete(request.session);
      held.delete(request.session);
      return null;
    }
  }
}

/** Creates a session to optimize a program. */
async function save(model: Uint8Array, settings: OrtSessionOptions, folder: string): Promise<Uint8Array> {
  const path = join(folder, "optimized.onnx");
  await native.InferenceSession.create(model, { ...settings, optimizedModelFilePath: path }).then(
    (session) => session.release(),
    (error: unknown) => {
      // JavaScript has no tensors of bfloat16 and float8, and the session throws for them after it wrote the optimized
      // program. Weights of these types are not inputs of the program that is loaded.
      if (!messageOf(error).includes("Unsupported data type")) throw error;
    },
  );
  return new Uint8Array(await readFile(path));
}

/** Runs a program without inputs, and writes its output here, so that no other thread has it in memory. */
async function fold(request: Extract<Request, { readonly op: "fold" }>): Promise<string> {
  const { model, settings, output, dtype, shape, path } = request;
  const session = await native.InferenceSession.create(model, options(settings));
  try {
    requireReadable(session.outputMetadata, [output]);
    const { [output]: fetched } = await session.run({}, [output]);
    const tensor = fetched && fromOrt(output, fetched);
    if (
      !tensor ||
      tensor.dtype === "string" ||
      tensor.dtype !== dtype ||
      tensor.shape.join() !== shape.join()
    )
      throw new EngineError("engine", `Cannot fold a constant: it is not ${dtype} [${shape.join(", ")}]`);
    const hash = createHash("sha256");
    const file = await open(path, "wx", 0o600);
    try {
      for (let at = 0; at < tensor.bytes.byteLength; ) {
        const chunk = tensor.bytes.subarray(at, at + CHUNK);
        const { bytesWritten } = await file.write(chunk, 0, chunk.byteLength, at);
        hash.update(chunk.subarray(0, bytesWritten));
        at += bytesWritten;
      }
    } finally {
      await file.close();
    }
    return hash.digest("hex");
  } finally {
    await session.release();
  }
}

async function inTemporaryFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), "tare-compile-"));
  try {
    return await work(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function outputsOf(model: Uint8Array, settings: CreateSettings): Promise<Port[]> {
  const session = await native.InferenceSession.create(model, options(settings));
  const ports = session.outputMetadata.map(({ name, isTensor, type, shape = [] }): Port => {
    const dtype = type === "string" || (type !== undefined && isDType(type)) ? type : undefined;
    // An unknown dimension is empty or negative. An empty shape may be a scalar or an unknown rank: assume unknown.
    const dims = shape.map((dim) => (dim === "" || Number(dim) < 0 ? undefined : dim));
    return { name, dtype: isTensor ? dtype : undefined, shape: dims.length > 0 ? dims : undefined };
  });
  await session.release();
  return ports;
}

/** Holds tensors for a session. Does not copy transferred memory. */
function hold(id: number, tensors: Readonly<Record<string, NumberTensor | undefined>>): void {
  const all = held.get(id);
  if (!all) throw new EngineError("released", "Cannot change the weights of a session that was released");
  const made = Object.entries(tensors).map(([name, tensor]) => {
    return [name, tensor && toOrt(native, name, tensor, false)] as const;
  });
  for (const [name, tensor] of made) {
    if (tensor) all.set(name, tensor);
    else all.delete(name);
  }
}

async function run(id: number, inputs: Tensors, outputs: readonly string[] | undefined): Promise<Tensors> {
  const session = sessions.get(id);
  if (!session) throw new EngineError("released", "Cannot run a session that was released");
  const wanted = outputs ?? session.outputNames;
  requireReadable(session.outputMetadata, wanted);
  const feeds = Object.fromEntries(
    Object.entries(inputs).map(([name, tensor]) => [name, toOrt(native, name, tensor)]),
  );
  for (const [name, tensor] of held.get(id) ?? [])
    if (session.inputNames.includes(name)) feeds[name] = tensor;
  const fetched = await session.run(feeds, wanted);
  return Object.fromEntries(Object.entries(fetched).map(([name, tensor]) => [name, fromOrt(name, tensor)]));
}

function options(settings: CreateSettings, extra?: Readonly<Record<string, string>>): OrtSessionOptions {
  return {
    graphOptimizationLevel: settings.level,
    logSeverityLevel: 4,
    ...(settings.threads > 0 && { intraOpNumThreads: settings.threads }),
    extra: {
      session: {
        disable_prepacking: settings.prepack ? "0" : "1",
        "intra_op.allow_spinning": settings.spinning ? "1" : "0",
        ...(settings.folder !== undefined && {
          model_external_initializers_file_folder_path: settings.folder,
        }),
        ...extra,
      },
    },
  };
}

function messageOf(error: unknown): string {
  return `ONNX Runtime: ${error instanceof Error ? error.message : String(error)}`;
}
