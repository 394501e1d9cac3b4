/** Greedy text from a character model in two graphs: `decoder` for the prompt, `decoder_with_past` for the rest. */

/**
 * @param {(method: string, inputs: Record<string, object>) => Promise<Record<string, object>>} run
 * @param {readonly number[]} prompt token ids
 * @param {number} count tokens to add
 * @returns {Promise<number[]>} the tokens added
 */
export async function generate(run, prompt, count) {
  const tokens = [];
  let outputs = await run("decoder", { input_ids: ids(prompt) });
  for (;;) {
    const token = likeliest(outputs.logits);
    tokens.push(token);
    if (tokens.length === count) return tokens;
    const past = Object.fromEntries(
      Object.entries(outputs)
        .filter(([name]) => name.startsWith("present."))
        .map(([name, tensor]) => [name.replace("present.", "past."), tensor]),
    );
    outputs = await run("decoder_with_past", { input_ids: ids([token]), ...past });
  }
}

/** Token ids as an int64 tensor [1, length]. */
function ids(tokens) {
  const bytes = new Uint8Array(BigInt64Array.from(tokens, BigInt).buffer);
  return { dtype: "int64", shape: [1, tokens.length], bytes };
}

/** Index of the largest logit of the last position. */
function likeliest({ shape, bytes }) {
  const vocabulary = shape.at(-1);
  const last = new Float32Array(bytes.slice(bytes.byteLength - vocabulary * 4).buffer);
  return last.indexOf(last.reduce((most, value) => Math.max(most, value)));
}
