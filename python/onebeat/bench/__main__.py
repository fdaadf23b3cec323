# SPDX-License-Identifier: Apache-2.0
"""``python -m onebeat.bench attention|metadata|step``"""

from __future__ import annotations

import argparse
import datetime
import json
import pathlib
import re
import sys
from typing import Any

import onebeat
from onebeat.bench import attention, metadata, report
from onebeat.bench.arrays import arrays_on
from onebeat.bench.measure import measure
from onebeat.bench.workload import make_workload

_CANDIDATES = {
    "attention": attention.attention_candidates,
    "metadata": metadata.metadata_candidates,
    "step": attention.step_candidates,
}


def main(arguments: list[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    heads, kv_heads = _heads(parser, options.heads)
    if options.device == "auto":
        options.device = "cuda" if _has_gpu() else "cpu"
    try:
        result = _run(options, heads, kv_heads)
        if options.plot:
            report.plot(result, options.plot)
    except onebeat.OnebeatError as error:
        print(f"onebeat.bench: {error}", file=sys.stderr)
        return 1
    text = json.dumps(result, indent=1)
    if options.output:
        pathlib.Path(options.output).write_text(text + "\n", encoding="utf-8")
    print(text if options.format == "json" else report.table(result))
    return 1 if any(row.get("agrees") is False for case in result["cases"] for row in case["rows"]) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m onebeat.bench", formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        description="Measures Onebeat beside peers in one process, on the same buffers, in turns. Exits with 1 if a "
                    "candidate's result is not ours.")
    parser.add_argument("what", choices=sorted(_CANDIDATES),
                        help="attention: of one layer; metadata: lengths, sums and page tables; step: both, all layers")
    parser.add_argument("--device", default="auto", type=_device, help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--batch", type=_positive, default=32, help="requests in a step")
    parser.add_argument("--contexts", default="1024,4096", help="tokens of each request; a case for each number")
    parser.add_argument("--heads", default="32/8", help="query heads / KV heads")
    parser.add_argument("--head-dim", type=_positive, default=128)
    parser.add_argument("--page", type=_positive, default=16, help="tokens in a page")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float16", "float32"])
    parser.add_argument("--layers", type=_positive, help="without it as many as a GPU's cache does not hold, on the "
                                                         "CPU one; for step 32 and 4")
    parser.add_argument("--repeats", type=_positive, default=20)
    parser.add_argument("--threads", type=_positive, help="of the CPU executor; without it one for each processor")
    parser.add_argument("--read-limit", type=float, help="GB/s; without it a measured one")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--format", choices=["text", "json"], default="text")
    parser.add_argument("-o", "--output", help="also writes JSON to this file")
    parser.add_argument("--plot", help="draws to this file (needs matplotlib)")
    return parser


def _run(options: argparse.Namespace, heads: int, kv_heads: int) -> dict[str, Any]:
    if options.threads:
        onebeat.set_num_threads(options.threads)
    arrays = arrays_on(options.device, options.seed)
    layers = options.layers
    if layers is None and options.what == "step":
        layers = 4 if options.device == "cpu" else 32
    if options.what == "metadata":
        layers = 1
    result: dict[str, Any] = {
        "command": options.what,
        "version": onebeat.__version__,
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M"),
        "facts": arrays.facts(),
        "parameters": {"batch": options.batch, "heads": heads, "kv_heads": kv_heads, "head_dim": options.head_dim,
                       "page": options.page, "dtype": options.dtype, "repeats": options.repeats, "seed": options.seed},
        "cases": [],
        "absent": {},
    }
    if options.what != "metadata":
        result["read_limit_gb_s"] = options.read_limit or arrays.read_gigabytes_per_second()
    for context in _contexts(options.contexts):
        work = make_workload(arrays, [context] * options.batch, heads=heads, kv_heads=kv_heads,
                             head_dim=options.head_dim, page=options.page, dtype=options.dtype, layers=layers)
        candidates, absent = _CANDIDATES[options.what](work)
        rows = measure(arrays, candidates, options.repeats)
        layer_bytes = work.bytes_of_layer() * (work.layers if options.what == "step" else 1)
        for row in rows:
            if "us" in row and "read_limit_gb_s" in result:
                row["share"] = layer_bytes / row["us"] / 1e3 / result["read_limit_gb_s"]
        result["cases"].append({"context": context, "requests": options.batch, "layers": work.layers,
                                "bytes": layer_bytes, "rows": rows})
        result["absent"].update(absent)
    return result


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not at least 1")
    return value


def _device(text: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", text):
        raise argparse.ArgumentTypeError(f"{text} is none of auto, cpu, cuda, cuda:N")
    return text


def _contexts(text: str) -> list[int]:
    try:
        return [_positive(part) for part in text.split(",")]
    except (ValueError, argparse.ArgumentTypeError) as error:
        raise onebeat.InvalidArgumentError(f"--contexts is {text!r}; it takes numbers of at least 1, such as "
                                           "1024,4096") from error


def _heads(parser: argparse.ArgumentParser, text: str) -> tuple[int, int]:
    try:
        heads, kv_heads = (_positive(part) for part in text.split("/"))
    except (ValueError, argparse.ArgumentTypeError):
        parser.error(f"--heads is {text!r}; it takes query heads / KV heads, such as 32/8")
    return heads, kv_heads


def _has_gpu() -> bool:
    if not onebeat.with_cuda:
        return False
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()


if __name__ == "__main__":
    sys.exit(main())
