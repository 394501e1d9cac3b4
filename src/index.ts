export * from "./errors.ts";
export { defaultStorePath, openStore, TareStore } from "./host/tare-store.ts";
