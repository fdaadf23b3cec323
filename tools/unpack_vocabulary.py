#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes a GGUF file that holds only a tokenizer of tests/golden/tokenizer_deepseek_qwen_vocabulary.xz.

Usage: unpack_vocabulary.py OUT.gguf

The packed text: 256 lines, the characters that stand for the bytes, in the order of their ids; the merges, a line each,
of which each makes the next token; an empty line; the other tokens, as "TYPE TEXT", and "bos_token_id ID" and
"eos_token_id ID". tools/make_spm_golden.py writes it.
"""
import lzma
import struct
import sys
from pathlib import Path

PACKED = Path(__file__).resolve().parent.parent / "tests" / "golden" / "tokenizer_deepseek_qwen_vocabulary.xz"
UINT32, INT32, STRING, ARRAY = 4, 5, 8, 9


def string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def main():
    first, rest = lzma.decompress(PACKED.read_bytes()).decode().split("\n\n", 1)
    lines = first.split("\n")
    tokens, merges = lines[:256], lines[256:]
    tokens += [m.replace(" ", "") for m in merges]
    types = [1] * len(tokens)
    entries = [("general.architecture", STRING, string("qwen2")), ("tokenizer.ggml.model", STRING, string("gpt2")),
               ("tokenizer.ggml.pre", STRING, string("deepseek-r1-qwen"))]
    for line in rest.rstrip("\n").split("\n"):
        kind, text = line.split(" ", 1)
        if kind.isdigit():
            types.append(int(kind))
            tokens.append(text)
        else:
            entries.append((f"tokenizer.ggml.{kind}", UINT32, struct.pack("<I", int(text))))
    strings = lambda texts: struct.pack("<IQ", STRING, len(texts)) + b"".join(map(string, texts))
    entries += [("tokenizer.ggml.tokens", ARRAY, strings(tokens)), ("tokenizer.ggml.merges", ARRAY, strings(merges)),
                ("tokenizer.ggml.token_type", ARRAY, struct.pack(f"<IQ{len(types)}i", INT32, len(types), *types))]
    with open(sys.argv[1], "wb") as out:
        out.write(b"GGUF" + struct.pack("<IQQ", 3, 0, len(entries)))
        for key, kind, value in entries:
            out.write(string(key) + struct.pack("<I", kind) + value)


if __name__ == "__main__":
    main()
