# SPDX-License-Identifier: Apache-2.0
"""`onebeat bench`: what its commands print and refuse; never how fast they are."""

import json
import re

import program


class Bench(program.ProgramTest):

    def test_every_benchmark_has_help_and_refuses_wrong_usage(self):
        listed = self.output_of("bench", "--help").split("Subcommands:")[1]
        names = re.findall(r"^  ([a-z-]+) ", listed, re.MULTILINE)
        self.assertLessEqual({"attention", "cascade", "limits", "prepare", "step", "step-attention"}, set(names))
        for name in names:
            help_text = self.output_of("bench", name, "--help")
            self.assertIn("--out" if name == "logits" else "--format", help_text)
            self.assert_error(2, f"onebeat bench {name}", "bench", name, "--nonsense")

    def test_the_isolated_preparation(self):
        text = self.output_of("bench", "prepare", "--set", "isolated", "--format", "json")
        (row,) = json.loads(text)["results"]
        self.assertEqual((row["requests"], row["context"], row["page"]), (32, 8192, 1))
        self.assertGreater(row["us"], 0)
        self.assertAlmostEqual(row["table_mb"], 32 * 8192 * 4e-6, places=3)

    def test_attention_refuses_what_it_would_ignore(self):
        for option, value in (("--set", "verify"), ("--least-worker-tokens", "64"), ("--no-overlap", None),
                              ("--batch-invariant", None)):
            self.assert_error(2, [option, "GPU only"], "bench", "attention", option, *([value] if value else []))
        for option, value in (("--preset", "short"), ("--tile", "32"), ("--kv-type", "f32"), ("--invariant-chunk", "64"),
                              ("--passes", "3"), ("--pages-in-order", None)):
            self.assert_error(2, [option, "for the CPU only"], "bench", "attention", "--device", "cuda:0", option,
                              *([value] if value else []))
        for option, value in (("--heads", "8/8"), ("--head-dim", "64"), ("--page", "1"), ("--query-tokens", "2")):
            self.assert_error(2, [option, "--lens"], "bench", "attention", "--device", "cuda:0", option, value)
        for option, value in (("--preset", "short"), ("--set", "rows")):
            self.assert_error(2, [option, "--lens"], "bench", "attention", "--lens", "5", option, value)

    def test_prefill_refuses_what_it_would_ignore(self):
        for words, arguments in ((["--prefill", "GPU only"], ["--prefill"]),
                                 (["--prefix", "--prefill"], ["--prefix", "5"]),
                                 (["--prefix", "--lens"], ["--prefill", "--device", "cuda:0", "--prefix", "5"]),
                                 (["--set", "--prefill"], ["--prefill", "--device", "cuda:0", "--set", "rows"]),
                                 (["--workers", "no plan"], ["--prefill", "--device", "cuda:0", "--workers", "5"])):
            self.assert_error(2, words, "bench", "attention", *arguments)

    def test_attention_refuses_impossible_shapes(self):
        for words, *arguments in ((["nothing to attend to"], "--lens", "0,0"),
                                  (["4 KV tokens", "8 query tokens"], "--lens", "4", "--query-tokens", "8"),
                                  (["-5 KV tokens"], "--lens", "-5"),
                                  (["'five'", "whole number"], "--lens", "five"),
                                  (["9", "2", "divide"], "--lens", "5", "--heads", "9/2"),
                                  (["page_tokens is 24", "power of two"], "--lens", "5", "--page", "24"),
                                  (["'mma'", "portable"], "--lens", "5", "--variant", "mma")):
            self.assert_error(1, words, "bench", "attention", *arguments)

    def test_attention_reports_what_it_ran(self):
        text = self.output_of("bench", "attention", "--lens", "70,0,5", "--heads", "6/2", "--head-dim", "64", "--page", "8",
                              "--kv-type", "f16", "--query-tokens", "2", "--variant", "portable", "--threads", "1",
                              "--passes", "1", "--format", "json")
        report = json.loads(text)
        self.assertEqual([report[key] for key in ("heads", "kv_heads", "head_dim", "page", "kv_type", "query_tokens", "variant")],
                         [6, 2, 64, 8, "f16", 2, "portable"])
        (row,) = report["results"]
        self.assertEqual((row["requests"], row["kv_tokens"], row["kv_bytes"]), (3, 75, 75 * 2 * 128 * 2))

    def test_what_needs_a_gpu_says_what_is_missing(self):
        for arguments in (["step-attention"], ["prepare", "--set", "isolated"], ["attention"], ["limits"]):
            result = self.run_program("bench", *arguments, "--device", "cuda:97")
            self.assertEqual((result.returncode, result.stdout), (1, ""), arguments)
            self.assertRegex(result.stderr, r"built without CUDA|no GPU|cuda:97|device 97|driver")
        self.assert_error(1, "compares launches of a GPU", "bench", "cascade", "--device", "cpu")
        self.assert_error(2, "--requests", "bench", "cascade", "--prefix", "512")
        self.assert_error(1, "compares launches of a GPU", "bench", "step-attention", "--device", "cpu")
        self.assert_error(2, "it takes cpu or cuda:N", "bench", "step-attention", "--device", "gpu")
        self.assert_error(2, "--layers", "bench", "step-attention", "--layers", "0")


if __name__ == "__main__":
    program.main()
