#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Speed of llama.cpp, ik_llama.cpp (both from build/peers, see install.sh) and Onebeat on this machine's processor.

They run in turns, case by case, so that all of them see the machine at the same time of day. Same model file, threads and
KV type (f16), huge pages for all; every peer with and without flash attention, of which the faster in the first round of
the first number of threads goes on; what a process runs first warms it up and does not count. Medians. --prefix is put before every measured command; --out
keeps the figures, also those of a cut-off run.
"""

import argparse
import datetime
import json
import os
import pathlib
import shlex
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[3]
PEERS = ROOT / "build/peers"
LLAMA = PEERS / "llama.cpp-src/llama.cpp/build/bin"
CASES = ["prompt 128", "prompt 512", "decode 0", "decode 512", "decode 2048", "together 8"]
TOKENS = 48
TOGETHER_PROMPT = 16
REPEATS = 2  # of a process, behind what warms it up
# Onebeat asks for huge pages itself. The peers do not; without them some machines read memory at half the speed.
HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}


def run(prefix, command):
    done = subprocess.run(shlex.split(prefix) + [str(c) for c in command], capture_output=True, text=True, check=False,
                          env=os.environ | HUGE_PAGES)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))} ended with {done.returncode}: {done.stderr[-500:]}")
    return done.stdout


class LlamaCpp:
    def __init__(self, flash):
        self.flash = flash

    def speeds(self, options, threads, kind, number):
        common = ["-m", options.model, "-t", threads]
        if kind == "together":
            command = [LLAMA / "llama-batched-bench", *common, "-npp", TOGETHER_PROMPT, "-ntg", TOKENS,
                       "-npl", f"{number},{number}", "-c", 4096, "-fa", "on" if self.flash else "off",
                       "--load-mode", "none", "--output-format", "jsonl"]
            lines = [line for line in run(options.prefix, command).splitlines() if line.startswith("{")]
            return [json.loads(line)["speed_tg"] for line in lines]
        command = [LLAMA / "llama-bench", *common, "-r", REPEATS, "-fa", self.flash, "--load-mode", "none", "-o", "json"]
        command += ["-p", number, "-n", 0] if kind == "prompt" else ["-p", 0, "-n", TOKENS, "-d", number]
        return json.loads(run(options.prefix, command))[0]["samples_ts"]


class IkLlamaCpp:
    def __init__(self, flash):
        self.flash = flash

    def speeds(self, options, threads, kind, number):
        script = pathlib.Path(__file__).parent / "ik_bench.py"
        text = run(options.prefix, [PEERS / "venv/bin/python3", script, options.model, threads, self.flash, kind, number, TOKENS,
                                    REPEATS])
        return json.loads(text.splitlines()[-1])


class Onebeat:
    def __init__(self):
        self.facts = {}
        self.limits = {}  # of the threads: read bandwidth and the share reached, one of each run of decode 0

    def speeds(self, options, threads, kind, number):
        context = TOGETHER_PROMPT if kind == "together" else max(1, number)
        report = json.loads(run(options.prefix, [
            options.onebeat, "bench", "step", "-m", options.model, "--threads", threads, "--contexts", context, "--tokens",
            2 if kind == "prompt" else TOKENS, "--repeats", REPEATS + 1, "--batch", number if kind == "together" else 1,
            "--format", "json"]))
        self.facts = {key: report[key] for key in ("cpu", "isa", "version", "model")}
        row = report["results"][0]
        speeds = row["prefill_runs" if kind == "prompt" else "decode_runs"][1:]
        if (kind, number) == ("decode", 0):
            read = report["read_gb_per_s"]
            share = row["bytes_per_step"] * statistics.median(speeds) / (read * 1e9)
            self.limits.setdefault(threads, []).append({"read_gb_per_s": read, "share": round(share, 3)})
        return speeds


def summary(speeds):
    return {"median": round(statistics.median(speeds), 1), "min": round(min(speeds), 1), "max": round(max(speeds), 1),
            "runs": len(speeds)}


def of_peer(variants):
    """The variant that went on: with flash attention or without."""
    (flash, speeds), = variants.items()
    return summary(speeds) | {"flash_attention": bool(flash)}


def measure_case(options, threads, case, ours, modes):
    """`modes` keeps what went on: the first number of threads decides for all."""
    kind, number = case.split()
    peers = {"llama.cpp": LlamaCpp}
    if not options.without_ik:
        peers["ik_llama.cpp"] = IkLlamaCpp
    found = {name: {flash: [] for flash in modes.get((name, case), [0, 1])} for name in peers}
    own, failures = [], []
    for round_number in range(options.rounds):
        for name, peer in peers.items():
            for flash in list(found[name]):
                try:
                    found[name][flash] += peer(flash).speeds(options, threads, kind, int(number))
                except RuntimeError as error:  # a peer may refuse a case in one of its modes
                    print(error, file=sys.stderr)
                    failures.append(f"{name}, {'with' if flash else 'without'} flash attention")
                    del found[name][flash]
            if round_number == 0 and len(found[name]) == 2:
                del found[name][min(found[name], key=lambda flash: statistics.median(found[name][flash]))]
            modes[name, case] = list(found[name])
        own += ours.speeds(options, threads, kind, int(number))
    speeds = {name: of_peer(variants) for name, variants in found.items() if variants}
    return {"threads": threads, "case": case, "failed": failures,
            "tokens_per_second": speeds | {"onebeat": summary(own)}}


def commit():
    def git(*arguments):
        return subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True, check=True).stdout.strip()
    return git("rev-parse", "HEAD") + ("-dirty" if git("status", "--porcelain", "--", "src", "apps", "include") else "")


def line_of(row):
    speeds = row["tokens_per_second"]
    best = max(speed["median"] for name, speed in speeds.items() if name != "onebeat")
    shown = ", ".join(f"{name} {speed['median']:.0f} ({speed['min']:.0f} to {speed['max']:.0f})" for name, speed in speeds.items())
    return f"{row['threads']} threads, {row['case']}: {shown}; ratio to the faster {speeds['onebeat']['median'] / best:.2f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--onebeat", type=pathlib.Path, default=ROOT / "build/release/bin/onebeat")
    parser.add_argument("--threads", default="2,1")
    parser.add_argument("--cases", default=",".join(CASES), help="comma between them; all: %(default)s")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prefix", default="")
    parser.add_argument("--without-ik", action="store_true")
    parser.add_argument("--out", type=pathlib.Path)
    options = parser.parse_args()
    cases = options.cases.split(",")
    if unknown := set(cases) - set(CASES):
        parser.error(f"no case {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
    ours, modes = Onebeat(), {}
    result = {"bench": "cpu-peers", "device": "cpu", "date": datetime.date.today().isoformat(), "commit": commit(),
              "file": options.model.name, "llama.cpp": (PEERS / "llama.cpp-src/VERSION").read_text().strip(),
              "ik_llama.cpp": (PEERS / "venv/VERSION").read_text().strip(), "kv": "f16", "rounds": options.rounds,
              "decode_tokens": TOKENS, "rows": [], "limits": []}
    for threads in (int(t) for t in options.threads.split(",")):
        for case in cases:
            result["rows"].append(measure_case(options, threads, case, ours, modes))
            result |= ours.facts
            result["limits"] = [{"threads": t, "read_gb_per_s": statistics.median(r["read_gb_per_s"] for r in runs),
                                 "share": statistics.median(r["share"] for r in runs)} for t, runs in ours.limits.items()]
            if options.out:
                options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
            print(line_of(result["rows"][-1]), flush=True)
    for limit in result["limits"]:
        print(f"{limit['threads']} threads read {limit['read_gb_per_s']:.1f} GB/s; decode 0 reached {limit['share']:.2f} of it")


if __name__ == "__main__":
    sys.exit(main())
