# SPDX-License-Identifier: Apache-2.0
"""benchmark_tables.py writes what result files say, marks losses, and notices a page that says something else."""

import json
import pathlib
import shutil
import tempfile
import unittest

import benchmark_tables

PAGE = """# Page

Words before.

<!-- attention bench/results/a.json -->
old
<!-- end -->

Words after.
"""


def row(batch, page, us, peer_us):
    return {"heads": 32, "kv_heads": 8, "head_dim": 128, "batch": batch, "page": page, "us": us, "ideal_us": 10.0,
            "stored_peer_us": peer_us, "peer": "FA3 cpasync pre_ctx"}


ATTENTION = {"bench": "attention", "device": "NVIDIA H200", "date": "2026-01-02", "read_limit_gb_per_s": 4600,
             "cuda_sources": "abc",
             "rows": [row("bs1 x 512", 1, 10.0, 20.0), row("bs1 x 512", 64, 10.0, 9.0),
                      row("bs1024 x 32768", 1, 1234.5, 1234.0), row("skew_131072+31x512 x 131072", 1, 150.0, 300.0)]}


class Tables(unittest.TestCase):

    def setUp(self):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="onebeat_tables_"))
        (self.root / "docs").mkdir()
        (self.root / "bench" / "results").mkdir(parents=True)
        self.page = self.root / "docs" / "benchmarks.md"
        self.page.write_text(PAGE, encoding="utf-8")
        self.write("a.json", ATTENTION)

    def tearDown(self):
        shutil.rmtree(self.root)

    def write(self, name, result):
        (self.root / "bench" / "results" / name).write_text(json.dumps(result), encoding="utf-8")

    def run_tool(self, *arguments):
        code = benchmark_tables.main(list(arguments), self.root)
        return code, self.page.read_text(encoding="utf-8")

    def test_writes_rows_marks_losses_and_keeps_the_rest(self):
        code, text = self.run_tool()
        self.assertEqual(code, 0)
        self.assertNotIn("old", text)
        self.assertIn("| 1 x 512 | 10.00 | 10.00 | 20.0 FA3 | 2.00 | 10.00 | 9.00 FA3 | **0.90** |", text)
        self.assertIn("| 1024 x 32,768 | 10.00 | 1,234 | 1,234 FA3 | 1.00 | - | - | - |", text)
        self.assertIn("| 131,072 + 31 x 512 |", text)
        self.assertIn("1 below 1.00, worst 0.90", text)
        self.assertIn("geometric mean **1.38**", text)  # (2 * 0.9 * 1.0 * 2) ** (1 / 4)
        self.assertTrue(text.startswith("# Page\n\nWords before.\n"))
        self.assertTrue(text.endswith("<!-- end -->\n\nWords after.\n"))

    def test_both_families_at_each_number_of_query_rows(self):
        rows = [{"group": "g", "heads": heads, "kv_heads": 2, "head_dim": 64, "batch": "1 x 512", "page": 16,
                 "query_tokens": tokens, "variant": variant, "us": us, "ideal_us": 1.0}
                for heads, tokens, variant, us in ((4, 4, "mma_d64_r8", 4.0), (4, 4, "mma_d64_r8", 5.0), (4, 4, "wgmma_d64", 8.0),
                                                   (8, 2, "mma_d64_r8", 9.0), (8, 2, "wgmma_d64", 8.0))]
        self.write("r.json", ATTENTION | {"set": "rows", "rows": rows})
        self.page.write_text("<!-- attention-rows bench/results/r.json -->\n<!-- end -->\n", encoding="utf-8")
        code, text = self.run_tool()
        self.assertEqual(code, 0)
        self.assertIn("| 64 | 8 | 6.00 / 8.00 | 0.75 |", text)  # the better 4, and 9 of another number of heads

    def test_shapes_without_peers_beside_their_aim(self):
        rows = [row("3 up to 700", page, us, 0.0) | {"group": "28/4/128", "ideal_us": 0.95}
                for page, us in ((16, 6.0), (128, 4.0))]
        self.write("i.json", ATTENTION | {"set": "irregular", "rows": rows})
        self.page.write_text("<!-- attention-irregular bench/results/i.json -->\n<!-- end -->\n", encoding="utf-8")
        code, text = self.run_tool()
        self.assertEqual(code, 0)
        self.assertIn("| 28/4/128 | 3 up to 700 | 6.00 | 0.95 | 1.50 | 4.00 | 0.95 | 1.00 |", text)
        self.assertIn("worst 1.50", text)

    def test_check_notices_a_changed_figure(self):
        self.assertEqual(self.run_tool("check")[0], 1)
        self.run_tool()
        self.assertEqual(self.run_tool("check")[0], 0)
        ATTENTION_LATER = json.loads(json.dumps(ATTENTION))
        ATTENTION_LATER["rows"][0]["us"] = 11.0
        self.write("a.json", ATTENTION_LATER)
        self.assertEqual(self.run_tool("check")[0], 1)

    def test_use_names_another_file_of_the_same_kind(self):
        self.write("b.json", ATTENTION | {"date": "2026-02-03"})
        code, text = self.run_tool("use", str(self.root / "bench" / "results" / "b.json"))
        self.assertEqual(code, 0)
        self.assertIn("<!-- attention bench/results/b.json -->", text)
        self.assertIn("2026-02-03", text)
        self.write("c.json", {"bench": "limits"})
        with self.assertRaisesRegex(ValueError, "no table 'limits'"):
            self.run_tool("use", str(self.root / "bench" / "results" / "c.json"))

    def test_a_file_of_another_kind_is_refused(self):
        self.write("a.json", {"bench": "limits"})
        with self.assertRaisesRegex(ValueError, "holds 'limits', not 'attention'"):
            self.run_tool()
        self.page.write_text("nothing named", encoding="utf-8")
        with self.assertRaisesRegex(ValueError, "names no result file"):
            self.run_tool()

    def test_a_step_counts_launches_and_compares_the_forms(self):
        step = {"bench": "step-attention", "device": "NVIDIA H200", "date": "2026-01-02", "layers": 32, "rows": [
            {"heads": 16, "kv_heads": 2, "head_dim": 128, "batch": "bs4 x 512", "page": 64, "step_us": 100.0,
             "outside_us": 105.0, "per_layer_us": 200.0, "layers_alone_us": 98.0, "kernels": 33, "kernels_outside": 33,
             "kernels_per_layer": 64, "ideal_us": 16.0, "stored_peer_us": 320.0, "peer": "FlashInfer ps_cg"}]}
        text = benchmark_tables.step_attention(step)
        self.assertIn("| for each layer | 64 | 2.000 |", text)
        self.assertIn("| never (the layers alone) | 32 | 0.980 |", text)
        self.assertIn("| 4 x 512 | 16.00 | 100 | 200 | 320 FI | 3.20 |", text)

    def test_peers_on_a_cpu_a_table_for_each_model(self):
        def speed(median):
            return {"median": median, "min": median - 1, "max": median + 1, "runs": 3}

        result = {"bench": "cpu-peers", "model": "A model", "file": "a.gguf", "cpu": "A processor", "isa": "avx2",
                  "date": "2026-01-02", "commit": "0123456789abcdef", "llama.cpp": "1", "ik_llama.cpp": "2", "kv": "f16",
                  "limits": [{"threads": 1, "read_gb_per_s": 10.25, "share": 0.8}], "rows": [
                      {"threads": 1, "case": "decode 2048", "tokens_per_second":
                          {"llama.cpp": speed(20), "ik_llama.cpp": speed(25), "onebeat": speed(50)}},
                      {"threads": 2, "case": "together 8", "tokens_per_second":
                          {"llama.cpp": speed(200), "onebeat": speed(100)}}]}
        self.page.write_text("".join(f"<!-- cpu-peers:{name}.gguf bench/results/{name}.json -->\n<!-- end -->\n"
                                     for name in "ab"), encoding="utf-8")
        for name in "ab":
            self.write(f"{name}.json", result | {"file": f"{name}.gguf"})
        text = self.run_tool()[1]
        self.assertIn("| 1 | decode behind 2,048 | 20 (19 to 21) | 25 (24 to 26) | 50 (49 to 51) | 2.00 |", text)
        self.assertIn("| 2 | 8 requests at once | 200 (199 to 201) | fails | 100 (99 to 101) | **0.50** |", text)
        self.assertIn("1 thread read a buffer of the weights' size at 10.2 GB/s; decode behind 0 reached 0.80 of it.", text)
        self.write("later.json", result)
        text = self.run_tool("use", str(self.root / "bench" / "results" / "later.json"))[1]
        self.assertEqual(text.count("later.json"), 1)
        self.assertIn("<!-- cpu-peers:b.gguf bench/results/b.json -->", text)

    def test_products_of_a_step_with_their_kernels(self):
        rows = [{"rows": m, "product": name, "kernel": kernel, "us": us, "ideal_us": 10.0, "share": 10 / us}
                for m, us in ((1, 12.5), (16, 20.0)) for name, kernel in (("qkv", "stream"), ("step", ""))]
        text = benchmark_tables.linear({"bench": "linear", "model": "a-model", "layers": 3, "device": "NVIDIA H200",
                                        "date": "2026-01-02", "rows": rows})
        self.assertIn("a-model, 3 layers and the head; NVIDIA H200", text)
        self.assertIn("| product | bytes alone | M = 1 | M = 16 |", text)
        self.assertIn("| qkv | 10.00 | 12.50 (0.800) `stream` | 20.0 (0.500) `stream` |", text)
        self.assertIn("| step | 10.00 | 12.50 (0.800) | 20.0 (0.500) |", text)


if __name__ == "__main__":
    unittest.main()
