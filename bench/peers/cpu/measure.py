#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""measure.py MODEL.gguf [--onebeat FILE] [--threads 1,2] [--rounds 2] [--prefix CMD] [--out FILE.json]

Speed of llama.cpp, ik_llama.cpp (both from build/peers, see install.sh) and Onebeat on this machine's processor, in turns,
so that all of them see the machine at the same time of day. The best of the rounds counts. Prints a table; --out keeps the
figures. --prefix is put before every measured command.
"""

import argparse
import datetime
import json
import os
import pathlib
import shlex
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[3]
PEERS = ROOT / "build/peers"
LLAMA = PEERS / "llama.cpp-src/llama.cpp/build/bin"
PROMPTS = [128, 512]
DEPTHS = [0, 512, 2048]
TOKENS = 48
TOGETHER = 8
CASES = [f"prompt {n}" for n in PROMPTS] + [f"decode at {n}" for n in DEPTHS] + [f"{TOGETHER} at once"]


def run(prefix, command):
    done = subprocess.run(shlex.split(prefix) + [str(c) for c in command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {done.stderr[-500:]}")
    return done.stdout


def joined(numbers):
    return ",".join(str(n) for n in numbers)


def llama_cpp(model, threads, prefix):
    found = {}
    # With and without flash attention: which is faster depends on the context.
    bench = [LLAMA / "llama-bench", "-m", model, "-t", threads, "-r", 1, "-fa", "0,1", "-o", "json"]
    for row in json.loads(run(prefix, bench + ["-p", joined(PROMPTS), "-n", 0])):
        case = f"prompt {row['n_prompt']}"
        found[case] = max(found.get(case, 0), *row["samples_ts"])
    for depth in DEPTHS:
        rows = json.loads(run(prefix, bench + ["-p", 0, "-n", TOKENS, "-d", depth]))
        found[f"decode at {depth}"] = max(speed for row in rows for speed in row["samples_ts"])
    text = run(prefix, [LLAMA / "llama-batched-bench", "-m", model, "-t", threads, "-npp", 16, "-ntg", TOKENS, "-npl", TOGETHER,
                        "-c", 4096, "-fa", "on", "--output-format", "jsonl"])
    line = [line for line in text.splitlines() if line.startswith("{")][-1]
    found[f"{TOGETHER} at once"] = json.loads(line)["speed_tg"]
    return found


def ik_llama_cpp(model, threads, prefix):
    text = run(prefix, [PEERS / "venv/bin/python3", pathlib.Path(__file__).parent / "ik_bench.py", model, threads,
                        joined(PROMPTS), joined(DEPTHS), TOKENS, 2])
    result = json.loads(text.splitlines()[-1])
    found = {f"prompt {n}": speed for n, speed in result["prompt"].items()}
    return found | {f"decode at {n}": speed for n, speed in result["decode"].items()}


def onebeat(program, model, threads, prefix, facts):
    def step(contexts, requests):
        return json.loads(run(prefix, [program, "bench", "step", "-m", model, "--threads", threads, "--contexts",
                                       joined(contexts), "--tokens", TOKENS, "--repeats", 2, "--batch", requests,
                                       "--format", "json"]))

    result = step([max(1, d) for d in DEPTHS] + PROMPTS, 1)
    facts.update({"cpu": result["cpu"], "isa": result["isa"], "version": result["version"], "model": result["model"]})
    found = {}
    for row in result["results"]:
        depth = 0 if row["context"] == 1 else row["context"]
        if depth in DEPTHS:
            found[f"decode at {depth}"] = row["decode_tok_s"]
        if depth in PROMPTS:
            found[f"prompt {depth}"] = max(found.get(f"prompt {depth}", 0), row["prefill_tok_s"])
        if depth == 0:
            found["share of read bandwidth at 0"] = row["share"]
            found["read GB/s"] = result["read_gb_per_s"]
    found[f"{TOGETHER} at once"] = step([16], TOGETHER)["results"][0]["decode_tok_s"]
    return found


def better(a, b):
    """The best of each figure; the share of bandwidth stays with its decode speed."""
    merged = {key: max(a.get(key, 0), b.get(key, 0)) for key in a | b}
    for key in ("share of read bandwidth at 0", "read GB/s"):
        if key in b:
            merged[key] = b[key] if b.get("decode at 0", 0) >= a.get("decode at 0", 0) else a[key]
    return merged


def table(results):
    lines = ["| threads | case | llama.cpp | ik_llama.cpp | onebeat | ratio to the faster |", "|---|---|---|---|---|---|"]
    for row in results:
        speeds = row["tokens_per_second"]
        for case in CASES:
            peers = [speeds[name].get(case) for name in ("llama.cpp", "ik_llama.cpp") if name in speeds]
            ours = speeds["onebeat"][case]
            shown = [f"{p:.0f}" if p else "-" for p in peers] + ["-"] * (2 - len(peers))
            best = max(p for p in peers if p)
            lines.append(f"| {row['threads']} | {case} | {' | '.join(shown)} | {ours:.0f} | {ours / best:.2f} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--onebeat", default=ROOT / "build/release/bin/onebeat")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--prefix", default="")
    parser.add_argument("--without-ik", action="store_true")
    parser.add_argument("--out")
    options = parser.parse_args()
    facts = {"bench": "cpu-peers", "device": "cpu", "date": datetime.date.today().isoformat(),
             "file": os.path.basename(options.model), "llama.cpp": (PEERS / "llama.cpp-src/VERSION").read_text().strip(),
             "rounds": options.rounds, "decode_tokens": TOKENS}
    results = []
    for threads in (int(t) for t in options.threads.split(",")):
        speeds = {}
        for _ in range(options.rounds):
            found = {"llama.cpp": llama_cpp(options.model, threads, options.prefix)}
            if not options.without_ik:
                found["ik_llama.cpp"] = ik_llama_cpp(options.model, threads, options.prefix)
            found["onebeat"] = onebeat(options.onebeat, options.model, threads, options.prefix, facts)
            for name, speed in found.items():
                speeds[name] = better(speeds.get(name, {}), speed)
            print(json.dumps({"threads": threads} | found), file=sys.stderr)
        results.append({"threads": threads, "tokens_per_second": speeds})
    if options.out:
        pathlib.Path(options.out).write_text(json.dumps(facts | {"results": results}, indent=1) + "\n", encoding="utf-8")
    print(table(results))


if __name__ == "__main__":
    main()
