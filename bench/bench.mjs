/** `npm run bench`: everything; `npm run bench -- onnx` or `-- llama`: one of the engines. */
const wanted = process.argv.slice(2);
for (const part of ["onnx", "llama"])
  if (wanted.length === 0 || wanted.includes(part)) await import(`./${part}.mjs`);
