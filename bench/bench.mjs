/** `npm run bench`: everything; `npm run bench -- onnx`, `-- llama`, `-- quantized`, `-- refit` or `-- containers`: one part. */
const wanted = process.argv.slice(2);
for (const part of ["onnx", "llama", "quantized", "refit", "containers"])
  if (wanted.length === 0 || wanted.includes(part)) await import(`./${part}.mjs`);
