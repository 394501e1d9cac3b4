import { parentPort, threadId, workerData } from "node:worker_threads";
import { packError } from "../errors.ts";
import { Ingester } from "./ingest.ts";
import type { IngestJob, IngestSetup } from "./ingest-job.ts";

const ingester = new Ingester(workerData as IngestSetup, threadId);

parentPort?.on("message", (job: IngestJob) => {
  try {
    parentPort?.postMessage({ result: ingester.run(job) });
  } catch (error) {
    parentPort?.postMessage({ error: packError(error) });
  }
});
