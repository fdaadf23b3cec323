#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs every GPU test and benchmark on a machine with a GPU, in one call of under ten minutes, and leaves dated JSON.
#
#   tools/gpu_check.sh [RESULTS]     RESULTS: folder for logs and JSON; build/gpu-results if left out
#
# Uses build/gpu-bundle if it is there (tools/gpu_bundle.sh packs it elsewhere), and builds release-cuda otherwise.
set -uo pipefail
cd "$(dirname "$0")/.."

results=${1:-build/gpu-results}
device=${ONEBEAT_DEVICE:-cuda:0}
mkdir -p "$results"
results=$(cd "$results" && pwd)
if [ -d build/gpu-bundle ]; then
  root=build/gpu-bundle
  export LD_LIBRARY_PATH="$PWD/$root/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
  hash=$(cat "$root/source_hash")
else
  cmake --preset release-cuda >"$results/build.log" 2>&1 && cmake --build --preset release-cuda >>"$results/build.log" 2>&1 ||
    { tail -n 20 "$results/build.log"; exit 1; }
  root=build/release-cuda
  hash=$(python3 tools/check_results.py hash)
fi
chmod -R u+x "$root"/bin "$root"/tests
failures=0
passed=0

say() { printf '\n== %s (%ss)\n' "$1" "$SECONDS"; }
check() { # check NAME COMMAND...: one test program; its log is kept, its end is shown if it fails
  local name=$1; shift
  if timeout 300 "$@" >"$results/$name.log" 2>&1; then
    passed=$((passed + 1)); tail -n 1 "$results/$name.log" | sed "s/^/  $name: /"
  else
    failures=$((failures + 1)); echo "  $name FAILED"; grep -E 'Failure|FAILED|rror|expected|actual' "$results/$name.log" | head -n 12
  fi
}

say tests
for test in "$root"/tests/*cuda*; do check "$(basename "$test")" "$test"; done

if command -v compute-sanitizer >/dev/null; then
  say "compute-sanitizer memcheck"
  for test in "$root"/tests/*cuda*; do
    check "memcheck_$(basename "$test")" compute-sanitizer --report-api-errors no --error-exitcode 9 "$test" --gtest_filter='*Sanitizer*:FaultyStep*:*InEveryLayout*:CudaDeviceTest*'
  done
fi

say benchmarks
for what in ${ONEBEAT_BENCHMARKS:-limits prepare attention}; do
  out="$results/$(date -u +%F)-$what-gpu.json"
  if timeout 240 "$root/bin/onebeat" bench "$what" --device "$device" --format json >"$out" 2>"$results/$what.err"; then
    python3 - "$out" "$hash" <<'PY'
import json, sys
path, sources = sys.argv[1:]
result = json.load(open(path))
result["cuda_sources"] = sources
json.dump(result, open(path, "w"), indent=1)
print(f"  {path}")
PY
  else
    failures=$((failures + 1)); echo "  bench $what FAILED: $(tail -n 1 "$results/$what.err")"
  fi
done

printf '\n%d passed, %d failed\n' "$passed" "$failures"
[ "$failures" -eq 0 ]
