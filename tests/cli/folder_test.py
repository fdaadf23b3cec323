# SPDX-License-Identifier: Apache-2.0
"""Models in folders as Hugging Face lays them out: each family answers as its GGUF file does, and a folder that is not
whole is refused in one line."""

import json
import os
import pathlib
import shutil

import program

MODELS = pathlib.Path(os.environ.get("ONEBEAT_TEST_MODELS", ""))


class Folders(program.ProgramTest):

    def reply(self, model):
        text = self.output_of("generate", "-m", model, "-p", "The old light", "-n", "8", "--temperature", "0",
                              "--ignore-eos", "--compute", "f32", "--format", "json")
        reply = json.loads(text)
        return reply["prompt_tokens"], reply["tokens"]

    def test_both_formats_answer_the_same(self):
        for family in ["llama", "mistral", "qwen2", "qwen3", "gemma3"]:
            with self.subTest(family):
                self.assertEqual(self.reply(MODELS / family), self.reply(MODELS / f"{family}.gguf"))
                ids = self.output_of("tokenize", "-m", MODELS / family, "The old light")
                self.assertEqual(ids, self.output_of("tokenize", "-m", MODELS / f"{family}.gguf", "The old light"))

    def test_chat_template_of_a_folder(self):
        folder = self.folder / "model"
        shutil.copytree(MODELS / "qwen2", folder)
        self.assert_error(1, "no chat template", "generate", "-m", folder, "--chat", "-p", "x")
        (folder / "chat_template.jinja").write_text("<|im_start|>{{ messages[0].content }}<|im_end|>")
        text = self.output_of("generate", "-m", folder, "--chat", "-p", "light", "-n", "1", "--format", "json")
        plain = json.loads(self.output_of("tokenize", "-m", folder, "--special", "<|im_start|>light<|im_end|>"))
        self.assertEqual(json.loads(text)["prompt_tokens"], plain)

    def test_a_folder_that_is_not_whole(self):
        def refused(words, change):
            folder = self.folder / "model"
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(MODELS / "llama", folder)
            change(folder)
            self.assert_error(1, words, "generate", "-m", folder, "-p", "x")

        def without(name):
            return lambda folder: (folder / name).unlink()

        def shortened(name, size):
            return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:size])

        shard = "model-00002-of-00002.safetensors"
        refused("config.json", without("config.json"))
        refused("tokenizer.json", without("tokenizer.json"))
        refused("model.safetensors", without("model.safetensors.index.json"))
        refused(shard, without(shard))
        refused(shard, shortened(shard, 1000))
        refused(shard, shortened(shard, 8))
        refused("config.json", shortened("config.json", 40))
        refused("tokenizer.json", shortened("tokenizer.json", 400))
        refused(["config.json", "num_hidden_layers"],
                lambda folder: (folder / "config.json").write_text('{"model_type": "llama", '
                                                                   '"num_hidden_layers": 100000000000}'))
        self.assert_error(1, "folder", "generate", "-m", MODELS / "qwen2" / "model.safetensors", "-p", "x")

    def test_hostile_headers(self):
        folder = self.folder / "model"
        shutil.copytree(MODELS / "qwen2", folder)
        path = folder / "model.safetensors"
        whole = path.read_bytes()
        size = int.from_bytes(whole[:8], "little")
        header, data = json.loads(whole[8:8 + size]), whole[8 + size:]
        norm, table = "model.norm.weight", "model.embed_tokens.weight"

        def refused(words, text, data=data, place="model.safetensors"):
            text = text.encode()
            text += b" " * (-len(text) % 8)  # as the format's own writer does
            path.write_bytes(len(text).to_bytes(8, "little") + text + data)
            self.assert_error(1, [place, words], "generate", "-m", folder, "-p", "x")

        def changed(name, **values):
            return json.dumps(header | {name: header[name] | values})

        begin, end = header[norm]["data_offsets"]
        self.assertEqual(header[norm]["shape"], [64])
        refused("belong to no tensor", json.dumps(header), data + b"12345678")
        refused("truncated", json.dumps(header), data[:-2])
        refused("extents", changed(norm, shape=[2**62, 2**62]))
        refused("element 0", changed(norm, shape=[-64]))
        refused("element 0", changed(norm, shape=[64.5]))
        refused("JSON", changed(norm, shape=[float("nan")]))
        refused("limit is 8", changed(norm, shape=[64] + 8 * [1]))
        refused("I64", changed(norm, dtype="I64"))
        refused("F8_E4M3", changed(norm, dtype="F8_E4M3"))
        refused("not before it", changed(norm, data_offsets=[end, begin]))
        refused("overlaps", changed(norm, data_offsets=header[table]["data_offsets"], shape=header[table]["shape"]))
        twice = json.dumps(header)[:-1] + f', "{norm}": {json.dumps(header[norm])}}}'
        refused(norm, twice)
        refused("JSON", "{" * 100)
        path.write_bytes((2**63).to_bytes(8, "little") + whole[8:])
        self.assert_error(1, ["model.safetensors", str(2**63), "limit"], "generate", "-m", folder, "-p", "x")
        others = {name: entry for name, entry in header.items() if name != norm}
        refused("missing", json.dumps(others | {"model.norm.other": header[norm]}), place=norm)

    def test_an_index_that_leaves_the_folder(self):
        folder = self.folder / "model"
        shutil.copytree(MODELS / "llama", folder)
        path = folder / "model.safetensors.index.json"
        index = json.loads(path.read_text())
        tensor = sorted(index["weight_map"])[0]
        for place in ["../model.safetensors", "/etc/passwd", "..", "", "a/b.safetensors", "x\u0000.safetensors", 7,
                      ".safetensors", "model.bin"]:
            with self.subTest(place):
                path.write_text(json.dumps(index | {"weight_map": index["weight_map"] | {tensor: place}}))
                self.assert_error(1, [path.name], "generate", "-m", folder, "-p", "x")
        # A tensor in another shard than the index says, or in none.
        shards = sorted(set(index["weight_map"].values()))
        other = next(shard for shard in shards if shard != index["weight_map"][tensor])
        path.write_text(json.dumps(index | {"weight_map": index["weight_map"] | {tensor: other}}))
        self.assert_error(1, [tensor, other], "generate", "-m", folder, "-p", "x")

    def test_a_context_larger_than_memory_says_what_would_fit(self):
        folder = self.folder / "model"
        shutil.copytree(MODELS / "llama", folder)
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"max_position_embeddings": 2000000000}))
        self.assert_error(1, ["2000000000 tokens", "would fit"], "generate", "-m", folder, "-p", "x", "--context",
                          "2000000000")


if __name__ == "__main__":
    if not MODELS.is_dir():
        raise SystemExit("ONEBEAT_TEST_MODELS must name the folder of tools/make_test_models.py")
    program.main()
