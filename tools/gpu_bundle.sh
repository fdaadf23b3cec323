#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the CUDA preset and packs what a GPU machine needs to run it into build/gpu-bundle: the command line, the
# tests labelled cuda, and the shared libraries that such a machine may lack. tools/gpu_check.sh runs the bundle there.
set -euo pipefail
cd "$(dirname "$0")/.."

build=build/release-cuda
bundle=build/gpu-bundle
cmake --preset release-cuda >/dev/null
cmake --build --preset release-cuda "$@"

rm -rf "$bundle"
mkdir -p "$bundle/bin" "$bundle/tests" "$bundle/lib"
cp "$build/bin/onebeat" "$bundle/bin/"
ctest --test-dir "$build" -L cuda --show-only=json-v1 |
  python3 -c 'import json, sys
for test in json.load(sys.stdin)["tests"]: print(test["command"][0])' | sort -u |
  while read -r test; do cp "$test" "$bundle/tests/"; done
strip --strip-debug "$bundle"/bin/* "$bundle"/tests/*

# The C library and the driver belong to the machine; everything else travels.
ldd "$bundle"/bin/* "$bundle"/tests/* | awk '/=> \//{print $3}' | sort -u |
  grep -vE '/(libc|libm|libdl|libpthread|librt|ld-linux.*|libcuda)\.so' |
  while read -r library; do cp -L "$library" "$bundle/lib/"; done
python3 tools/check_results.py hash > "$bundle/source_hash"
git rev-parse --short HEAD > "$bundle/commit"
du -sh "$bundle"
