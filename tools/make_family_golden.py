#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Computes what the tiny models of tools/make_test_models.py must answer, with Hugging Face's transformers in float32.

    python3 -m venv build/hf && build/hf/bin/pip install torch transformers safetensors numpy
    python3 tools/make_test_models.py build/test_models
    build/hf/bin/python tools/make_family_golden.py build/test_models tests/golden

Writes tests/golden/family_NAME.txt for each folder with a config.json; tests/golden/README.md has the format. The
prompts are ids without a meaning: one short, and one longer than all windows.
"""
import json
import pathlib
import sys

import torch
import transformers

PROMPTS = [[7, 300, 41, 41, 5], [(i * i * 31 + 17 * i + 3) % 440 for i in range(90)]]
TOKENS = 12
TOP, OTHERS = 4, 4


def describe(position, row):
    ids = torch.argsort(row, descending=True, stable=True)[:TOP].tolist()
    ids += [(position * 7919 + k * 12289 + 17) % row.shape[0] for k in range(OTHERS)]
    wide = row.double()
    mean, rms = wide.mean().item(), wide.square().mean().sqrt().item()
    return f"pos {position} mean {mean:.5f} rms {rms:.5f} logits " + " ".join(f"{i}:{row[i]:.4f}" for i in ids)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    models, golden = map(pathlib.Path, sys.argv[1:])
    for folder in sorted(path.parent for path in models.glob("*/config.json")):
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
        model.eval()
        with open(golden / f"family_{folder.name}.txt", "w", encoding="utf-8") as out, torch.no_grad():
            out.write("# Made by tools/make_family_golden.py; see README.md beside this file.\n")
            for number, prompt in enumerate(PROMPTS):
                ids = list(prompt)
                for _ in range(TOKENS):
                    # Without a cache: nothing but the sequence itself decides.
                    logits = model(torch.tensor([ids]), use_cache=False).logits[0]
                    ids.append(int(torch.argmax(logits[-1])))
                rows = logits
                choices = rows[len(prompt) - 1 :].topk(2).values
                margins = (choices[:, 0] - choices[:, 1]).tolist()
                out.write(f"prompt {number} {json.dumps(f'{len(prompt)} ids')}\n")
                out.write("ids " + " ".join(map(str, prompt)) + "\n")
                out.write("tokens " + " ".join(map(str, ids[len(prompt) :])) + "\n")
                out.write("margins " + " ".join(f"{m:.4f}" for m in margins) + "\n")
                for position, row in enumerate(rows):
                    out.write(describe(position, row) + "\n")
        print(folder.name, file=sys.stderr)


if __name__ == "__main__":
    main()
