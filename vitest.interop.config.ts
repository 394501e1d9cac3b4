import { defineConfig, type ViteUserConfig } from "vitest/config";
import ordinary from "./vitest.config.ts";

/** Tests that need other tools: `scripts/interop.sh` installs those and runs this. */
const config: ViteUserConfig = defineConfig({
  ...(ordinary.resolve && { resolve: ordinary.resolve }),
  test: {
    include: ["test/interop/**/*.interop.ts"],
    globalSetup: ordinary.test?.globalSetup ?? [],
    tags: ordinary.test?.tags ?? [],
    server: ordinary.test?.server ?? {},
    env: { TARE_TESTS: "all" },
    testTimeout: 300_000,
    hookTimeout: 120_000,
  },
});

export default config;
