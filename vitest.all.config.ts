import { mergeConfig, type ViteUserConfig } from "vitest/config";
import quick from "./vitest.config.ts";

/** `npm run test:all`: every test, with all of its cases. */
const config: ViteUserConfig = mergeConfig(quick, { test: { env: { TARE_TESTS: "all" } } });

export default config;
