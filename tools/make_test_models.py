#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes tiny random models for the tests: the same weights as a Hugging Face folder and as a GGUF file.

Usage: make_test_models.py FOLDER [FAMILY ...]

FOLDER/NAME/      config.json, model.safetensors (llama: two shards and an index), tokenizer.json, tokenizer_config.json
FOLDER/NAME.gguf  the same numbers in the same types (vectors as F32), with what GGUF wants otherwise: permuted rows of
                  q and k for llama and mistral, 1 + weight in gemma3's norms, frequency factors of llama3's rope
FOLDER/VARIANT/   folders alone: mistral_window, llama_bias and gemma3_scaled have what their families seldom have
FOLDER/packed.gguf  a llama whose matrices are random blocks of Q5_0, Q5_1, Q4_K, Q5_K, Q6_K and Q8_0

Needs nothing but Python, and makes the same models every time (another machine's mathematical library may change the
last bit of a weight, never a tokenizer). The embedding table has more rows than the tokenizer has tokens, as many real
models do.
"""

import json
import math
import pathlib
import random
import re
import struct
import sys

VOCABULARY = 512

LLAMA3_SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
                r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2_SPLIT = LLAMA3_SPLIT.replace(r"\p{N}{1,3}", r"\p{N}")

CORPUS = """The old lighthouse keeper counted the waves one by one, and when he had counted a thousand of them he
began again. "It isn't the number," he'd say, "it's the counting that keeps the light on." Every night at 9:45 the
lamp turned; every morning at 6:10 it stopped. Ships passed, 12 or 15 a day, with names painted in white letters:
Adelaide, Northern Star, Petrel. He wrote each name in the book, with the hour, the wind and the height of the sea.
In the winter of 1987 the light failed for the first time. The keeper climbed the stairs with a lantern and stood in
the window until the morning came, and nobody at sea ever knew that the light they had followed was a man.
for (int i = 0; i < count; ++i) { total += values[i] * weights[i]; }  return total / count;
def light(hours): return [hour for hour in hours if hour >= 21 or hour < 6]
"""

COMMON = {
    "hidden_act": "silu", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 512, "rms_norm_eps": 1e-05,
    "rope_theta": 10000.0, "vocab_size": VOCABULARY, "initializer_range": 0.02, "use_cache": True,
}

# config: over COMMON; None takes a member out. specials: bos or None, the tokens that end, the others.
FAMILIES = {
    "llama": {
        "config": {
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "attention_bias": False, "mlp_bias": False,
            "rope_theta": 500000.0, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
            "rope_scaling": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                             "original_max_position_embeddings": 64, "rope_type": "llama3"},
        },
        "rule": "llama-bpe", "dtype": "BF16", "shards": 2,
        "specials": ("<|begin_of_text|>", ["<|end_of_text|>", "<|eot_id|>"],
                     ["<|start_header_id|>", "<|end_header_id|>"]),
    },
    "mistral": {
        "config": {
            "architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": None,
            "tie_word_embeddings": False, "torch_dtype": "float16",
        },
        "rule": "gpt-2", "dtype": "F16", "specials": ("<s>", ["</s>"], ["[INST]", "[/INST]"]),
    },
    "qwen2": {
        "config": {
            "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "head_dim": None, "rms_norm_eps": 1e-06,
            "max_window_layers": 2, "rope_theta": 1000000.0, "sliding_window": 512, "tie_word_embeddings": True,
            "torch_dtype": "bfloat16", "use_sliding_window": False,
        },
        "rule": "qwen2", "dtype": "BF16", "specials": (None, ["<|im_end|>", "<|endoftext|>"], ["<|im_start|>"]),
    },
    "qwen3": {
        "config": {
            "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "attention_bias": False, "head_dim": 32,
            "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "sliding_window": None, "tie_word_embeddings": True,
            "torch_dtype": "float32", "use_sliding_window": False,
        },
        "rule": "qwen2", "dtype": "F32", "specials": (None, ["<|im_end|>", "<|endoftext|>"], ["<|im_start|>"]),
    },
    "gemma3": {
        "config": {
            "architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "attention_bias": False,
            "attn_logit_softcapping": None, "final_logit_softcapping": None, "hidden_act": None,
            "hidden_activation": "gelu_pytorch_tanh", "intermediate_size": 96, "num_hidden_layers": 7,
            "num_key_value_heads": 1, "query_pre_attn_scalar": 16, "rms_norm_eps": 1e-06,
            "rope_local_base_freq": 10000.0, "rope_theta": 1000000.0, "rope_scaling": None, "sliding_window": 8,
            "sliding_window_pattern": 6, "torch_dtype": "bfloat16",
        },
        "rule": "gpt-2", "dtype": "BF16", "specials": ("<bos>", ["<eos>", "<end_of_turn>"], ["<start_of_turn>"]),
    },
}


def variant(family, **config):
    """A family's folder with other switches."""
    kind = FAMILIES[family]
    return {**kind, "family": family, "config": {**kind["config"], **config}}


VARIANTS = {
    "mistral_window": variant("mistral", sliding_window=10),
    "llama_bias": variant("llama", attention_bias=True, mlp_bias=True, rope_scaling={"rope_type": "linear", "factor": 4.0}),
    "gemma3_scaled": variant("gemma3", query_pre_attn_scalar=40, rope_scaling={"rope_type": "linear", "factor": 8.0}),
}

# ---------------------------------------------------------------- numbers


def round_bf16(value):
    bits = struct.unpack("<I", struct.pack("<f", value))[0]
    return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16


PACK = {
    "F32": lambda values: struct.pack(f"<{len(values)}f", *values),
    "F16": lambda values: struct.pack(f"<{len(values)}e", *values),
    "BF16": lambda values: struct.pack(f"<{len(values)}H", *map(round_bf16, values)),
}
UNPACK = {
    "F32": lambda data: struct.unpack(f"<{len(data) // 4}f", data),
    "F16": lambda data: struct.unpack(f"<{len(data) // 2}e", data),
    "BF16": lambda data: [struct.unpack("<f", data[i : i + 2].rjust(4, b"\0"))[0] for i in range(0, len(data), 2)],
}
BYTES = {"F32": 4, "F16": 2, "BF16": 2}


class Tensor:
    def __init__(self, shape, dtype, data):
        self.shape, self.dtype, self.data = shape, dtype, data

    def values(self):
        return UNPACK[self.dtype](self.data)


def random_tensor(rng, shape, dtype, mean, deviation):
    values = [rng.gauss(mean, deviation) for _ in range(math.prod(shape))]
    return Tensor(shape, dtype, PACK[dtype](values))


# ---------------------------------------------------------------- weights, by their Hugging Face names


def make_weights(family, config, dtype, rng):
    width, ffn = config["hidden_size"], config["intermediate_size"]
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    dim = config.get("head_dim") or width // heads
    gemma, weights = family == "gemma3", {}

    def matrix(name, rows, cols, gain=1.0):
        weights[name] = random_tensor(rng, [rows, cols], dtype, 0.0, gain / math.sqrt(cols))

    def norm(name, size):
        weights[name] = random_tensor(rng, [size], dtype, 0.0 if gemma else 1.0, 0.1)

    # Gemma multiplies embeddings with sqrt(width), and the logits come from the same table.
    weights["model.embed_tokens.weight"] = random_tensor(rng, [VOCABULARY, width], dtype, 0.0, 0.25 if gemma else 0.5)
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        norm(at + "input_layernorm.weight", width)
        for name, rows in (("q", heads * dim), ("k", kv_heads * dim), ("v", kv_heads * dim)):
            matrix(f"{at}self_attn.{name}_proj.weight", rows, width, 1.5)
            if config.get("attention_bias", family == "qwen2"):
                weights[f"{at}self_attn.{name}_proj.bias"] = random_tensor(rng, [rows], dtype, 0.0, 0.2)
        matrix(at + "self_attn.o_proj.weight", width, heads * dim)
        if config.get("attention_bias"):
            weights[at + "self_attn.o_proj.bias"] = random_tensor(rng, [width], dtype, 0.0, 0.2)
        if family in ("qwen3", "gemma3"):
            norm(at + "self_attn.q_norm.weight", dim)
            norm(at + "self_attn.k_norm.weight", dim)
        norm(at + "post_attention_layernorm.weight", width)
        if gemma:
            norm(at + "pre_feedforward_layernorm.weight", width)
            norm(at + "post_feedforward_layernorm.weight", width)
        matrix(at + "mlp.gate_proj.weight", ffn, width)
        matrix(at + "mlp.up_proj.weight", ffn, width)
        matrix(at + "mlp.down_proj.weight", width, ffn)
        if config.get("mlp_bias"):
            for name, rows in (("gate", ffn), ("up", ffn), ("down", width)):
                weights[f"{at}mlp.{name}_proj.bias"] = random_tensor(rng, [rows], dtype, 0.0, 0.2)
    norm("model.norm.weight", width)
    if not config.get("tie_word_embeddings", gemma):
        matrix("lm_head.weight", VOCABULARY, width)
    return weights


def write_safetensors(path, weights):
    # Wider elements first, so that every tensor is aligned.
    names = sorted(weights, key=lambda name: (-BYTES[weights[name].dtype], name))
    header, begin = {"__metadata__": {"format": "pt"}}, 0
    for name in names:
        end = begin + len(weights[name].data)
        header[name] = {"dtype": weights[name].dtype, "shape": weights[name].shape, "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(weights[name].data for name in names))


def write_shards(folder, weights, count):
    if count == 1:
        write_safetensors(folder / "model.safetensors", weights)
        return
    names, weight_map = list(weights), {}
    for shard in range(count):
        file = f"model-{shard + 1:05}-of-{count:05}.safetensors"
        mine = names[len(names) * shard // count : len(names) * (shard + 1) // count]
        write_safetensors(folder / file, {name: weights[name] for name in mine})
        weight_map.update({name: file for name in mine})
    total = sum(len(tensor.data) for tensor in weights.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


# ---------------------------------------------------------------- tokenizer


def byte_alphabet():
    """The printable character that stands for each byte."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {**{byte: chr(byte) for byte in plain}, **{byte: chr(256 + i) for i, byte in enumerate(others)}}


def train_merges(count):
    """The most frequent pairs within words, one after the other; ties go to the smaller pair."""
    alphabet = byte_alphabet()
    frequency = {}
    for word in re.findall(r" ?[A-Za-z]+| ?[0-9]| ?[^A-Za-z0-9\s]+|\s+", CORPUS):
        spelled = tuple(alphabet[byte] for byte in word.encode())
        frequency[spelled] = frequency.get(spelled, 0) + 1
    merges, made = [], set()
    while len(merges) < count:
        pairs = {}
        for word, times in frequency.items():
            for pair in zip(word, word[1:]):
                pairs[pair] = pairs.get(pair, 0) + times
        pair = min((p for p in pairs if p[0] + p[1] not in made), key=lambda p: (-pairs[p], p))
        merges.append(pair)
        made.add(pair[0] + pair[1])
        merged = {}
        for word, times in frequency.items():
            out, i = [], 0
            while i < len(word):
                if word[i : i + 2] == pair:
                    out.append(word[i] + word[i + 1])
                    i += 2
                else:
                    out.append(word[i])
                    i += 1
            merged[tuple(out)] = merged.get(tuple(out), 0) + times
        frequency = merged
    return merges


def make_tokenizer(rule, specials):
    """The vocabulary with its special tokens at the end, as text of tokenizer.json."""
    merges = train_merges(180)
    tokens = sorted(byte_alphabet().values()) + [left + right for left, right in merges]
    bos, ends, others = specials
    added = ([bos] if bos else []) + ends + others
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    pattern = {"llama-bpe": LLAMA3_SPLIT, "qwen2": QWEN2_SPLIT}.get(rule)
    pre_tokenizer = {**byte_level, "use_regex": True}
    if pattern:
        split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
        pre_tokenizer = {"type": "Sequence", "pretokenizers": [split, {**byte_level, "use_regex": False}]}
    post = {**byte_level, "use_regex": True}
    if bos:
        bos_id = len(tokens)
        post = {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": bos, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {bos: {"id": bos, "ids": [bos_id], "tokens": [bos]}},
        }
    document = {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": len(tokens) + i, "content": text, "single_word": False, "lstrip": False,
                          "rstrip": False, "normalized": False, "special": True} for i, text in enumerate(added)],
        "normalizer": {"type": "NFC"} if rule == "qwen2" else None,
        "pre_tokenizer": pre_tokenizer, "post_processor": post, "decoder": {**byte_level, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                  "ignore_merges": rule == "llama-bpe", "vocab": {text: i for i, text in enumerate(tokens)},
                  # Both spellings are in use.
                  "merges": [list(pair) for pair in merges] if rule == "qwen2" else [" ".join(pair) for pair in merges]},
    }
    return document, tokens + added, merges


# ---------------------------------------------------------------- GGUF

GGML = {"F32": 0, "F16": 1, "Q5_0": 6, "Q5_1": 7, "Q8_0": 8, "Q4_K": 12, "Q5_K": 13, "Q6_K": 14, "BF16": 30}
GGUF_NAMES = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm", "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}
GEMMA_NAMES = {"post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm",
               "post_feedforward_layernorm": "post_ffw_norm"}


def gguf_name(name, family):
    fixed = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
             "lm_head.weight": "output.weight"}
    if name in fixed:
        return fixed[name]
    layer, part, kind = re.fullmatch(r"model\.layers\.(\d+)\.(.*)\.(weight|bias)", name).groups()
    names = {**GGUF_NAMES, **(GEMMA_NAMES if family == "gemma3" else {})}
    return f"blk.{layer}.{names[part]}.{kind}"


def permuted(tensor, heads):
    """Rows of each head from [first halves, second halves] to pairs, as GGUF has them for llama."""
    rows = tensor.shape[0]
    row_bytes, half = len(tensor.data) // rows, rows // heads // 2
    order = [head * 2 * half + part * half + i for head in range(heads) for i in range(half) for part in range(2)]
    return Tensor(tensor.shape, tensor.dtype, b"".join(tensor.data[r * row_bytes : (r + 1) * row_bytes] for r in order))


def gguf_tensors(family, config, weights):
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    tensors = {}
    for name, tensor in weights.items():
        if len(tensor.shape) == 1:
            one = 1.0 if family == "gemma3" else 0.0
            tensor = Tensor(tensor.shape, "F32", PACK["F32"]([value + one for value in tensor.values()]))
        elif family in ("llama", "mistral") and name.endswith("q_proj.weight"):
            tensor = permuted(tensor, heads)
        elif family in ("llama", "mistral") and name.endswith("k_proj.weight"):
            tensor = permuted(tensor, kv_heads)
        tensors[gguf_name(name, family)] = tensor
    scaling = config.get("rope_scaling")
    if scaling:
        factors = []
        for i in range(config["head_dim"] // 2):
            wavelength = 2 * math.pi * config["rope_theta"] ** (2 * i / config["head_dim"])
            original = scaling["original_max_position_embeddings"]
            low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
            smooth = min(1.0, max(0.0, (original / wavelength - low) / (high - low)))
            factors.append(1 / ((1 - smooth) / scaling["factor"] + smooth))
        tensors["rope_freqs.weight"] = Tensor([len(factors)], "F32", PACK["F32"](factors))
    return tensors


class U32(int):
    """A number that GGUF stores in 32 bits without sign."""


def encode_string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def encode_value(value):
    """Type number and bytes of a metadata value."""
    if isinstance(value, bool):
        return 7, struct.pack("<?", value)
    if isinstance(value, U32):
        return 4, struct.pack("<I", value)
    if isinstance(value, int):
        return 5, struct.pack("<i", value)
    if isinstance(value, float):
        return 6, struct.pack("<f", value)
    if isinstance(value, str):
        return 8, encode_string(value)
    kinds = [encode_value(element) for element in value]
    return 9, struct.pack("<IQ", kinds[0][0], len(kinds)) + b"".join(data for _, data in kinds)


def write_gguf(path, metadata, tensors):
    out = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(metadata))]
    for key, value in metadata.items():
        kind, data = encode_value(value)
        out += [encode_string(key), struct.pack("<I", kind), data]
    offset = 0
    for name, tensor in tensors.items():
        extents = tensor.shape[::-1]
        out += [encode_string(name), struct.pack(f"<I{len(extents)}QIQ", len(extents), *extents, GGML[tensor.dtype], offset)]
        offset += len(tensor.data) + -len(tensor.data) % 32
    header = b"".join(out)
    body = b"".join(tensor.data + bytes(-len(tensor.data) % 32) for tensor in tensors.values())
    path.write_bytes(header + bytes(-len(header) % 32) + body)


def gguf_metadata(family, config, rule, tokens, merges, specials):
    arch = "llama" if family == "mistral" else family
    dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    bos, ends, others = specials
    normal = len(tokens) - len(ends) - len(others) - (1 if bos else 0)
    metadata = {
        "general.architecture": arch, "general.name": f"tiny {family}",
        f"{arch}.block_count": U32(config["num_hidden_layers"]),
        f"{arch}.context_length": U32(config["max_position_embeddings"]),
        f"{arch}.embedding_length": U32(config["hidden_size"]),
        f"{arch}.feed_forward_length": U32(config["intermediate_size"]),
        f"{arch}.attention.head_count": U32(config["num_attention_heads"]),
        f"{arch}.attention.head_count_kv": U32(config["num_key_value_heads"]),
        f"{arch}.attention.layer_norm_rms_epsilon": config["rms_norm_eps"],
        f"{arch}.attention.key_length": U32(dim), f"{arch}.attention.value_length": U32(dim),
        f"{arch}.rope.freq_base": config["rope_theta"], f"{arch}.vocab_size": U32(VOCABULARY),
        "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": rule,
        # Rows of the embedding table without a token are named and unused (5).
        "tokenizer.ggml.tokens": tokens + [f"[PAD{i}]" for i in range(len(tokens), VOCABULARY)],
        "tokenizer.ggml.token_type": [1] * normal + [3] * (len(tokens) - normal) + [5] * (VOCABULARY - len(tokens)),
        "tokenizer.ggml.merges": [" ".join(pair) for pair in merges],
        "tokenizer.ggml.eos_token_id": U32(tokens.index(ends[0])),
        "tokenizer.ggml.add_bos_token": bos is not None,
    }
    if arch == "llama":
        metadata[f"{arch}.rope.dimension_count"] = U32(dim)
    if family == "gemma3":
        metadata[f"{arch}.attention.sliding_window"] = U32(config["sliding_window"])
    if bos:
        metadata["tokenizer.ggml.bos_token_id"] = U32(tokens.index(bos))
    return metadata


# ---------------------------------------------------------------- models


def make_model(folder, name):
    kind = {**FAMILIES, **VARIANTS}[name]
    family = kind.get("family", name)
    config = {**COMMON, **kind["config"]}
    if config.get("hidden_act") is None:
        del config["hidden_act"]
    if config.get("head_dim") is None:
        del config["head_dim"]
    document, tokens, merges = make_tokenizer(kind["rule"], kind["specials"])
    bos, ends, _ = kind["specials"]
    end_ids = [tokens.index(text) for text in ends]
    config["bos_token_id"] = tokens.index(bos) if bos else None
    config["eos_token_id"] = end_ids if len(end_ids) > 1 else end_ids[0]

    weights = make_weights(family, config, kind["dtype"], random.Random(f"onebeat {name}"))
    model = folder / name
    model.mkdir(parents=True, exist_ok=True)
    write_shards(model, weights, kind.get("shards", 1))
    (model / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (model / "tokenizer.json").write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (model / "tokenizer_config.json").write_text(
        json.dumps({"bos_token": bos, "eos_token": ends[0], "add_bos_token": bos is not None}, indent=2) + "\n")
    if name in VARIANTS:
        return
    write_gguf(folder / f"{family}.gguf",
               gguf_metadata(family, config, kind["rule"], tokens, merges, kind["specials"]),
               gguf_tensors(family, config, weights))


# Bytes of a block, its elements, where its fp16 scales lie and what they are for weights of about 1/16.
BLOCKS = {
    "Q5_0": (22, 32, {0: 0.007}), "Q5_1": (24, 32, {0: 0.007, 2: -0.108}), "Q8_0": (34, 32, {0: 0.0009}),
    "Q4_K": (144, 256, {0: 0.0004, 2: 0.003}), "Q5_K": (176, 256, {0: 0.0002, 2: 0.0031}),
    "Q6_K": (210, 256, {208: 0.00005}),
}


def random_blocks(rng, shape, dtype):
    size, elements, scales = BLOCKS[dtype]
    data = bytearray(rng.randbytes(math.prod(shape) // elements * size))
    for begin in range(0, len(data), size):
        for place, scale in scales.items():
            data[begin + place : begin + place + 2] = struct.pack("<e", scale * rng.uniform(0.7, 1.4))
    return Tensor(shape, dtype, bytes(data))


def make_packed(folder):
    kind = FAMILIES["llama"]
    config = {**COMMON, "hidden_size": 256, "intermediate_size": 256, "num_hidden_layers": 1, "head_dim": 64}
    document, tokens, merges = make_tokenizer(kind["rule"], kind["specials"])
    rng = random.Random("onebeat packed")
    norm = lambda: random_tensor(rng, [256], "F32", 1.0, 0.1)
    tensors = {
        "token_embd.weight": random_blocks(rng, [VOCABULARY, 256], "Q6_K"), "blk.0.attn_norm.weight": norm(),
        "blk.0.attn_q.weight": random_blocks(rng, [256, 256], "Q4_K"),
        "blk.0.attn_k.weight": random_blocks(rng, [128, 256], "Q5_K"),
        "blk.0.attn_v.weight": random_blocks(rng, [128, 256], "Q6_K"),
        "blk.0.attn_output.weight": random_blocks(rng, [256, 256], "Q5_0"), "blk.0.ffn_norm.weight": norm(),
        "blk.0.ffn_gate.weight": random_blocks(rng, [256, 256], "Q4_K"),
        "blk.0.ffn_up.weight": random_blocks(rng, [256, 256], "Q5_1"),
        "blk.0.ffn_down.weight": random_blocks(rng, [256, 256], "Q8_0"), "output_norm.weight": norm(),
    }
    write_gguf(folder / "packed.gguf", gguf_metadata("llama", config, kind["rule"], tokens, merges, kind["specials"]),
               tensors)


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    known = [*FAMILIES, *VARIANTS, "packed"]
    wanted = sys.argv[2:] or known
    unknown = [name for name in wanted if name not in known]
    if unknown:
        sys.exit(f"make_test_models.py: unknown family {unknown[0]}; known are {', '.join(known)}")
    folder.mkdir(parents=True, exist_ok=True)
    for name in wanted:
        if name == "packed":
            make_packed(folder)
        else:
            make_model(folder, name)


if __name__ == "__main__":
    main()
