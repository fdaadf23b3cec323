# SPDX-License-Identifier: Apache-2.0
"""gpu_result.py keeps every figure, adds where it comes from, and says each kind of result in short."""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

import gpu_result

ROWS = [{"heads": 32, "kv_heads": 8, "head_dim": 128, "page": 64, "us": 5.0, "ideal_us": 1.9, "stored_peer_us": 10.0},
        {"heads": 32, "kv_heads": 8, "head_dim": 128, "page": 64, "us": 8.0, "ideal_us": 1.9, "stored_peer_us": 4.0}]


class GpuResult(unittest.TestCase):

    def run_tool(self, result):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "2026-01-02-attention-gpu.json"
            file.write_text(json.dumps(result), encoding="utf-8")
            done = subprocess.run([sys.executable, "-B", gpu_result.__file__, file, "abc", "1234567"],
                                  capture_output=True, text=True, check=True)
            (made,) = pathlib.Path(folder).iterdir()
            return made.name, json.loads(made.read_text(encoding="utf-8")), done.stdout

    def test_the_file_is_named_for_its_device_and_keeps_everything(self):
        result = {"bench": "attention", "device": "NVIDIA H200", "rows": ROWS}
        name, made, text = self.run_tool(result)
        self.assertEqual(name, "2026-01-02-attention-h200.json")
        self.assertEqual({key: made[key] for key in result}, result)
        self.assertEqual((made["cuda_sources"], made["commit"]), ("abc", "1234567"))
        self.assertIn("mean 1.000, 1 of 2 below 1.00, worst 0.50", text)
        self.assertIn("32/8/128 page 64 1.00", text)

    def test_shapes_without_peers_are_held_against_their_aim(self):
        rows = [row | {"stored_peer_us": 0} for row in ROWS]
        self.assertIn("mean 1.26, worst 1.60", "".join(gpu_result.in_short({"bench": "attention", "rows": rows})))

    def test_a_step_says_what_its_other_forms_take(self):
        rows = [ROWS[0] | {"step_us": 5.0, "outside_us": 6.0, "per_layer_us": 10.0, "layers_alone_us": 4.5}]
        text = "\n".join(gpu_result.in_short({"bench": "step-attention", "rows": rows}))
        self.assertIn("outside 1.200, per_layer 2.000, layers_alone 0.900", text)

    def test_products_of_a_step_are_held_against_the_read_limit(self):
        rows = [{"rows": 4, "product": "qkv", "share": 0.7}, {"rows": 4, "product": "step", "share": 0.8766}]
        self.assertEqual(list(gpu_result.in_short({"bench": "linear", "rows": rows})),
                         ["share of the read limit in a step: M 4 0.877"])

    def test_prefill_is_held_against_the_fastest_peer(self):
        rows = [{"batch": "2048", "page": 64, "us": 100.0, "tflops": 500.0, "peers_us": {"a": 90.0, "b": 120.0}},
                {"batch": "16x512", "page": 1, "us": 50.0, "tflops": 300.0}]
        text = "\n".join(gpu_result.in_short({"bench": "prefill-attention", "matrix_limit_tflops": 800.0, "rows": rows}))
        self.assertIn("mean 0.900, worst 0.90, 1 shapes", text)
        self.assertIn("of 800 TFLOP/s: 2048 page 64 500, 16x512 page 1 300", text)


if __name__ == "__main__":
    unittest.main()
