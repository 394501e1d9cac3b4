import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { defineConfig, type ViteUserConfig } from "vitest/config";

const DIST = fileURLToPath(new URL("dist/", import.meta.url));

/** `npm test`: without the tests that `test/support/speed.ts` calls long. */
const config: ViteUserConfig = defineConfig({
  resolve: {
    // Tests name the sources and run what is shipped: worker threads load compiled files.
    alias: [
      { find: /^((?:\.\.\/)+)src\/(.*)\.ts$/, replacement: "$1dist/$2.js" },
      { find: /^tare$/, replacement: `${DIST}index.js` },
      { find: /^tare\/(.*)$/, replacement: `${DIST}entries/$1.js` },
    ],
  },
  test: {
    include: ["test/**/*.test.ts"],
    globalSetup: ["test/support/prepare.ts"],
    tags: [
      { name: "long", description: "skipped by npm test" },
      { name: "sampled", description: "npm test runs some of its cases" },
    ],
    env: { TARE_TESTS: process.env.TARE_TESTS ?? "quick" },
    testTimeout: 60_000,
    hookTimeout: 120_000,
    maxWorkers: availableParallelism(),
    // Node itself loads what is shipped: transformed for mocks, it starts and runs slower.
    server: { deps: { external: [/\/dist\//] } },
  },
});

export default config;
