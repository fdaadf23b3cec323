#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Says in a benchmark's JSON what was measured where, names the file for the device, and prints what it says in short.

gpu_result.py FILE HASH COMMIT    HASH: of the CUDA sources; COMMIT: what they were built from
"""

import json
import math
import pathlib
import re
import subprocess
import sys


def device_facts():
    """Driver and clocks as they are; empty without nvidia-smi."""
    fields = ("driver_version", "clocks.sm", "clocks.mem", "clocks.max.sm", "clocks.max.mem")
    try:
        line = subprocess.run(["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"],
                              capture_output=True, text=True, check=True, timeout=20).stdout.splitlines()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return {}
    driver, *clocks = [value.strip() for value in line.split(",")]
    return {"driver_version": driver, "clocks_mhz_after": dict(zip(("sm", "memory", "most_sm", "most_memory"), clocks))}


def mean(values):
    return math.exp(sum(math.log(v) for v in values) / len(values))


def tables_in_short(tables):
    """Dense tables beside the stored peer and a copy, by what limits them; live ones beside dense ones."""
    dense = [row for row in tables if row["contract"] == "dense"]
    live = [row for row in tables if row["contract"] == "live"]
    for launches, key in (("ordinary", "us"), ("chained", "chained_us")):
        if any(key not in row for row in dense):
            continue
        small = [r["peer_us"] / r[key] for r in dense if r["mb"] < 16 and r["requests"] >= 32]
        few = [r["peer_us"] / r[key] for r in dense if r["requests"] < 32]
        large = [r["copy_us"] / r[key] for r in dense if r["mb"] >= 16 and r["page"] == 1 and not r["window"]]
        parts = [f"{launches} launches, dense"]
        for name, ratios in (("stored peer / ours, B >= 32 and < 16 MB", small), ("B < 32", few),
                             ("copy / ours, larger", large)):
            if ratios:
                parts.append(f"{name}: mean {mean(ratios):.2f}, worst {min(ratios):.2f}")
        parts.append(f"{sum(1 for r in dense if r['peer_us'] < r[key])} of {len(dense)} slower than the peer")
        yield "; ".join(parts)
    if live and len(live) == len(dense):
        yield (f"live beside dense: {sum(r['us'] for r in live) / sum(r['us'] for r in dense):.2f} of the time, "
               f"{sum(r['mb'] for r in live) / sum(r['mb'] for r in dense):.2f} of the bytes")


def in_short(result):
    """A few lines."""
    if result.get("set") == "isolated":
        yield ", ".join(f"{row['form']}{' (stored)' if row['stored'] else ''} {row['graph_us']:.2f}" for row in result["rows"])
    elif result["bench"] == "prepare":
        yield "added to a step: " + ", ".join(f"B {r['requests']} {r['added_us']:.2f}" for r in result["step"])
        yield from tables_in_short(result["tables"])
    elif result["bench"] == "prefill-attention":
        ratios = [min(row["peers_us"].values()) / row["us"] for row in result["rows"] if row.get("peers_us")]
        if ratios:
            yield f"fastest peer / ours: mean {mean(ratios):.3f}, worst {min(ratios):.2f}, {len(ratios)} shapes"
        yield f"of {result['matrix_limit_tflops']:.0f} TFLOP/s: " + ", ".join(
            f"{row['batch']} page {row['page']} {row['tflops']:.0f}" for row in result["rows"])
    elif result["bench"] == "limits":
        yield f"reads {result['read_gb_per_s']:.0f} GB/s, copies {result['copy_gb_per_s']:.0f}, node {result['graph_node_us']} us"
    elif result["bench"] == "linear":
        steps = [row for row in result["rows"] if row["product"] == "step"]
        yield "share of the read limit in a step: " + ", ".join(f"M {row['rows']} {row['share']:.3f}" for row in steps)
    else:
        key = "step_us" if result["bench"] == "step-attention" else "us"
        groups = {}
        for row in result["rows"]:
            if row["stored_peer_us"] > 0:
                name = f"{row['heads']}/{row['kv_heads']}/{row['head_dim']} page {row['page']}"
                groups.setdefault(name, []).append(row["stored_peer_us"] / row[key])
        everything = [ratio for ratios in groups.values() for ratio in ratios]
        if everything:
            below = sum(1 for r in everything if r < 0.995)
            yield (f"stored peer / ours: mean {mean(everything):.3f}, {below} of {len(everything)} below 1.00, "
                   f"worst {min(everything):.2f}")
            yield ", ".join(f"{name} {mean(ratios):.2f}" for name, ratios in groups.items())
        else:
            share = [row[key] / (3 + row["ideal_us"] / 0.95) for row in result["rows"]]
            yield f"{len(share)} shapes, time / (3 us + bytes / 0.95): mean {mean(share):.2f}, worst {max(share):.2f}"
        if key == "step_us":
            rows = result["rows"]
            forms = {name: mean([row[f"{name}_us"] / row["step_us"] for row in rows])
                     for name in ("outside", "per_layer", "layers_alone")}
            yield ", ".join(f"{name} {value:.3f}" for name, value in forms.items())


def name_for(file, result):
    """The device's own name in the place of "gpu"."""
    device = re.sub(r"[^a-z0-9]+", "-", result.get("device", "gpu").lower().replace("nvidia", "")).strip("-")
    return file.with_name(re.sub(r"-gpu\.json$", f"-{device or 'gpu'}.json", file.name))


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    file = pathlib.Path(sys.argv[1])
    result = json.loads(file.read_text(encoding="utf-8"))
    result |= device_facts() | {"cuda_sources": sys.argv[2], "commit": sys.argv[3]}
    named = name_for(file, result)
    # A line for each row: short, and its changes can be read.
    text = json.dumps(result, indent=1)
    text = re.sub(r"\{[^{}\[\]]*\}", lambda m: " ".join(m.group().split()), text)
    named.write_text(text + "\n", encoding="utf-8")
    if named != file:
        file.unlink()
    print(f"  {named}")
    for line in in_short(result):
        print(f"    {line}")


if __name__ == "__main__":
    main()
