#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs clang-tidy over the C++ files of a configured build, on all cores. CUDA files are left to nvcc's warnings:
# clang-tidy 14 cannot read the headers of CUDA 13.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:?usage: tools/lint.sh BUILD_FOLDER}

git ls-files 'src/*.cpp' 'apps/*.cpp' 'bench/*.cpp' 'tests/*.cpp' |
  while read -r file; do
    # Only what this build compiles: clang-tidy cannot know the flags of anything else.
    grep -qF "$PWD/$file" "$build/compile_commands.json" && printf '%s\n' "$file"
  done |
  xargs -P "$(nproc)" -n 4 clang-tidy-14 -p "$build" --quiet --warnings-as-errors='*'
printf 'lint: clean\n'
