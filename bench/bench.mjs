/** `npm run bench`: everything; `npm run bench -- onnx`, `-- llama`, `-- quantized` or `-- refit`: one part. */
const wanted = process.argv.slice(2);
for (const part of ["onnx", "llama", "quantized", "refit"])
  if (wanted.length === 0 || wanted.includes(part)) await import(`./${part}.mjs`);
