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


if __name__ == "__main__":
    if not MODELS.is_dir():
        raise SystemExit("ONEBEAT_TEST_MODELS must name the folder of tools/make_test_models.py")
    program.main()
