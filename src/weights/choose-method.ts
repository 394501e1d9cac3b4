import { LinkError } from "../errors.ts";

/**
 * Finds a method by its name.
 * @param name optional if there is one method
 * @throws LinkError `not-found`, with the names of the methods
 */
export function chooseMethod<T extends { readonly name: string }>(
  model: string,
  methods: readonly T[],
  name: string | undefined,
): T {
  const [first] = methods;
  const found =
    name === undefined && methods.length === 1 ? first : methods.find((each) => each.name === name);
  if (found) return found;
  const what = name === undefined ? "one of the methods" : `method "${name}"`;
  throw new LinkError("not-found", `Cannot find ${what} of "${model}"`, {
    hint: `Name one of the methods: ${methods.map((each) => each.name).join(", ")}`,
  });
}
