import { fileError } from "../node/file-source.ts";

/**
 * Runs what writes into a store, and gives errors of the system a type; other errors are thrown on.
 * @param path how errors name what is written
 * @throws SourceError `disk-full`, `io`; what `work` throws
 */
export async function withSystemErrors<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw error instanceof Error && "syscall" in error ? fileError(path, "write", error) : error;
  }
}
