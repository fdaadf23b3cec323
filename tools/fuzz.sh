#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs every fuzz target of a build for some seconds; keeps what it learns in build/corpus.
set -euo pipefail
cd "$(dirname "$0")/.."
targets=${1:?usage: tools/fuzz.sh FOLDER_OF_TARGETS SECONDS}
seconds=${2:?usage: tools/fuzz.sh FOLDER_OF_TARGETS SECONDS}

count=0
for target in "$targets"/*; do
  [ -x "$target" ] || continue
  name=$(basename "$target")
  corpus=build/corpus/$name
  mkdir -p "$corpus"
  printf 'fuzz: %s for %s s\n' "$name" "$seconds"
  seeds=()
  [ -d "tests/fuzz/$name" ] && seeds=("tests/fuzz/$name")
  "$target" -max_total_time="$seconds" -rss_limit_mb=4096 -timeout=20 -print_final_stats=0 -verbosity=0 \
    -artifact_prefix="build/$name-" "$corpus" "${seeds[@]}"
  count=$((count + 1))
done
printf 'fuzz: %s targets found nothing\n' "$count"
[ "$count" -gt 0 ]
