import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parentPort } from "node:worker_threads";
import { EngineError, packError, TareError } from "../../errors.ts";
import type { Tensors } from "../../model/tensor.ts";
import type { OrtNative, OrtSession, OrtSessionOptions } from "./native.ts";
import type { Answers, Call, CreateSettings, Reply, Request } from "./protocol.ts";
import { fromOrt, requireReadable, toOrt } from "./tensors.ts";

// `create` and `run` block the thread they are called on: this one is here to be blocked.
const native = (await import("onnxruntime-node")) as unknown as OrtNative;
const sessions = new Map<number, OrtSession>();
let serial = 0;
// One at a time, in order: a release must not overtake the run before it.
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
      return compile(request.model, request.settings);
    case "load": {
      sessions.set(++serial, await native.InferenceSession.create(request.model, options(request.settings)));
      return serial;
    }
    case "run":
      return run(request.session, request.inputs, request.outputs);
    default: {
      await sessions.get(request.session)?.release();
      sessions.delete(request.session);
      return null;
    }
  }
}

async function compile(model: Uint8Array, settings: CreateSettings): Promise<Uint8Array> {
  const folder = await mkdtemp(join(tmpdir(), "tare-compile-"));
  try {
    const path = join(folder, "optimized.onnx");
    await native.InferenceSession.create(model, { ...options(settings), optimizedModelFilePath: path }).then(
      (session) => session.release(),
      (error: unknown) => {
        // JavaScript has no tensors of bfloat16 and float8, which the session says once it is made: by then the
        // optimized program is written, and weights of these types are not inputs of what is loaded.
        if (!messageOf(error).includes("Unsupported data type")) throw error;
      },
    );
    return new Uint8Array(await readFile(path));
  } finally {
    await rm(folder, { recursive: true, force: true });
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
  const fetched = await session.run(feeds, wanted);
  return Object.fromEntries(Object.entries(fetched).map(([name, tensor]) => [name, fromOrt(name, tensor)]));
}

function options(settings: CreateSettings): OrtSessionOptions {
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
      },
    },
  };
}

function messageOf(error: unknown): string {
  return `ONNX Runtime: ${error instanceof Error ? error.message : String(error)}`;
}
