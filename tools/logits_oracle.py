#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Computes what a GGUF file of the families llama, qwen2, qwen3 and gemma3 must answer, with numpy alone, and writes it as a golden file.

The weights are dequantised to float32 and every product is a plain float32 matrix product, so the result knows nothing
of quantised dot products, paged caches or plans. For each prompt the script continues greedily and records, at every
position of prompt and continuation, a few logits and two sums over all of them; tests/golden/README.md has the format.

    python3 -m venv build/oracle && build/oracle/bin/pip install gguf numpy tokenizers
    build/oracle/bin/python tools/logits_oracle.py MODEL.gguf -o tests/golden/smollm2_135m_q4_1.txt

With --long N a further prompt is made of all of them, N tokens long, to go beyond a model's window; only its last
positions are recorded (the line "from" says where that begins). With --dump FILE the full logits of one prompt are written too, as float32 rows, to compare all of them at once.
"""
import argparse
import json
import re
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


class ByteLevelBpe:
    """Byte-level BPE with single digits split off, from the vocabulary in the file."""

    def __init__(self, reader):
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers

        tokens = field(reader, "tokenizer.ggml.tokens")
        merges = [tuple(m.split(" ", 1)) for m in field(reader, "tokenizer.ggml.merges")]
        self.tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
        self.tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ])
        self.tokenizer.decoder = decoders.ByteLevel()

    def encode(self, text):
        return self.tokenizer.encode(text).ids

    def decode(self, ids):
        return self.tokenizer.decode(ids)


class ScoredBpe:
    """SentencePiece-style: of all neighbours that together are a token, the ones with the best score are joined first;
    a character that is no token is spelled in bytes. Tokens that users defined are found before anything is joined."""

    def __init__(self, reader):
        self.tokens = field(reader, "tokenizer.ggml.tokens")
        self.scores = field(reader, "tokenizer.ggml.scores")
        self.ids = {t: i for i, t in enumerate(self.tokens)}
        types = field(reader, "tokenizer.ggml.token_type")
        defined = sorted((t for t, kind in zip(self.tokens, types) if kind == 4), key=len, reverse=True)
        self.defined = re.compile("(" + "|".join(map(re.escape, defined)) + ")") if defined else None
        self.prefix = " " if field(reader, "tokenizer.ggml.add_space_prefix", True) else ""
        self.bos = [field(reader, "tokenizer.ggml.bos_token_id")] if field(reader, "tokenizer.ggml.add_bos_token", True) else []

    def join(self, text):
        pieces = list(text)
        while True:
            pairs = [(self.scores[self.ids[a + b]], -i) for i, (a, b) in enumerate(zip(pieces, pieces[1:])) if a + b in self.ids]
            if not pairs:
                break
            i = -max(pairs)[1]
            pieces[i : i + 2] = [pieces[i] + pieces[i + 1]]
        ids = []
        for piece in pieces:
            ids += [self.ids[piece]] if piece in self.ids else [self.ids[f"<0x{byte:02X}>"] for byte in piece.encode()]
        return ids

    def encode(self, text):
        text = (self.prefix + text).replace(" ", "\u2581")
        parts = self.defined.split(text) if self.defined else [text]
        return self.bos + [i for n, part in enumerate(parts) for i in ([self.ids[part]] if n % 2 else self.join(part))]

    def decode(self, ids):
        return "".join(self.tokens[i] for i in ids).replace("\u2581", " ")


def load_tokenizer(reader):
    return ScoredBpe(reader) if field(reader, "tokenizer.ggml.model") == "llama" else ByteLevelBpe(reader)


class Model:
    def __init__(self, reader):
        arch = field(reader, "general.architecture")
        if arch not in ("llama", "qwen2", "qwen3", "gemma3"):
            sys.exit(f"architecture {arch}: this script computes llama, qwen2, qwen3 and gemma3")
        self.gemma = arch == "gemma3"
        self.neighbours = arch == "llama"
        self.layers = field(reader, f"{arch}.block_count")
        self.heads = field(reader, f"{arch}.attention.head_count")
        self.kv_heads = field(reader, f"{arch}.attention.head_count_kv", self.heads)
        self.eps = field(reader, f"{arch}.attention.layer_norm_rms_epsilon")
        self.width = field(reader, f"{arch}.embedding_length")
        self.head_dim = field(reader, f"{arch}.attention.key_length", self.width // self.heads)
        self.rotary = field(reader, f"{arch}.rope.dimension_count", self.head_dim)
        self.freq_base = field(reader, f"{arch}.rope.freq_base", 10000.0)
        self.window = field(reader, f"{arch}.attention.sliding_window", 0)
        self.weights = {}
        for tensor in reader.tensors:
            values = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
            self.weights[tensor.name] = values.reshape([int(n) for n in reversed(tensor.shape)])
        self.output = self.weights.get("output.weight", self.weights["token_embd.weight"])

    def norm(self, x, name):
        """Over the last axis; gemma3's files hold 1 + w already."""
        scale = 1.0 / np.sqrt(np.mean(np.square(x, dtype=np.float64), axis=-1, keepdims=True) + self.eps)
        return (x * scale.astype(np.float32)) * self.weights[name]

    def is_windowed(self, layer):
        """Gemma 3: five layers with a window, then one without."""
        return self.gemma and layer % 6 != 5

    def rope(self, x, positions, layer):
        """Rotates pairs: neighbours (2i, 2i + 1), the order of rows in GGUF files of llama, or (i, i + half). x: [T,
        heads, D]."""
        half = self.rotary // 2
        base = 10000.0 if self.is_windowed(layer) else self.freq_base
        inverse = base ** (-np.arange(half, dtype=np.float64) * 2.0 / self.rotary)
        if "rope_freqs.weight" in self.weights:
            inverse = inverse / self.weights["rope_freqs.weight"]
        angle = positions[:, None].astype(np.float64) * inverse[None, :]
        cos, sin = np.cos(angle).astype(np.float32)[:, None, :], np.sin(angle).astype(np.float32)[:, None, :]
        if self.neighbours:
            first, second = slice(0, self.rotary, 2), slice(1, self.rotary, 2)
        else:
            first, second = slice(0, half), slice(half, self.rotary)
        out = x.copy()
        out[..., first] = x[..., first] * cos - x[..., second] * sin
        out[..., second] = x[..., first] * sin + x[..., second] * cos
        return out

    def forward(self, batch, caches, last=None):
        """batch: list of token lists, one per sequence; caches: per sequence a list of (K, V) per layer, extended in
        place. Returns a list of logits [T_i, vocabulary], or of the last rows. The products run over all sequences at
        once."""
        counts = [len(tokens) for tokens in batch]
        starts = np.concatenate([[0], np.cumsum(counts)])
        positions = [np.arange(len(t)) + caches[i][0][0].shape[0] for i, t in enumerate(batch)]
        where = np.concatenate(positions)
        x = self.weights["token_embd.weight"][np.concatenate([np.asarray(t) for t in batch])]
        if self.gemma:
            x = x * np.float32(np.sqrt(self.width))
        group = self.heads // self.kv_heads
        for layer in range(self.layers):
            at = f"blk.{layer}."
            times = lambda x, name: x @ self.weights[at + name + ".weight"].T + self.weights.get(at + name + ".bias", 0)
            h = self.norm(x, at + "attn_norm.weight")
            q = times(h, "attn_q").reshape(-1, self.heads, self.head_dim)
            k = times(h, "attn_k").reshape(-1, self.kv_heads, self.head_dim)
            v = times(h, "attn_v").reshape(-1, self.kv_heads, self.head_dim)
            if at + "attn_q_norm.weight" in self.weights:
                q, k = self.norm(q, at + "attn_q_norm.weight"), self.norm(k, at + "attn_k_norm.weight")
            q, k = self.rope(q, where, layer), self.rope(k, where, layer)
            attended = np.empty_like(q)
            for i in range(len(batch)):
                rows = slice(starts[i], starts[i + 1])
                keys = np.concatenate([caches[i][layer][0], k[rows]])
                values = np.concatenate([caches[i][layer][1], v[rows]])
                caches[i][layer] = (keys, values)
                distance = positions[i][:, None] - np.arange(keys.shape[0])[None, :]
                visible = distance >= 0
                if self.is_windowed(layer):
                    visible &= distance < self.window
                for head in range(self.heads):
                    score = q[rows, head] @ keys[:, head // group].T / np.float32(np.sqrt(self.head_dim))
                    score = np.where(visible, score, -np.inf)
                    score = np.exp(score - score.max(axis=-1, keepdims=True))
                    score /= score.sum(axis=-1, keepdims=True)
                    attended[rows, head] = score @ values[:, head // group]
            h = times(attended.reshape(-1, self.heads * self.head_dim), "attn_output")
            x = x + (self.norm(h, at + "post_attention_norm.weight") if self.gemma else h)
            h = self.norm(x, at + "ffn_norm.weight")
            gate, up = times(h, "ffn_gate"), times(h, "ffn_up")
            if self.gemma:
                cubic = np.float32(np.sqrt(2 / np.pi)) * (gate + np.float32(0.044715) * gate * gate * gate)
                gate = np.float32(0.5) * gate * (1 + np.tanh(cubic))
            else:
                gate = gate / (1 + np.exp(-gate))
            h = times(gate * up, "ffn_down")
            x = x + (self.norm(h, at + "post_ffw_norm.weight") if self.gemma else h)
        if last is not None:
            x, starts = x[-last:], [0, last]
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
    parser.add_argument("--long", type=int, help="tokens of a further prompt, made of all of them")
    parser.add_argument("--dump", help="write all logits of the first prompt here, float32")
    args = parser.parse_args()

    reader = gguf.GGUFReader(args.model)
    tokenizer = load_tokenizer(reader)
    model = Model(reader)
    prompts = PROMPTS[:args.prompts]
    ids = [tokenizer.encode(p) for p in prompts]
    caches = [model.empty_cache() for _ in prompts]
    logits = [[rows] for rows in model.forward(ids, caches)]
    if args.long:
        text = "\n\n".join(PROMPTS)
        prompts.append("all of the above")
        ids.append((tokenizer.encode(text) * (args.long // len(PROMPTS) + 1))[:args.long])
        caches.append(model.empty_cache())
        logits.append(model.forward([ids[-1]], [caches[-1]], last=4))
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
            rows = np.concatenate(logits[i])
            first = len(ids[i]) + len(tokens[i]) - 1 - len(rows)
            out.write(f"prompt {i} {json.dumps(prompt)}\n")
            out.write("ids " + " ".join(map(str, ids[i])) + "\n")
            out.write("tokens " + " ".join(map(str, tokens[i])) + "\n")
            out.write("margins " + " ".join(f"{m:.4f}" for m in margins[i]) + "\n")
            if first:
                out.write(f"from {first}\n")
            for position, row in enumerate(rows, first):
                out.write(describe(position, row, 4) + "\n")
    if args.dump:
        np.concatenate(logits[0]).astype(np.float32).tofile(args.dump)
    for i in range(min(3, len(prompts))):
        print(repr(prompts[i] + tokenizer.decode(tokens[i])), file=sys.stderr)


if __name__ == "__main__":
    main()
