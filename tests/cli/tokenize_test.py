# SPDX-License-Identifier: Apache-2.0
"""onebeat tokenize and onebeat detokenize on a model file of this test: byte-level BPE over all bytes."""

import json
import struct
import subprocess

import program

END, BOS = "<|im_end|>", "<|im_start|>"


def text(value):
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def strings(key, values):
    return text(key) + struct.pack("<IIQ", 9, 8, len(values)) + b"".join(map(text, values))


def alphabet():
    """The 256 characters in which such vocabularies spell bytes."""
    prints = [*range(0x21, 0x7f), *range(0xa1, 0xad), *range(0xae, 0x100)]
    others = [b for b in range(256) if b not in prints]
    return {**{b: chr(b) for b in prints}, **{b: chr(0x100 + i) for i, b in enumerate(others)}}


def gguf(pre="smollm", tokens=None, bos=True):
    if tokens is None:
        tokens = [alphabet()[b] for b in range(256)] + ["he", "Ġhe", END, BOS]
    entries = [
        text("tokenizer.ggml.model") + struct.pack("<I", 8) + text("gpt2"),
        text("tokenizer.ggml.pre") + struct.pack("<I", 8) + text(pre),
        strings("tokenizer.ggml.tokens", tokens),
        strings("tokenizer.ggml.merges", ["h e", "Ġ he"]),
        text("tokenizer.ggml.token_type") + struct.pack("<IIQ", 9, 5, len(tokens))
        + b"".join(struct.pack("<i", 3 if t in (END, BOS) else 1) for t in tokens),
    ]
    if bos:
        entries.append(text("tokenizer.ggml.bos_token_id") + struct.pack("<II", 4, tokens.index(BOS)))
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(entries)) + b"".join(entries)


class Tokenize(program.ProgramTest):

    def setUp(self):
        super().setUp()
        self.model = self.folder / "small.gguf"
        self.model.write_bytes(gguf())

    def ids_of(self, *arguments, **changes):
        return json.loads(self.output_of("tokenize", "-m", self.model, *arguments, **changes))

    def through_stdin(self, data, *arguments):
        result = subprocess.run([program.BINARY, *map(str, arguments)], input=data, capture_output=True,
                                env=program.clean_environment(), timeout=300)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result.stdout

    def test_ids_as_a_json_list(self):
        self.assertEqual(self.output_of("tokenize", "-m", self.model, "he he 1"), "[256, 257, 32, 49]\n")
        self.assertEqual(self.ids_of(""), [])
        self.assertEqual(self.ids_of("--", "--x"), [45, 45, 120])

    def test_special_tokens_only_where_allowed(self):
        self.assertNotIn(258, self.ids_of(END))
        self.assertEqual(self.ids_of("--special", "a" + END), [97, 258])
        self.assertEqual(self.ids_of("--bos", "a"), [259, 97])
        self.assertEqual(self.ids_of("--bos", ""), [259])
        self.assertEqual(self.ids_of("a", ONEBEAT_BOS="1"), [259, 97])

    def test_files_and_standard_input_are_taken_as_they_are(self):
        file = self.folder / "text"
        file.write_bytes(b"a\r\n\x00\n")
        self.assertEqual(self.ids_of("-f", file), [97, 13, 10, 0, 10])
        out = self.through_stdin(b"\xffz", "tokenize", "-m", self.model, "-f", "-")
        self.assertEqual(json.loads(out), [0xef, 0xbf, 0xbd, 122])
        self.assert_error(1, "no/such/file", "tokenize", "-m", self.model, "-f", "no/such/file")
        self.assert_error(1, str(self.folder), "tokenize", "-m", self.model, "-f", self.folder)

    def test_there_and_back(self):
        # The binary's own bytes hold everything but valid UTF-8.
        data = self.model.read_bytes() + "é 😀\n".encode()
        ids = self.through_stdin(data, "tokenize", "-m", self.model, "-f", "-")
        back = self.through_stdin(ids, "detokenize", "-m", self.model, "-f", "-")
        self.assertEqual(back.decode(), data.decode(errors="replace"))
        self.assertEqual(self.output_of("detokenize", "-m", self.model, "[256,257 , 258]"), "he he" + END)
        self.assertEqual(self.output_of("detokenize", "-m", self.model, "[]"), "")
        self.assertEqual(self.output_of("detokenize", "-m", self.model, "[240, 159]"), "\ufffd")

    def test_ids_that_are_none(self):
        command = ("detokenize", "-m", self.model)
        self.assert_error(1, ["token id 260", "0 to 259"], *command, "[1, 260]")
        self.assert_error(1, "token id -1", *command, "[-1]")
        self.assert_error(1, "beyond 32 bits", *command, "[4294967296]")
        for bad in ("", "1", "[1", "[1,]", "[1.0]", "{}", "[true]"):
            self.assert_error(2, "[1, 2, 3]", *command, bad)

    def test_wrong_usage(self):
        self.assert_error(2, "--model", "tokenize", "text")
        self.assert_error(2, "--file", "tokenize", "-m", self.model)
        self.assert_error(2, "excludes", "tokenize", "-m", self.model, "text", "-f", "file")
        self.assert_error(2, "--file", "detokenize", "-m", self.model)

    def test_model_files_that_are_none(self):
        def refused(content, *words):
            self.model.write_bytes(content)
            self.assert_error(1, [str(self.model), *words], "tokenize", "-m", self.model, "a")

        good = gguf()
        refused(b"", "empty")
        refused(b"PK\x03\x04 and more", "not a GGUF file")
        refused(good[:-5], "ends after")
        refused(good[:4] + struct.pack("<I", 1) + good[8:], "version 1")
        refused(good[:4] + struct.pack(">I", 3) + good[8:], "big-endian")
        refused(good[:16] + struct.pack("<Q", 1 << 60) + good[24:], str(1 << 60))
        refused(gguf(pre="mystery"), "'mystery'", "smollm")
        refused(gguf(tokens=["a", END, BOS]), "merge 0")
        self.model.write_bytes(gguf(bos=False))
        self.assert_error(1, "begins a sequence", "tokenize", "-m", self.model, "--bos", "a")
        self.assert_error(1, "folder", "tokenize", "-m", self.folder, "a")
        self.assert_error(1, "smollm2", "tokenize", "-m", "no-such-model", "a")


if __name__ == "__main__":
    program.main()
