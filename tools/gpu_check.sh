#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs every GPU test and benchmark on a machine with a GPU and leaves dated JSON, each half in less than ten minutes.
#
#   tools/gpu_check.sh [RESULTS [tests|benchmarks|all]]
#
# RESULTS: folder for logs and JSON; build/gpu-results if left out.
# Uses build/gpu-bundle if it is there (tools/gpu_bundle.sh packs it elsewhere), and builds release-cuda otherwise.
# ONEBEAT_BENCHMARKS names some of the benchmarks, ONEBEAT_DEVICE another device than cuda:0.
# `tools/benchmark_tables.py use bench/results/FILE...` then puts what is kept of it into docs/benchmarks.md.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

results=${1:-build/gpu-results}
part=${2:-all}
case $part in tests | benchmarks | all) ;; *) echo "gpu_check.sh: '$part' is neither tests, benchmarks nor all" >&2; exit 2 ;; esac
device=${ONEBEAT_DEVICE:-cuda:0}
deadline=570
mkdir -p "$results"
results=$(cd "$results" && pwd)
if [ -d build/gpu-bundle ]; then
  root=build/gpu-bundle
  export LD_LIBRARY_PATH="$PWD/$root/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
  hash=$(cat "$root/source_hash")
  commit=$(cat "$root/commit" 2>/dev/null || echo unknown)
else
  cmake --preset release-cuda >"$results/build.log" 2>&1 && cmake --build --preset release-cuda >>"$results/build.log" 2>&1 ||
    { tail -n 20 "$results/build.log"; exit 1; }
  root=build/release-cuda
  hash=$(python3 tools/check_results.py hash)
  commit=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
  SECONDS=0
fi
chmod -R u+x "$root"/bin "$root"/tests
failures=0
passed=0

say() { printf '\n== %s (%ss)\n' "$1" "$SECONDS"; }
left() { # left MOST: seconds that a command may take, at most MOST
  local seconds=$((deadline - SECONDS))
  echo $((seconds < 1 ? 1 : seconds < $1 ? seconds : $1))
}
check() { # check NAME COMMAND...: one test program; its log is kept, its end is shown if it fails
  local name=$1 begin=$SECONDS; shift
  if timeout "$(left 240)" "$@" >"$results/$name.log" 2>&1 && ! grep -q 'no GPU:' "$results/$name.log"; then
    passed=$((passed + 1))
    grep -E '^\[  PASSED  \]|^\[  SKIPPED \] [0-9]' "$results/$name.log" | tr '\n' ' ' | sed "s/^/  $name ($((SECONDS - begin))s): /"; echo
  else
    failures=$((failures + 1)); echo "  $name FAILED ($((SECONDS - begin))s)"
    grep -E 'no GPU|Failure|FAILED|rror|xpected|ctual' "$results/$name.log" | cut -c1-200 | head -n 12
  fi
}

run_tests() {
  say "tests of $commit, CUDA sources $hash"
  for test in "$root"/tests/*cuda*; do check "$(basename "$test")" "$test"; done

  command -v compute-sanitizer >/dev/null || return 0
  say "compute-sanitizer memcheck"
  filter='*Sanitizer*:FaultyStep*:*InEveryLayout*:CudaDeviceTest*:*FaultyLengths*:NarrowTablesCuda.Faults*:DraftExpandCuda.Numbers*'
  for test in "$root"/tests/*cuda*; do
    "$test" --gtest_list_tests --gtest_filter="$filter" | grep -q '^ ' || continue
    check "memcheck_$(basename "$test")" compute-sanitizer --report-api-errors no --error-exitcode 9 "$test" --gtest_filter="$filter"
  done
}

run_benchmarks() {
  say "benchmarks of $commit, CUDA sources $hash"
  for what in ${ONEBEAT_BENCHMARKS:-limits isolated prepare step-attention attention fp8 heads irregular rows linear prefill}; do
    case $what in
      isolated) command=("$root/bin/onebeat" bench prepare --set isolated --device "$device" --format json)
        if [ "$device" = cuda:0 ] && python3 -c 'import torch, triton' 2>/dev/null; then
          command=(python3 bench/peers/isolated_metadata.py "$root/bin/onebeat")  # beside its peers
        fi ;;
      fp8) command=("$root/bin/onebeat" bench attention --kv-type fp8 --device "$device" --format json) ;;
      heads) command=("$root/bin/onebeat" bench attention --set heads --device "$device" --format json) ;;
      irregular) command=("$root/bin/onebeat" bench attention --set irregular --device "$device" --format json) ;;
      prefill) command=("$root/bin/onebeat" bench attention --prefill --device "$device" --format json)
        if [ "$device" = cuda:0 ] && python3 -c 'import torch' 2>/dev/null; then
          command=(python3 bench/peers/prefill_attention.py "$root/bin/onebeat")  # beside its peers
        fi ;;
      rows) command=("$root/bin/onebeat" bench attention --set rows --variant mma,wgmma --device "$device" --format json) ;;
      *) command=("$root/bin/onebeat" bench "$what" --device "$device" --format json) ;;
    esac
    out="$results/$(date -u +%F)-$what-gpu.json"
    begin=$SECONDS
    if timeout "$(left 150)" "${command[@]}" >"$out" 2>"$results/$what.err" &&
      python3 tools/gpu_result.py "$out" "$hash" "$commit"; then
      passed=$((passed + 1)); echo "    $((SECONDS - begin))s"
    else
      failures=$((failures + 1)); rm -f "$out"; echo "  bench $what FAILED ($((SECONDS - begin))s): $(tail -n 1 "$results/$what.err")"
    fi
  done
}

[ "$part" = benchmarks ] || run_tests
[ "$part" = tests ] || run_benchmarks

printf '\n%d passed, %d failed (%ss)\n' "$passed" "$failures" "$SECONDS"
[ "$failures" -eq 0 ]
