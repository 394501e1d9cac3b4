import { availableParallelism } from "node:os";
import { defineConfig, type ViteUserConfig } from "vitest/config";
import ordinary from "./vitest.config.ts";

/**
 * The campaign: at least 100,000 cases of each format. `TARE_FUZZ_CASES` says another number, `TARE_FUZZ_SEED` other
 * cases, and `TARE_FUZZ_CASE` only one of them.
 */
const config: ViteUserConfig = defineConfig({
  ...(ordinary.resolve && { resolve: ordinary.resolve }),
  test: {
    include: ["test/fuzz/**/*.test.ts"],
    globalSetup: ordinary.test?.globalSetup ?? [],
    tags: ordinary.test?.tags ?? [],
    server: ordinary.test?.server ?? {},
    env: { TARE_TESTS: "all", TARE_FUZZ_CASES: process.env.TARE_FUZZ_CASES ?? "100000" },
    // What hangs is found by a watchdog, which says at which case.
    testTimeout: 3_600_000,
    maxWorkers: availableParallelism(),
  },
});

export default config;
