import { LinkError } from "../errors.ts";

/**
 * Finds a method by its name.
 * @param name may be left out where there is one only
 * @throws LinkError `not-found`, naming what there is
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
    hint: `name one of them: ${methods.map((each) => each.name).join(", ")}`,
  });
}
