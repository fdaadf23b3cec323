# SPDX-License-Identifier: Apache-2.0
"""`onebeat bench`: what its commands print and refuse; never how fast they are."""

import json
import re

import program


class Bench(program.ProgramTest):

    def test_every_benchmark_has_help_and_refuses_wrong_usage(self):
        listed = self.output_of("bench", "--help").split("Subcommands:")[1]
        names = re.findall(r"^  ([a-z-]+) ", listed, re.MULTILINE)
        self.assertLessEqual({"attention", "limits", "prepare", "step", "step-attention"}, set(names))
        for name in names:
            self.assertIn("--format", self.output_of("bench", name, "--help"))
            self.assert_error(2, f"onebeat bench {name}", "bench", name, "--nonsense")

    def test_the_isolated_preparation(self):
        text = self.output_of("bench", "prepare", "--set", "isolated", "--format", "json")
        (row,) = json.loads(text)["results"]
        self.assertEqual((row["requests"], row["context"], row["page"]), (32, 8192, 1))
        self.assertGreater(row["us"], 0)
        self.assertAlmostEqual(row["table_mb"], 32 * 8192 * 4e-6, places=3)

    def test_what_needs_a_gpu_says_what_is_missing(self):
        for arguments in (["step-attention"], ["prepare", "--set", "isolated"], ["attention"], ["limits"]):
            result = self.run_program("bench", *arguments, "--device", "cuda:97")
            self.assertEqual((result.returncode, result.stdout), (1, ""), arguments)
            self.assertRegex(result.stderr, r"built without CUDA|no GPU|cuda:97|device 97|driver")
        self.assert_error(1, "compares launches of a GPU", "bench", "step-attention", "--device", "cpu")
        self.assert_error(2, "it takes cpu or cuda:N", "bench", "step-attention", "--device", "gpu")
        self.assert_error(2, "--layers", "bench", "step-attention", "--layers", "0")


if __name__ == "__main__":
    program.main()
