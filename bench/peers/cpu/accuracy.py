#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""accuracy.py MODEL.gguf GOLDEN.txt [--onebeat FILE] [--threads 2] [--work FOLDER] [--out FILE.json]

How far the answers of llama.cpp and Onebeat are from an fp32 computation on the same dequantised weights
(tools/logits_oracle.py), over all logits at every position of the texts in a golden file, prompts fed at once and the rest
token by token. Prints a table; --out keeps the figures. install.sh builds what it needs; run it with build/peers/venv.
"""

import argparse
import datetime
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import gguf
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[3]
PEERS = ROOT / "build/peers"
sys.path.insert(0, str(ROOT / "tools"))
import logits_oracle  # noqa: E402

TEXTS = 20
CLEAR = 1.0


def read_texts(golden):
    """(prompt, continuation but its last token) of the golden file's short texts."""
    texts, ids = [], None
    for line in pathlib.Path(golden).read_text(encoding="utf-8").splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "ids":
            ids = [int(i) for i in rest.split()]
        if kind == "tokens":
            texts.append((ids, [int(i) for i in rest.split()][:-1]))
    return texts[:TEXTS]


def log_softmax(rows):
    rows = rows - rows.max(axis=-1, keepdims=True)
    return rows - np.log(np.exp(rows).sum(axis=-1, keepdims=True))


class Distance:
    """Of a program's logits from the right ones."""

    def __init__(self):
        self.kl, self.difference, self.clear, self.clear_wrong, self.same, self.squares = [], 0.0, 0, 0, 0, 0.0

    def add(self, right, found):
        p, q = log_softmax(right), log_softmax(found)
        self.kl += (np.exp(p) * (p - q)).sum(axis=-1).tolist()
        delta = found - right
        self.difference = max(self.difference, float(np.abs(delta).max()))
        self.squares += float(np.square(delta).mean(axis=-1).sum())
        best = np.partition(right, -2, axis=-1)[:, -2:]
        clear = best[:, 1] - best[:, 0] > CLEAR
        same = right.argmax(axis=-1) == found.argmax(axis=-1)
        self.clear += int(clear.sum())
        self.clear_wrong += int((clear & ~same).sum())
        self.same += int(same.sum())

    def figures(self):
        count = len(self.kl)
        return {"positions": count, "kl_mean": float(np.mean(self.kl)), "kl_largest": float(np.max(self.kl)),
                "largest_difference": self.difference, "rms_difference": float(np.sqrt(self.squares / count)),
                "same_top": self.same / count, "clear_positions": self.clear, "clear_top_differs": self.clear_wrong}


def run(command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{command[0]} ended with {done.returncode}: {done.stderr[-500:]}")
    return done.stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("golden")
    parser.add_argument("--onebeat", default=ROOT / "build/release/bin/onebeat")
    parser.add_argument("--llama", default=PEERS / "llama.cpp-src/llama.cpp/build/bin/llama-logits")
    parser.add_argument("--threads", default=2, type=int)
    parser.add_argument("--work", help="folder for the logits, about 2 GB; without it a temporary one")
    parser.add_argument("--out")
    options = parser.parse_args()

    texts = read_texts(options.golden)
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        work = pathlib.Path(folder)
        lines = [" ".join(map(str, [len(prompt)] + prompt + rest)) for prompt, rest in texts]
        (work / "tokens").write_text("\n".join(lines) + "\n", encoding="ascii")
        facts = {}
        for name, compute in (("onebeat --compute f32", "f32"), ("onebeat", "auto")):
            facts = json.loads(run([options.onebeat, "bench", "logits", "-m", options.model, "--tokens", work / "tokens", "--out",
                                    work / name, "--compute", compute, "--threads", options.threads]))
        run([options.llama, options.model, work / "tokens", work / "llama.cpp", options.threads])
        programs = {name: Distance() for name in ("llama.cpp", "onebeat", "onebeat --compute f32")}
        answers = {name: np.memmap(work / name, np.float32, "r").reshape(-1, facts["vocabulary"]) for name in programs}

        reader = gguf.GGUFReader(options.model)
        model = logits_oracle.Model(reader)
        begin = 0
        for prompt, rest in texts:
            right = model.forward([prompt + rest], [model.empty_cache()])[0].astype(np.float64)
            for name, distance in programs.items():
                distance.add(right, answers[name][begin:begin + len(right)].astype(np.float64))
            begin += len(right)
        assert begin == facts["rows"] == len(answers["llama.cpp"])

    version = pathlib.Path(options.llama).resolve().parents[3] / "VERSION"
    result = {"bench": "accuracy", "device": "cpu", "date": datetime.date.today().isoformat(), "texts": len(texts),
              "file": os.path.basename(options.model), "version": facts["version"], "isa": facts["isa"],
              "threads": options.threads, "llama.cpp": version.read_text().strip(), "clear_margin": CLEAR,
              "results": {name: distance.figures() for name, distance in programs.items()}}
    if options.out:
        pathlib.Path(options.out).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print("| | KL, mean | KL, largest | difference, largest | difference, rms | same top token | of clear ones other |")
    print("|---|---|---|---|---|---|---|")
    for name, f in result["results"].items():
        print(f"| {name} | {f['kl_mean']:.6f} | {f['kl_largest']:.4f} | {f['largest_difference']:.5f} | "
              f"{f['rms_difference']:.5f} | {f['same_top']:.4f} | {f['clear_top_differs']} of {f['clear_positions']} |")


if __name__ == "__main__":
    main()
