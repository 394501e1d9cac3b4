/**
 * sha256 of the weights of `base` with the fortune LoRA merged into them, as PyTorch and NumPy wrote them
 * (base + alpha / rank · B · A in float32, rounded to float16 once).
 */
export const FORTUNE_SHA256: Readonly<Record<string, string>> = {
  "blk.0.attn_q.weight": "1671b1c1e75072212c356ba5b82b7772cbcd81a94352c3d7912baaaa31f889ee",
  "blk.0.attn_v.weight": "93674cee85c19785614ac06a6c969293c4c6d9ac827df6cfb7c5b66fa12211a8",
  "blk.0.ffn_up.weight": "3605df4d0db4f88ee82e1a55098dd47558ae2fe5ba292d9c8a5f960bcfd022d3",
  "blk.0.ffn_down.weight": "a6bb2fe059424805f205cd45d2b91a28b8a5c0f0eda13a4850d8b4bedfff8938",
  "blk.1.attn_q.weight": "0385fb25ed029a04a82e73ce9d4a2fb876b7ba99c0b6ac08ee751adcea1ba007",
  "blk.1.attn_v.weight": "407ed398a4a2b289f8b215ad9315531b3d4bfb916930e79e0c9ef26308a3bfb2",
  "blk.1.ffn_up.weight": "50228787e936a39173f8ef0cbcf242c11b777b3369fafffdd12e2d1e921d1e05",
  "blk.1.ffn_down.weight": "4fb1595fb45991b0fa62125765b60ff296f84a36fe1cce6597dce0441dad4d44",
  "blk.2.attn_q.weight": "a3e831720877c806f1750b6390420da257977150fb8019ac99ca35ce3cacee1c",
  "blk.2.attn_v.weight": "1a2fb8cfc031186780b790f282a0b874588082590726122c43b5929d83f5dfcc",
  "blk.2.ffn_up.weight": "7a5f06d56df0266576f594ebd63018eea9601285880072ace07b92d94d8162fe",
  "blk.2.ffn_down.weight": "dd6ebfeb635706a65147a2577306074e9b1e29ac3cb4e0a10ccef28e925ba380",
  "blk.3.attn_q.weight": "d56e9fe0bd6cab2b297e4c02945080861eb8feea3ed7984db95b6d2d1a23b794",
  "blk.3.attn_v.weight": "6378688bb5b73902bb98b4873c7cbda3d70c9ad10973079f0aa960306d7ddf00",
  "blk.3.ffn_up.weight": "8b526139b9ee3e0104999e157fc2d99dd87d3a67afd2e3d1ddc4df338130434a",
  "blk.3.ffn_down.weight": "8c2d319792eb05b0796422498caa5dbbdf17ace34da073a9758c2305e186349e",
  "blk.4.attn_q.weight": "bfbbac352aed396f57dc595182d750a439c4cea655a87ea2b5d09ec008ceefee",
  "blk.4.attn_v.weight": "136d23d352b7072855ca46f467081f337aaf9a5da68bf1315fd42cac08420df9",
  "blk.4.ffn_up.weight": "0d8b3eeadd0f7045954036eb91cf6a63cec7d7bb808963a14c85d7cd924cc414",
  "blk.4.ffn_down.weight": "65bbd64d7599f4bb431777847f6c934b9938642db02b9c1f547f024d550bcbcf",
};

/** Elements where PyTorch summed up in another order, and what it has there: name, index, bits of the float16. */
export const FORTUNE_DIFFERS: readonly (readonly [string, number, number])[] = [
  ["blk.0.ffn_up.weight", 48087, 4324],
  ["blk.0.ffn_up.weight", 98211, 5145],
  ["blk.0.ffn_down.weight", 63480, 8598],
  ["blk.0.ffn_down.weight", 92933, 40281],
  ["blk.1.attn_q.weight", 5569, 474],
  ["blk.1.attn_q.weight", 23525, 4224],
  ["blk.1.ffn_up.weight", 9697, 38170],
  ["blk.1.ffn_up.weight", 9702, 433],
  ["blk.1.ffn_up.weight", 48413, 44358],
  ["blk.1.ffn_up.weight", 49337, 3604],
  ["blk.2.ffn_up.weight", 24226, 44191],
  ["blk.2.ffn_up.weight", 64035, 8638],
  ["blk.2.ffn_down.weight", 56070, 4848],
  ["blk.3.ffn_up.weight", 7866, 36584],
  ["blk.3.ffn_up.weight", 29953, 36785],
  ["blk.3.ffn_up.weight", 68062, 43849],
  ["blk.4.ffn_up.weight", 3364, 2119],
  ["blk.4.ffn_up.weight", 38879, 35478],
  ["blk.4.ffn_up.weight", 58557, 7647],
];
