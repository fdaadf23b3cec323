#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Computes what a llama-family GGUF file must answer, with numpy alone, and writes it as a golden file.

The weights are dequantised to float32 and every product is a plain float32 matrix product, so the result knows nothing
of quantised dot products, paged caches or plans. For each prompt the script continues greedily and records, at every
position of prompt and continuation, a few logits and two sums over all of them; tests/golden/README.md has the format.

    python3 -m venv build/oracle && build/oracle/bin/pip install gguf numpy tokenizers
    build/oracle/bin/python tools/logits_oracle.py MODEL.gguf -o tests/golden/smollm2_135m_q4_1.txt

With --dump FILE the full logits of one prompt are written too, as float32 rows, to compare all of them at once.
"""
import argparse
import json
import sys

import gguf
import numpy as np

PROMPTS = [
    "The capital of France is",
    "Once upon a time, in a small village by the sea,",
    "def fibonacci(n):\n    ",
    "Water boils at a temperature of",
    "1, 2, 3, 4, 5, 6,",
    "The three primary colours are",
    "Dear Sir or Madam,\n\nI am writing to",
    "Q: What is the largest planet in the solar system?\nA:",
    "Les enfants jouent dans",
    "In 1969, Neil Armstrong became",
    "#include <stdio.h>\n\nint main(void) {\n",
    "Photosynthesis is the process by which",
    "A recipe for pancakes: first, mix",
    "The opposite of hot is",
    "\"To be, or not to be\" is a line from",
    "SELECT name, age FROM users WHERE",
    "El perro y el gato",
    "Gravity is a force that",
    "My favourite season is autumn because the leaves",
    "If x + 3 = 10, then x =",
]


def field(reader, key, default=None):
    entry = reader.get_field(key)
    if entry is None:
        if default is None:
            sys.exit(f"{key} is missing in the file")
        return default
    return entry.contents()


def load_tokenizer(reader):
    """Byte-level BPE with single digits split off, from the vocabulary in the file."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    tokens = field(reader, "tokenizer.ggml.tokens")
    merges = [tuple(m.split(" ", 1)) for m in field(reader, "tokenizer.ggml.merges")]
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


class Model:
    def __init__(self, reader):
        arch = field(reader, "general.architecture")
        if arch != "llama":
            sys.exit(f"architecture {arch}: this script computes llama only")
        self.layers = field(reader, "llama.block_count")
        self.heads = field(reader, "llama.attention.head_count")
        self.kv_heads = field(reader, "llama.attention.head_count_kv", self.heads)
        self.eps = field(reader, "llama.attention.layer_norm_rms_epsilon")
        self.width = field(reader, "llama.embedding_length")
        self.head_dim = self.width // self.heads
        self.rotary = field(reader, "llama.rope.dimension_count", self.head_dim)
        self.freq_base = field(reader, "llama.rope.freq_base", 10000.0)
        self.weights = {}
        for tensor in reader.tensors:
            values = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
            self.weights[tensor.name] = values.reshape([int(n) for n in reversed(tensor.shape)])
        self.output = self.weights.get("output.weight", self.weights["token_embd.weight"])

    def norm(self, x, name):
        scale = 1.0 / np.sqrt(np.mean(np.square(x, dtype=np.float64), axis=-1, keepdims=True) + self.eps)
        return (x * scale.astype(np.float32)) * self.weights[name]

    def rope(self, x, positions):
        """Rotates neighbouring pairs (2i, 2i + 1): the order of rows in GGUF files of this family. x: [T, heads, D]."""
        half = self.rotary // 2
        inverse = self.freq_base ** (-np.arange(half, dtype=np.float64) * 2.0 / self.rotary)
        angle = positions[:, None].astype(np.float64) * inverse[None, :]
        cos, sin = np.cos(angle).astype(np.float32)[:, None, :], np.sin(angle).astype(np.float32)[:, None, :]
        out = x.copy()
        even, odd = x[..., 0:self.rotary:2], x[..., 1:self.rotary:2]
        out[..., 0:self.rotary:2] = even * cos - odd * sin
        out[..., 1:self.rotary:2] = even * sin + odd * cos
        return out

    def forward(self, batch, caches):
        """batch: list of token lists, one per sequence; caches: per sequence a list of (K, V) per layer, extended in
        place. Returns a list of logits [T_i, vocabulary]. The products run over all sequences at once."""
        counts = [len(tokens) for tokens in batch]
        starts = np.concatenate([[0], np.cumsum(counts)])
        positions = [np.arange(len(t)) + caches[i][0][0].shape[0] for i, t in enumerate(batch)]
        where = np.concatenate(positions)
        x = self.weights["token_embd.weight"][np.concatenate([np.asarray(t) for t in batch])]
        group = self.heads // self.kv_heads
        for layer in range(self.layers):
            w = lambda name: self.weights[f"blk.{layer}.{name}.weight"]
            h = self.norm(x, f"blk.{layer}.attn_norm.weight")
            q = self.rope((h @ w("attn_q").T).reshape(-1, self.heads, self.head_dim), where)
            k = self.rope((h @ w("attn_k").T).reshape(-1, self.kv_heads, self.head_dim), where)
            v = (h @ w("attn_v").T).reshape(-1, self.kv_heads, self.head_dim)
            attended = np.empty_like(q)
            for i in range(len(batch)):
                rows = slice(starts[i], starts[i + 1])
                keys = np.concatenate([caches[i][layer][0], k[rows]])
                values = np.concatenate([caches[i][layer][1], v[rows]])
                caches[i][layer] = (keys, values)
                visible = np.arange(keys.shape[0])[None, :] <= positions[i][:, None]
                for head in range(self.heads):
                    score = q[rows, head] @ keys[:, head // group].T / np.float32(np.sqrt(self.head_dim))
                    score = np.where(visible, score, -np.inf)
                    score = np.exp(score - score.max(axis=-1, keepdims=True))
                    score /= score.sum(axis=-1, keepdims=True)
                    attended[rows, head] = score @ values[:, head // group]
            x = x + attended.reshape(-1, self.heads * self.head_dim) @ w("attn_output").T
            h = self.norm(x, f"blk.{layer}.ffn_norm.weight")
            gate, up = h @ w("ffn_gate").T, h @ w("ffn_up").T
            x = x + (gate / (1.0 + np.exp(-gate)) * up) @ w("ffn_down").T
        logits = self.norm(x, "output_norm.weight") @ self.output.T
        return [logits[starts[i]:starts[i + 1]] for i in range(len(batch))]

    def empty_cache(self):
        nothing = np.zeros((0, self.kv_heads, self.head_dim), np.float32)
        return [(nothing, nothing) for _ in range(self.layers)]


def margin_of(row):
    first, second = np.partition(row, -2)[-1], np.partition(row, -2)[-2]
    return float(first - second)


def sample_ids(position, count, vocabulary):
    """Logits that the golden file keeps at a position beside the largest: others at every position."""
    return [(position * 7919 + k * 12289 + 17) % vocabulary for k in range(count)]


def describe(position, row, top):
    order = np.argsort(-row, kind="stable")[:top].tolist() + sample_ids(position, 4, row.shape[0])
    entries = " ".join(f"{i}:{row[i]:.4f}" for i in order)
    mean = float(np.mean(row, dtype=np.float64))
    rms = float(np.sqrt(np.mean(np.square(row, dtype=np.float64))))
    return f"pos {position} mean {mean:.5f} rms {rms:.5f} logits {entries}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("-o", "--output", required=True, help="golden file to write")
    parser.add_argument("--tokens", type=int, default=64, help="tokens to continue each prompt by")
    parser.add_argument("--prompts", type=int, default=len(PROMPTS), help="how many of the prompts")
    parser.add_argument("--dump", help="write all logits of the first prompt here, float32")
    args = parser.parse_args()

    reader = gguf.GGUFReader(args.model)
    tokenizer = load_tokenizer(reader)
    model = Model(reader)
    prompts = PROMPTS[:args.prompts]
    ids = [tokenizer.encode(p).ids for p in prompts]
    caches = [model.empty_cache() for _ in prompts]
    logits = [[rows] for rows in model.forward(ids, caches)]
    tokens, margins = [[] for _ in prompts], [[] for _ in prompts]
    for step in range(args.tokens):
        for i in range(len(prompts)):
            last = logits[i][-1][-1]
            tokens[i].append(int(np.argmax(last)))
            margins[i].append(margin_of(last))
        if step + 1 < args.tokens:
            for i, rows in enumerate(model.forward([[t[-1]] for t in tokens], caches)):
                logits[i].append(rows)
        print(f"\rtoken {step + 1} of {args.tokens}", end="", file=sys.stderr)
    print(file=sys.stderr)

    with open(args.output, "w", encoding="utf-8") as out:
        out.write("# Made by tools/logits_oracle.py; see README.md beside this file.\n")
        out.write(f"model {field(reader, 'general.name')}\n")
        for i, prompt in enumerate(prompts):
            out.write(f"prompt {i} {json.dumps(prompt)}\n")
            out.write("ids " + " ".join(map(str, ids[i])) + "\n")
            out.write("tokens " + " ".join(map(str, tokens[i])) + "\n")
            out.write("margins " + " ".join(f"{m:.4f}" for m in margins[i]) + "\n")
            for position, row in enumerate(np.concatenate(logits[i])):
                out.write(describe(position, row, 4) + "\n")
    if args.dump:
        np.concatenate(logits[0]).astype(np.float32).tofile(args.dump)
    for i in range(min(3, len(prompts))):
        print(repr(prompts[i] + tokenizer.decode(tokens[i])), file=sys.stderr)


if __name__ == "__main__":
    main()
