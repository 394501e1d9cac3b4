import { defineConfig, type ViteUserConfig } from "vitest/config";

const config: ViteUserConfig = defineConfig({
  resolve: {
    // Tests name the sources and run what is shipped: worker threads load compiled files.
    alias: [{ find: /^((?:\.\.\/)+)src\/(.*)\.ts$/, replacement: "$1dist/$2.js" }],
  },
  test: {
    include: ["test/**/*.test.ts"],
    testTimeout: 60_000,
    hookTimeout: 120_000,
  },
});

export default config;
