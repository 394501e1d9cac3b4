import { fileError } from "../node/file-source.ts";

/**
 * Runs a write, and turns system errors into SourceErrors.
 * @param path path of the written file, for errors
 * @throws SourceError `disk-full`, `io`; the errors of `work`
 */
export async function withSystemErrors<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw error instanceof Error && "syscall" in error ? fileError(path, "write", error) : error;
  }
}
