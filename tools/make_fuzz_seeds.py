#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Remakes the seeds of the fuzz targets in tests/fuzz/: small valid inputs from which the fuzzers set out."""
import json
import struct
from pathlib import Path

SEEDS = Path(__file__).resolve().parent.parent / "tests" / "fuzz"
U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
CODES = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "?", U64: "Q", I64: "q", F64: "d"}


def text(value):
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def value(kind, v):
    return text(v) if kind == STRING else struct.pack("<" + CODES[kind], v)


def entry(key, kind, v):
    return text(key) + struct.pack("<I", kind) + value(kind, v)


def array(key, kind, values):
    return text(key) + struct.pack("<IIQ", ARRAY, kind, len(values)) + b"".join(value(kind, v) for v in values)


def gguf(entries, tensors=(), version=3, alignment=32):
    """`tensors`: (name, type number, shape, bytes)."""
    out = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(entries)) + b"".join(entries)
    padded = lambda raw: raw + bytes(-len(raw) % alignment)
    data = b""
    for name, kind, shape, raw in tensors:
        out += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, len(data))
        data += padded(raw)
    return padded(out) + data if tensors else out


def tokenizer(rule, text_, merges=(), special=(), raw=1, missing=ord("a"), stop=b"", parse=0):
    """The input of tokenizer_fuzz: rule, kind of spec, missing byte, merges (left, right), special tokens, then text."""
    out = bytes([rule, raw, missing, len(merges)])
    for left, right in merges:
        out += bytes([left, right & 0xff, right >> 8])
    out += bytes([len(special)])
    for kind, token in special:
        out += bytes([kind, len(token)]) + token
    return out + bytes([len(stop)]) + stop + bytes([parse]) + text_


def spm(text_, merges=(), special=(), scores=(), with_bytes=1, prefix=0, parse=0):
    """The input of spm_fuzz: kind of spec, merges (left, right: indices of texts), special tokens, scores, then text."""
    out = bytes([with_bytes, 0 if scores else 1, prefix, len(merges)])
    for left, right in merges:
        out += bytes([left, right])
    out += bytes([len(special)])
    for kind, token in special:
        out += bytes([kind, len(token)]) + token
    for score in scores:
        out += struct.pack(">f", score)[:2]
    return out + bytes([parse]) + text_


def chat(template, messages):
    """The input of chat_template_fuzz."""
    return (SEEDS.parent / "golden" / "chat" / f"{template}.jinja").read_bytes() + b"\0" + json.dumps(messages).encode()


def safetensors(tensors, metadata=None):
    """`tensors`: (name, type, shape, bytes)."""
    header, data = {"__metadata__": metadata} if metadata else {}, b""
    for name, kind, shape, raw in tensors:
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    out = json.dumps(header).encode()
    out += b" " * (-len(out) % 8)
    return struct.pack("<Q", len(out)) + out + data


def config(model_type, **values):
    """The input of hf_config_fuzz."""
    usual = {"num_hidden_layers": 4, "hidden_size": 64, "intermediate_size": 128, "vocab_size": 512, "num_attention_heads": 4,
             "max_position_embeddings": 256, "eos_token_id": [1, 2]}
    return json.dumps({"model_type": model_type} | usual | values).encode()


def main():
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": " Yes? "}, {"role": "user", "content": "\u00e9\n"}]
    system = [{"role": "system", "content": "Be brief."}] + turns
    call = system + [
        {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "id": "123456789", "function": {"name": "f", "arguments": {"a": [1, None]}}}]},
        {"role": "tool", "content": "{}", "tool_call_id": "123456789"}]
    scalars = [entry(f"k.{kind}", kind, {STRING: "text", BOOL: True}.get(kind, 1)) for kind in (*CODES, STRING)]
    arrays = [array(f"a.{kind}", kind, [1, 0]) for kind in CODES] + [array("a.strings", STRING, ["one", "", "three"])]
    nested = text("nested") + struct.pack("<IIQIQB", ARRAY, ARRAY, 1, U8, 1, 7)
    seeds = {
        "gguf_fuzz/metadata.gguf": gguf(scalars + arrays + [nested]),
        "gguf_fuzz/version2.gguf": gguf([entry("general.alignment", U32, 8)], [("w", 0, (1,), bytes(4))], 2, 8),
        "gguf_fuzz/tensors.gguf": gguf(
            [entry("general.architecture", STRING, "llama")],
            [("f32", 0, (2, 3), bytes(24)), ("q4_1", 3, (32, 2), bytes(40)), ("q4_k", 12, (256,), bytes(144)),
             ("bf16", 30, (3, 1, 1, 2), bytes(12))]),
        "tokenizer_fuzz/smollm": tokenizer(1, "don't 12  é😀\r\n  x".encode(), [(104, 101), (32, 256)]),
        "tokenizer_fuzz/special": tokenizer(2, b"a<|x|>b\xff<|x|", [(60, 124)], [(2, b"<|x|>"), (3, b"<|")], stop=b"<|", parse=0),
        "tokenizer_fuzz/hostile": tokenizer(3, b"abab", [(97, 98)], [(0, b"\xff"), (0, b"")], raw=0, missing=200),
        "spm_fuzz/merges": spm("ab ba\u2581 \u00e9\nab".encode(), [(0, 1), (2, 5), (5, 5)], [(3, b"aa"), (2, b"<b>")]),
        "spm_fuzz/scores": spm("abab  <b> \u65e5\n".encode(), [(0, 1), (2, 0), (5, 2)], [(2, b"<b>"), (3, b"  ")],
                               [0.0] * 262 + [-1.0, -3.0, -2.0, 0.0, 0.0], parse=1),
        "spm_fuzz/unknown": spm(b"a\xff b \xe2\x96", [(0, 2), (2, 1)], [(0, b"xy")], with_bytes=0, prefix=1),
        "safetensors_fuzz/three": safetensors(
            [("a", "F32", [2, 1], bytes(8)), ("b.c", "BF16", [3], bytes(6)), ("empty", "F16", [0, 4], b"")], {"format": "pt"}),
        "hf_config_fuzz/llama3": config("llama", rope_scaling={
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64}, num_key_value_heads=2),
        "hf_config_fuzz/qwen3": config("qwen3", use_sliding_window=True, sliding_window=16, max_window_layers=2, head_dim=32),
        "hf_config_fuzz/gemma3": config("gemma3_text", num_key_value_heads=1, head_dim=32, query_pre_attn_scalar=32,
                                        layer_types=["sliding_attention"] * 3 + ["full_attention"], sliding_window=8,
                                        rope_parameters={"full_attention": {"rope_theta": 1e6, "rope_type": "default"},
                                                         "sliding_attention": {"rope_theta": 1e4}}),
        "chat_template_fuzz/smollm2": chat("smollm2", turns),
        "chat_template_fuzz/gemma3": chat("gemma3", system),
        "chat_template_fuzz/mistral_v3": chat("mistral_v3", call),
        "chat_template_fuzz/llama3_1": chat("llama3_1", call),
        "chat_template_fuzz/qwen3": chat("qwen3", call),
    }
    for name, data in seeds.items():
        (SEEDS / name).parent.mkdir(parents=True, exist_ok=True)
        (SEEDS / name).write_bytes(data)
        print(f"{name}: {len(data)} bytes")


if __name__ == "__main__":
    main()
