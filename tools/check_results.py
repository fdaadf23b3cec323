#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Says which GPU results in bench/results/ are older than the CUDA sources that they measured.

check_results.py             a notice for each result whose sources have changed since; always exits with 0
check_results.py hash        prints the hash of today's CUDA sources
check_results.py stamp FILE  writes the hash of today's CUDA sources into a result (JSON object), as "cuda_sources"
"""

import hashlib
import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).parent.parent
KEY = "cuda_sources"


def hash_of_cuda_sources(root):
    """Over the paths and bytes of all CUDA files, and of the shared arithmetic that they include. Tests do not count."""
    patterns = ("src/**/*.cu", "src/**/*.cuh", "src/**/cuda/*", "src/**/*cuda*.cpp", "src/**/*cuda*.h", "src/plan/*.h",
                "src/step/*.h")
    files = [f for pattern in patterns for f in root.glob(pattern)
             if f.is_file() and not re.search(r"_(test|for_test|fixture)$", f.stem)]
    digest = hashlib.sha256()
    for file in sorted(set(files)):
        digest.update(str(file.relative_to(root)).encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


def is_gpu_result(result):
    return isinstance(result, dict) and (KEY in result or "NVIDIA" in str(result.get("device", "")))


def notices(root):
    today = hash_of_cuda_sources(root)
    for file in sorted((root / "bench" / "results").glob("*.json")):
        try:
            result = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            yield f"{file.name} is not JSON: {error}"
            continue
        if is_gpu_result(result) and result.get(KEY) != today:
            yield f"{file.name} was measured with other CUDA sources ({result.get(KEY, 'unknown')}; now {today})"


def stamp(file):
    result = json.loads(file.read_text(encoding="utf-8"))
    result[KEY] = hash_of_cuda_sources(ROOT)
    file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "stamp":
        stamp(pathlib.Path(sys.argv[2]))
    elif sys.argv[1:] == ["hash"]:
        print(hash_of_cuda_sources(ROOT))
    elif len(sys.argv) == 1:
        found = list(notices(ROOT))
        for notice in found:
            print(f"results: notice: {notice}")
        print(f"results: {len(found)} notices")
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
