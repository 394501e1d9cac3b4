/**
 * Compiles the sources unless `dist` has what they give. Processes that ask at once wait for one of them.
 * @returns hash of the sources
 */
export function build(): Promise<string>;
