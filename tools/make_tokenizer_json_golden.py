#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Remakes tests/golden/tokenizer_json_*.txt: ids of Hugging Face's `tokenizers` under tiny tokenizer.json files.

    python3 -m venv build/venv && build/venv/bin/pip install tokenizers==0.23.3 gguf
    build/venv/bin/python tools/make_test_models.py build/test_models
    build/venv/bin/python tools/make_tokenizer_json_golden.py build/test_models

The texts are some of tools/make_tokenizer_golden.py's and some with the models' own special tokens; the format is its too.
"""
import sys

import tokenizers
from make_tokenizer_golden import GOLDEN, strings, write

SPECIAL = [
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>", "<|im_start|>user\nThe light<|im_end|>\n",
    "<s>[INST] The keeper [/INST] counted</s>", "<|eot_id|", "<<|im_end|>>", " </s> ", "<|end_of_text|>" * 3, "[INST][/INST]1<s>2",
]


def main():
    valid, invalid = strings()
    texts = [t for t in valid[::4] if len(t) < 300] + SPECIAL
    for family in ("llama", "mistral", "qwen2"):
        tokenizer = tokenizers.Tokenizer.from_file(f"{sys.argv[1]}/{family}/tokenizer.json")
        rows = [("special", t.encode(), tokenizer.encode(t, add_special_tokens=False).ids) for t in texts]
        note = f"Made by tools/make_tokenizer_json_golden.py with tokenizers {tokenizers.__version__}; see there for the format."
        write(GOLDEN / f"tokenizer_json_{family}.txt", [note, f"The tokenizer of the tiny model {family}."], rows)


if __name__ == "__main__":
    main()
