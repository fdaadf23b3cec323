#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Remakes the golden token ids in tests/golden/ with Hugging Face's `tokenizers`.

    python3 -m venv build/venv && build/venv/bin/pip install tokenizers==0.23.3 gguf
    build/venv/bin/python tools/make_tokenizer_golden.py PATH/SmolLM2-135M-Instruct.Q4_1.gguf

Two sets of files come out:
* tokenizer_smollm2.txt: ids under the vocabulary, merges and token types of the model file;
* tokenizer_small_vocabulary.txt: a vocabulary of 1,500 tokens, trained here on the strings below, and
  tokenizer_small_RULE.txt: ids under it for every pre-tokenizer rule, so that the rules are tested without a model.

A line of a golden file is MODE, tab, text, tab, ids. MODE is "plain" (all text is text) or "special" (the texts of
control tokens become those tokens). In the text, \\xHH is one byte, \\\\ a backslash; the rest is UTF-8. `tokenizers` takes
only strings: bytes that are not UTF-8 are given to it as Python's decoder replaces them (errors="replace").
"""
import random
import sys
from pathlib import Path

import tokenizers
from gguf import GGUFReader
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "golden"
CONTROL = 3  # token type in GGUF

LLAMA_BPE = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
             r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA_BPE.replace(r"\p{N}{1,3}", r"\p{N}")


def pre_tokenizer(rule):
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=rule in ("gpt-2", "smollm"))
    first = {
        "gpt-2": [],
        "smollm": [pre_tokenizers.Digits(individual_digits=True)],
        "llama-bpe": [pre_tokenizers.Split(Regex(LLAMA_BPE), behavior="isolated")],
        "qwen2": [pre_tokenizers.Split(Regex(QWEN2), behavior="isolated")],
    }[rule]
    return pre_tokenizers.Sequence(first + [byte_level])


def make_tokenizer(rule, tokens, merges, control):
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges,
                                     ignore_merges=rule == "llama-bpe"))
    tokenizer.pre_tokenizer = pre_tokenizer(rule)
    if rule == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in control])
    return tokenizer


def escaped(data):
    out = []
    for c in data.decode("utf-8", errors="surrogateescape"):
        if 0xDC80 <= ord(c) <= 0xDCFF:
            out.append(f"\\x{ord(c) - 0xDC00:02x}")
        elif c == "\\":
            out.append("\\\\")
        elif c == " " or c.isprintable():
            out.append(c)
        else:
            out.extend(f"\\x{b:02x}" for b in c.encode())
    return "".join(out)


def strings():
    """The texts: str, or bytes where they are not UTF-8."""
    prose = [
        "Hello, world!", "The quick brown fox jumps over the lazy dog.", "don't you'll we've I'm he's they'd we're",
        "DON'T YOU'LL WE'VE I'M HE'S", "rock'n'roll 'tis 'twas o'clock 'sup", "it''s ' s 's", "'", "''", "'''s",
        "naïve café résumé Zoë façade", "e\u0301 vs \u00e9, A\u030a vs \u00c5, \u1e9b\u0323", "Straße, ſtop, 'ſ 'S",
        "Grüße aus München! Äpfel, Öl, Übung", "¿Dónde está la biblioteca? ¡Allí!", "L'été, j'ai lu « Candide »",
        "Zażółć gęślą jaźń", "Příliš žluťoučký kůň úpěl ďábelské ódy", "Árvíztűrő tükörfúrógép", "İstanbul ılık ığdır",
        "Đây là tiếng Việt có dấu", "Съешь же ещё этих мягких французских булок", "Українська мова: їжак, ґанок",
        "Ελληνικά: ξεσκεπάζω την ψυχοφθόρα βδελυγμία", "שלום עולם", "בְּרֵאשִׁית בָּרָא", "مرحبا بالعالم", "اَلسَّلامُ عَلَيْكُم", "فارسی می\u200cخواهم",
        "नमस्ते दुनिया", "क्षत्रिय श्री ज्ञान", "বাংলা ভাষা", "ਪੰਜਾਬੀ", "ગુજરાતી", "தமிழ் மொழி", "తెలుగు భాష", "ಕನ್ನಡ", "മലയാളം", "සිංහල",
        "ภาษาไทยไม่มีช่องว่าง", "ພາສາລາວ", "မြန်မာဘာသာ", "ភាសាខ្មែរ", "བོད་སྐད།", "ქართული ენა", "Հայերեն լեզու", "አማርኛ ቋንቋ",
        "你好，世界！", "漢字假名交じり文：今日は良い天気ですね。", "ひらがなカタカナ", "한국어 문장입니다.", "\u1112\u1161\u11ab\u1100\u1173\u11af", "ꦗꦮ", "ᏣᎳᎩ", "ᚠᚢᚦᚨᚱᚲ", "𐌰𐌱𐌲 𒀀𒀁 𓀀𓁐",
        "ＦＵＬＬｗｉｄｔｈ １２３", "ﬁ ﬂ ﬀ ﷺ", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝓂𝒶𝓉𝒽 𝟘𝟙𝟚", "x² + y³ = z₁₀", "½ ⅓ ¾ Ⅷ ⅻ ① ⑳ ㊿", "٠١٢٣ ४५६ ๗๘๙ 零一二", "௧௨௩ ༡༢༣",
        "a\u0300\u0301\u0302\u0303\u0304 zalgo h̷̢̛e̶l̸p", "\u202eright to left\u202c", "zero\u200bwidth\u200djoin\u2060er\ufeff", "soft\u00adhyphen",
        "\ufeffBOM first", "price: €100, £20, ¥3000, ₹5, ₿1", "→ ← ↑ ↓ ⇒ ∀x∈ℝ: ∃y ≤ ∞ ≠ ∅", "♠♥♦♣ ♔♕ ☃ ☂ ★", "“smart” ‘quotes’ — dashes – … ‹›",
    ]
    emoji = [
        "😀", "😀😁😂🤣", "👍🏽 👩🏿‍🚀", "👨‍👩‍👧‍👦", "👩‍❤️‍💋‍👨 family", "🏳️‍🌈🏴‍☠️", "🇩🇪🇫🇷🇯🇵🇺🇳", "1️⃣2️⃣#️⃣", "❤️ vs ❤", "🫠🪿🫨 new", "text😀text 😀 text", "🧑🏻‍🤝‍🧑🏾!!",
        "\U0001F468\u200d\u200d\U0001F469", "🏴\U000E0067\U000E0062\U000E0065\U000E006E\U000E0067\U000E007F",
    ]
    digits = [
        "0", "7", "42", "123", "1234", "12345678901234567890", "3.14159", "-273.15", "1e-10", "0x1F4A9", "1,000,000.00", "2024-02-29T12:34:56Z",
        "192.168.0.1:8080", "+49 (89) 1234-5678", "v1.2.3-rc4", "a1b2c3", "1 2  3   4", " 1", "  12", "\n1", "\t 9\n", "100%", "#1", "1st 2nd 3rd", "5'10\"",
    ]
    code = [
        "def f(x):\n    return x ** 2\n", "for (int i = 0; i < n; ++i) {\n\tsum += a[i];\n}", "#include <vector>\nint main() { return 0; }",
        "if __name__ == \"__main__\":\n    main()", "SELECT * FROM users WHERE id = 42 AND name LIKE '%o''brien%';", "<div class=\"a b\">&nbsp;</div><!-- c -->",
        "{\"key\": [1, 2.5, null, true], \"nested\": {\"a\\\"b\": \"\\u00e9\"}}", "x=$(ls -la | grep '^d' | awk '{print $9}')", "git commit -m \"fix: don't\"\r\ngit push",
        "https://example.com/a?b=c&d=%20#frag", "user.name+tag@sub.example.co.uk", "C:\\Users\\name\\file.txt", "/usr/local/bin/../lib", "snake_case camelCase PascalCase kebab-case SCREAMING_CASE",
        "a+=b; c<<=2; d>>>=1; e!==f; g??=h; i=>j; k::l; m->n", "\\begin{equation} \\frac{a}{b} \\end{equation}", "fn main() -> Result<(), Box<dyn Error>> { Ok(()) }", "| a | b |\n|---|---|\n| 1 | 2 |",
        "```python\nprint('hi')\n```", "# Title\n\n- item\n  - sub\n\n1. one\n", "@decorator\nasync def g(*args, **kwargs): ...", "// TODO(me): fix!!!", "/* multi\n * line\n */", "\t\tdeep\n\t\t\tdeeper\n", "==== ---- ____ **** ....", "!@#$%^&*()_+-=[]{}|;':\",./<>?`~",
    ]
    spaces = [
        "", " ", "  ", "   ", " a", "  a", "   a", "a ", "a  ", "a   b", " a  b   c    d ", "\n", "\n\n", "\n\n\n", "a\nb", "a\n\nb", "a\n b", "a \nb", "a \n b", "a  \n\n  b", "\r\n", "\r\n\r\n", "a\r\nb\r\n", "\r", "a\rb", "\n\r",
        "\t", "\t\t", "a\tb", " \t \t ", "\ta", "\t a", "\x0b\x0c", "a\x0bb", "\x85", "a\x85b", "\xa0", "a\xa0b", "\xa0\xa0a", "\u2003\u2003a", "\u3000日本", "\u2028\u2029", "a\u1680b", "\u180ea b\u180e", "\u200b \u200b", "\u202f1\u202f000",
        " " * 100, " " * 65 + "x", "\n" * 70, "\t" * 33 + "end", "a" + " " * 20 + "1", "  \n  \n  x", "x  \n", "x \n ", "x\n\n ", "\x1c\x1d\x1e\x1f", "word" + " \n" * 30 + "word", ". \n", "!\r\n\r\n!", "。\n\n。", "?!\n\n?! \n",
    ]
    control = ["\x00", "a\x00b", "\x00\x00\x00", "\x01\x02\x03\x04\x05\x06\x07\x08", "\x0e\x0f\x10\x11\x12\x13\x14\x15\x16", "\x1b[31mred\x1b[0m", "\x7f", "\x80\x81\x9f", "\ufffd", "\ufffe\uffff", "\ue000\uf8ff", "\U000F0000", "\U0010FFFF", "\U00040000x", "a\ufffdb", "\u0378 unassigned"]
    special = [
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", "<|im_end|>", "<|im_end|><|im_end|>", "a<|im_end|>b", " <|im_end|> ", "<|im_end|", "|im_end|>", "<|im_end |>", "<|IM_END|>", "<<|im_end|>>", "<|im_<|im_end|>end|>", "<|endoftext|>", "x<|endoftext|>y  ",
        "<repo_name>a/b<file_sep>c.py\nprint(1)", "<reponame><filename><gh_stars>100+", "<issue_start><issue_comment>hi<issue_closed>", "<jupyter_start><jupyter_text>t<jupyter_code>1+1<jupyter_output>2<empty_output>", "<s>[INST] hi [/INST]</s>", "<unk><pad><bos><eos>", "<0x0A>", "Ġhello Ċ", "<|im_start|>" * 5,
        "\n\n<|im_end|>\n\n", "don<|im_end|>'t", "1<|im_end|>2", "<|im_start|>\u00e9<|im_end|>e\u0301",
    ]
    rng = random.Random(20240229)
    words = []
    words.append("a" * 3000)
    words.append("".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(3000)))
    words.append("Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft" * 8)
    words.append("the" * 500)
    words.append("長" * 400 + "短" * 400)
    words.append("=" * 777 + "-" * 1234)
    words.append("9" * 300)
    words.append("😀" * 200)
    words.append("".join(chr(rng.randrange(0x4e00, 0x9fff)) for _ in range(400)))
    invalid = [
        b"\xff", b"\xfe\xff", b"a\xffb", b"\x80", b"\xc3", b"\xc3(", b"caf\xe9 latin-1", b"\xe2\x82", b"\xe2\x82 x", b"\xe2(\xa1", b"\xf0\x9f\x98", b"\xf0\x9f\x98 smile", b"\xf0\x9f", b"\xf0(\x8c\xbc", b"\xc0\x80", b"\xc1\xbf", b"\xe0\x80\x80", b"\xe0\x9f\xbf",
        b"\xed\xa0\x80", b"\xed\xbf\xbf pair", b"\xf0\x80\x80\x80", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80", b"ok \xe4\xb8\xad \xe4\xb8 broken", b"\xff" * 40, b" \xff ", b"\n\xff\n", b"1\xff2", b"'\xffs", b"\xef\xbf\xbd\xff",
        bytes(range(128, 256)), b"abc\xf0\x9f\x98\x80\xf0\x9f\x98", b"<|im_end|>\xff<|im_end|>", b"<|im_\xffend|>",
    ]
    mixed = []
    pieces = prose[:40] + emoji + digits + code[:10] + spaces[1:30]
    for _ in range(40):
        mixed.append("".join(rng.choice(pieces) for _ in range(rng.randrange(2, 5))))
    for _ in range(20):
        mixed.append("".join(rng.choice("ab 1\n\t'é日.😀\r") for _ in range(60)))
    for _ in range(10):
        invalid.append(bytes(rng.randrange(256) for _ in range(48)))
    return prose + emoji + digits + code + spaces + control + special + words + mixed, invalid


def write(path, header, rows):
    with open(path, "w", encoding="utf-8", newline="\n") as out:
        for line in header:
            out.write(f"# {line}\n")
        for mode, data, ids in rows:
            out.write(f"{mode}\t{escaped(data)}\t{' '.join(map(str, ids))}\n")
    print(f"{path.name}: {len(rows)} lines")


def rows(rule, tokens, merges, control):
    valid, invalid = strings()
    texts = [t.encode() for t in valid] + invalid
    out = []
    for mode, special in (("plain", []), ("special", control)):
        tokenizer = make_tokenizer(rule, tokens, merges, special)
        for data in texts:
            if mode == "special" and b"<" not in data:
                continue
            text = data.decode("utf-8", errors="replace")
            out.append((mode, data, tokenizer.encode(text, add_special_tokens=False).ids))
    return out


def main():
    reader = GGUFReader(sys.argv[1])
    value = lambda key: reader.fields[key].contents()
    tokens = value("tokenizer.ggml.tokens")
    control = [t for t, kind in zip(tokens, value("tokenizer.ggml.token_type")) if kind == CONTROL]
    merges = [tuple(m.split(" ")) for m in value("tokenizer.ggml.merges")]
    rule = value("tokenizer.ggml.pre")
    note = f"Made by tools/make_tokenizer_golden.py with tokenizers {tokenizers.__version__}; see there for the format."
    write(GOLDEN / "tokenizer_smollm2.txt", [note, f"Vocabulary of {Path(sys.argv[1]).name}, rule {rule}."],
          rows(rule, tokens, merges, control))

    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizer("gpt-2")
    trained.train_from_iterator(sorted(strings()[0]), trainers.BpeTrainer(
        vocab_size=1497, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    import json
    model = json.loads(trained.to_str())["model"]
    small = [t for t, _ in sorted(model["vocab"].items(), key=lambda item: item[1])]
    small_merges = [tuple(m) for m in model["merges"]]
    # Words that no merge makes: found only by rules that look whole pieces up.
    small += ["Ġworld", "Ġ世界"]
    small = [t for i, t in enumerate(small) if t not in small[:i]]
    small_control = ["<|endoftext|>", "<|im_end|>", "<|im_start|>", "<|im_"]
    with open(GOLDEN / "tokenizer_small_vocabulary.txt", "w", encoding="utf-8", newline="\n") as out:
        out.write(f"# {note}\n# Token texts in the order of their ids, then the merges.\n")
        out.writelines(f"token\t{t}\n" for t in small)
        out.writelines(f"control\t{t}\n" for t in small_control)
        out.writelines(f"merge\t{a} {b}\n" for a, b in small_merges)
    for name in ("gpt-2", "smollm", "llama-bpe", "qwen2"):
        write(GOLDEN / f"tokenizer_small_{name}.txt", [note, f"Vocabulary of tokenizer_small_vocabulary.txt, rule {name}."],
              rows(name, small + small_control, small_merges, small_control))


if __name__ == "__main__":
    main()
