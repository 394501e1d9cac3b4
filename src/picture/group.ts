/** The part of a model that a weight belongs to, by its name. */
export interface Group {
  /** Equal for all weights of a group. */
  readonly key: string;
  /** Equal for all groups of a series: `blk.0`, `blk.1`, … */
  readonly series: string;
  /** `decoder` of `decoder/blk.0.attn_q.weight`; empty if there is none. */
  readonly method: string;
  /** The last part of the common prefix: `blk`, `token_embd`. */
  readonly stem: string;
  /** `0` of `blk.0`; `undefined` outside a series. */
  readonly index: string | undefined;
}

/**
 * Finds the group of a weight in its name: the prefix up to its first number (`model.layers.12`),
 * else the name without its last part (`token_embd` of `token_embd.weight`) and without the number
 * that an exporter appended (`onnx::MatMul` of `onnx::MatMul_1285`).
 */
export function groupOf(name: string): Group {
  const slash = name.indexOf("/");
  const method = slash < 0 ? "" : name.slice(0, slash);
  const rest = name.slice(slash + 1);
  const layer = /^(.*?)[./](\d+)(?=[./])/s.exec(rest);
  const prefix = layer?.[1] ?? withoutLastPart(rest);
  const index = layer?.[2];
  const series = `${method}/${prefix}`;
  return {
    key: index === undefined ? series : `${series}/${index}`,
    series: index === undefined ? series : `${series}/*`,
    method,
    stem: prefix.slice(Math.max(prefix.lastIndexOf("."), prefix.lastIndexOf("/")) + 1) || prefix,
    index,
  };
}

function withoutLastPart(name: string): string {
  const cut = Math.max(name.lastIndexOf("."), name.lastIndexOf("/"));
  const kept = cut > 0 ? name.slice(0, cut) : name;
  const number = /_\d{1,20}$/.exec(kept);
  return number === null || number.index === 0 ? kept : kept.slice(0, number.index);
}
