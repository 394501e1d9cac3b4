#!/usr/bin/env bash
# Tests against other tools: ONNX's own test vectors, skopeo, Python's onnx, onnxruntime, numpy, safetensors, gguf and IREE,
# mlir-opt of LLVM 19 and 22, a full disk. Installs what is missing, and runs them.
set -euo pipefail
cd "$(dirname "$0")/.."

as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi; }

missing=()
command -v skopeo >/dev/null || missing+=(skopeo)
[ -d /usr/share/libonnx-testdata ] || missing+=(libonnx-testdata)
for llvm in 19 22; do command -v "mlir-opt-$llvm" >/dev/null || missing+=("mlir-$llvm-tools"); done
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
if [ "${#missing[@]}" -gt 0 ]; then
  as_root apt-get update
  as_root apt-get install --yes --no-install-recommends "${missing[@]}"
fi

venv=build/interop/venv
packages=(onnx==1.23.2 onnxruntime==1.30.0 numpy==2.4.6 safetensors==0.8.0 gguf==0.19.0 iree-base-runtime==3.13.0)
# What was installed, and what made the vectors: both are made again when either changes.
stamp="${packages[*]} $(sha256sum test/interop/export_vectors.py | cut -d ' ' -f 1)"
if [ "$(cat "$venv/stamp" 2>/dev/null || true)" != "$stamp" ]; then
  mkdir -p build/interop
  python3 -m venv --clear "$venv"
  "$venv/bin/python" -m pip install --quiet "${packages[@]}"
  "$venv/bin/python" test/interop/export_vectors.py build/interop/vectors
  echo "$stamp" > "$venv/stamp"
fi

npx vitest run --config=vitest.interop.config.ts "$@"
