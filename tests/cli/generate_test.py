# SPDX-License-Identifier: Apache-2.0
"""onebeat generate: text from the real model, and clear words where there can be none."""

import json
import os
import signal
import subprocess
import time

import program

REQUEST = ["generate", "-m", "smollm2", "--temperature", "0", "--threads", "2"]


class Generate(program.ProgramTest):

    def setUp(self):
        super().setUp()
        # The caller's own cache holds the model.
        home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
        self.cache = os.environ.get("ONEBEAT_CACHE") or os.path.join(home, "onebeat")
        if self.run_program("tokenize", "-m", "smollm2", "x").returncode != 0:
            if os.environ.get("ONEBEAT_REQUIRE_MODELS") == "1":
                self.fail("smollm2 is not in the cache")
            self.skipTest("smollm2 is not in the cache")

    def generate(self, *arguments, **changes):
        return json.loads(self.output_of(*REQUEST, "--format", "json", *arguments, **changes))

    def test_completes(self):
        reply = self.generate("-p", "The capital of France is", "-n", "4", "--compute", "f32")
        self.assertEqual(reply["prompt_tokens"], [504, 3575, 282, 4649, 314])
        self.assertEqual(reply["tokens"], [7042, 30, 198, 198])
        self.assertEqual(reply["text"], " Paris.\n\n")
        self.assertEqual(reply["finish_reason"], "length")
        self.assertEqual(set(reply["timings"]), {"load_ms", "prefill_tok_s", "decode_tok_s", "ttft_ms"})
        self.assertTrue(all(value > 0 for value in reply["timings"].values()))

    def test_text_format_streams_the_text_and_one_line_of_timings(self):
        result = self.run_program(*REQUEST, "-p", "The capital of France is", "-n", "4", "--compute", "f32")
        self.assertEqual((result.returncode, result.stdout), (0, " Paris.\n\n"))
        self.assertEqual(len(result.stderr.splitlines()), 1)
        self.assertIn("3 plans", result.stderr)

    def test_prompt_from_a_file(self):
        (self.folder / "prompt.txt").write_text("The capital of France is")
        reply = self.generate("-f", "prompt.txt", "-n", "2")
        self.assertEqual(reply["prompt_tokens"], [504, 3575, 282, 4649, 314])

    def test_stop_string_across_tokens(self):
        reply = self.generate("-p", "The capital of France is", "-n", "20", "--compute", "f32", "--stop", "s.\n")
        self.assertEqual(reply["text"], " Pari")
        self.assertEqual(reply["finish_reason"], "stop")

    def test_special_tokens_and_the_end(self):
        prompt = "<|im_start|>user\nSay hi.<|im_end|>\n<|im_start|>assistant\n"
        plain = self.generate("-p", prompt, "-n", "1")
        special = self.generate("-p", prompt, "-n", "60", "--special")
        self.assertIn(1, special["prompt_tokens"])
        self.assertNotIn(1, plain["prompt_tokens"])
        self.assertEqual(special["finish_reason"], "stop")
        self.assertNotIn(2, special["tokens"])
        longer = self.generate("-p", prompt, "-n", "60", "--special", "--ignore-eos")
        self.assertEqual(len(longer["tokens"]), 60)
        self.assertEqual(longer["tokens"][:len(special["tokens"])], special["tokens"])
        self.assertIn(2, longer["tokens"])

    def test_same_seed_same_reply(self):
        def drawn(seed):
            return json.loads(self.output_of("generate", "-m", "smollm2", "-p", "Once", "-n", "12", "--temperature", "1.5",
                                             "--seed", seed, "--format", "json"))["tokens"]
        self.assertEqual(drawn(7), drawn(7))
        self.assertNotEqual(drawn(7), drawn(8))

    def test_prompts_together_as_alone(self):
        prompts = ["Once", "The capital of France is", "Once upon a time"]
        common = ["generate", "-m", "smollm2", "-n", "12", "--temperature", "0.9", "--seed", "5", "--batch-invariant"]
        alone = [json.loads(self.output_of(*common, "-p", prompt, "--format", "json")) for prompt in prompts]
        several = [word for prompt in prompts for word in ("-p", prompt)]
        together = [json.loads(line) for line in self.output_of(*common, *several, "--format", "json").splitlines()]
        self.assertEqual([reply["tokens"] for reply in together], [reply["tokens"] for reply in alone])
        text = self.output_of(*common, *several)
        self.assertEqual(text, "".join(f"{'' if i == 0 else chr(10)}== {i + 1} ==\n{reply['text']}\n"
                                       for i, reply in enumerate(alone)))

    def test_bench_step_alone_and_together(self):
        for batch in ("1", "3"):
            report = json.loads(self.output_of("bench", "step", "-m", "smollm2", "--contexts", "9", "--tokens", "3",
                                               "--repeats", "2", "--batch", batch, "--format", "json"))
            self.assertEqual(report["batch"], int(batch))
            row = report["results"][0]
            self.assertEqual(len(row["decode_runs"]), 2)
            self.assertEqual(max(row["decode_runs"]), row["decode_tok_s"])
            self.assertEqual(min(row["decode_runs"]), row["decode_slowest_tok_s"])
            self.assertAlmostEqual(max(row["prefill_runs"]), row["prefill_tok_s"], delta=0.06)
            self.assertGreater(row["decode_slowest_tok_s"], 0)

    def test_refusals(self):
        self.assert_error(1, "prompt is empty", *REQUEST, "-p", "")
        self.assert_error(1, ["tokens; the context has room for 4"], *REQUEST, "-p", "one two three four five six",
                          "--context", "4")
        self.assert_error(1, ["9000", "8192"], *REQUEST, "-p", "x", "--context", "9000")
        self.assert_error(1, "nothing.gguf", "generate", "-m", "nothing.gguf", "-p", "x")
        self.assert_error(1, "cuda:0", *REQUEST, "-p", "x", "--device", "cuda:0")
        self.assert_error(2, "--threads", *REQUEST[:-1], "0", "-p", "x")
        self.assert_error(2, "--prompt", *REQUEST)
        self.assert_error(2, "temperature", "generate", "-m", "smollm2", "-p", "x", "--temperature", "-1")
        self.assert_error(2, "top_p", *REQUEST, "-p", "x", "--top-p", "0")

    def test_damaged_files(self):
        (self.folder / "empty.gguf").write_bytes(b"")
        self.assert_error(1, "empty.gguf", "generate", "-m", "./empty.gguf", "-p", "x")
        (self.folder / "noise.gguf").write_bytes(b"\x00" * 4096)
        self.assert_error(1, "noise.gguf", "generate", "-m", "./noise.gguf", "-p", "x")

    def test_interrupt_ends_the_reply_with_its_timings(self):
        child = subprocess.Popen(
            [program.BINARY, *REQUEST, "-p", "Once upon a time", "-n", "8000", "--ignore-eos"],
            env=program.clean_environment(ONEBEAT_CACHE=str(self.cache)), stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True)
        self.assertTrue(child.stdout.read(1), "the reply has begun")
        time.sleep(0.2)
        child.send_signal(signal.SIGINT)
        _, stderr = child.communicate(timeout=60)
        self.assertEqual(child.returncode, 1)
        timings, message = stderr.splitlines()
        self.assertIn("(cancelled)", timings)
        self.assertIn("interrupted", message)


if __name__ == "__main__":
    program.main()
