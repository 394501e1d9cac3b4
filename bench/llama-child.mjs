/**
 * One side of the GGUF measurements in a process of its own: `llama-child.mjs stock` is node-llama-cpp over plain files,
 * `llama-child.mjs tare STORE` is tare over its store. Does what its parent asks, one thing at a time.
 */
import { readFileSync, readdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import { describeModel, merge, openRuntime, openStore } from "tare";

const PROMPT = "and he said";
// Without it the library takes more threads than there are cores, which is many times slower.
const threads = availableParallelism();
const contextSize = 512;

const [, , who, path] = process.argv;
const side = who === "stock" ? await openStock() : await openTare();
const common = {
  /** PSS of this process and of those it started. */
  memory() {
    globalThis.gc?.();
    return [process.pid, ...childrenOf(process.pid)].reduce((sum, pid) => sum + pss(pid), 0);
  },
};
process.on("message", async ({ op, args }) => {
  try {
    process.send({ result: await { ...common, ...side }[op](...args) });
  } catch (error) {
    process.send({ error: error.stack });
  }
});
process.send({ result: "ready" });

/** Models are files. */
async function openStock() {
  const { getLlama, LlamaCompletion } = await import("node-llama-cpp");
  const llama = await getLlama({
    build: "never",
    gpu: false,
    maxThreads: threads,
    logLevel: "error",
    progressLogs: false,
    skipDownload: true,
  });
  const loaded = new Map();
  const load = async (file) => {
    const model = await llama.loadModel({ modelPath: file, useMmap: true, ignoreMemorySafetyChecks: true });
    const context = await model.createContext({
      contextSize,
      threads,
      ignoreMemorySafetyChecks: true,
      failedCreationRemedy: false,
    });
    loaded.set(file, { model, context, sequence: context.getSequence() });
  };
  const release = async (file) => {
    const { model, context } = loaded.get(file);
    loaded.delete(file);
    await context.dispose();
    await model.dispose();
  };
  const generate = async (file, maxTokens) => {
    const { model, sequence } = loaded.get(file);
    const completion = new LlamaCompletion({ contextSequence: sequence });
    const tokens = [];
    const began = performance.now();
    // As tare has it: the text as it stands, and the likeliest token each time.
    await completion.generateCompletion(model.tokenize(PROMPT, true), {
      maxTokens,
      temperature: 0,
      repeatPenalty: false,
      onToken: (ids) => void tokens.push(...ids),
    });
    const seconds = (performance.now() - began) / 1000;
    completion.dispose({ disposeSequence: false });
    return { rate: tokens.length / seconds, tokens };
  };
  return {
    load: (file) => timed(() => load(file)),
    release: (file) => timed(() => release(file)),
    generate,
    /** Times a swap to another model, and to its first token; the loaded models are released first. */
    async swap(file) {
      const began = performance.now();
      for (const old of loaded.keys()) await release(old);
      await load(file);
      const ready = performance.now() - began;
      await generate(file, 1);
      return { ready, first: performance.now() - began };
    },
    /** From one loaded model to another one's first token. */
    turn: (file) => timed(() => generate(file, 1)),
    end: () => undefined,
  };
}

/** Models are names of the store. */
async function openTare() {
  const store = await openStore({ path });
  const runtime = openRuntime(store);
  const sessions = new Map();
  let texts;
  const optionsOf = (name) => {
    const [model, adapter] = name.split("+");
    return [model, adapter === undefined ? {} : { adapters: [{ model: adapter, scale: 1 }] }];
  };
  const load = async (name) => {
    const [model, adapters] = optionsOf(name);
    sessions.set(name, await runtime.loadText(model, { contextSize, threads, ...adapters }));
  };
  const release = async (name) => {
    await sessions.get(name).release();
    sessions.delete(name);
  };
  return {
    add: (files) => timed(() => store.add(files)),
    merge: (base, adapter, as) => timed(() => merge(store, base, [{ model: adapter, scale: 1 }], { as })),
    show: async (name) => {
      const { weightBytes, ownBytes, digest } = await describeModel(store, name);
      return { weightBytes, ownBytes, digest };
    },
    load: (name) => timed(() => load(name)),
    release: (name) => timed(() => release(name)),
    async generate(name, maxTokens) {
      const session = sessions.get(name);
      const began = performance.now();
      const { tokens } = await session.generate(PROMPT, { maxTokens });
      return { rate: tokens.length / ((performance.now() - began) / 1000), tokens };
    },
    async pool(keep, measure = false) {
      await texts?.[Symbol.asyncDispose]();
      texts = keep === 0 ? undefined : runtime.openTexts({ keep, contextSize, threads, measure });
    },
    async swap(name) {
      const began = performance.now();
      const { session } = await texts.swap(...optionsOf(name));
      const ready = performance.now() - began;
      await session.generate(PROMPT, { maxTokens: 1 });
      return { ready, first: performance.now() - began };
    },
    loaded: () => texts.loaded,
    end: () => runtime[Symbol.asyncDispose](),
  };
}

async function timed(work) {
  const began = performance.now();
  await work();
  return performance.now() - began;
}

function pss(pid) {
  return Number(/^Pss:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "utf8"))[1]) * 1024;
}

function childrenOf(parent) {
  return readdirSync("/proc").filter((name) => {
    if (!/^\d+$/.test(name)) return false;
    try {
      // After the name in brackets: the state, then the parent.
      return readFileSync(`/proc/${name}/stat`, "utf8").split(") ").at(-1).split(" ")[1] === String(parent);
    } catch {
      return false;
    }
  });
}
