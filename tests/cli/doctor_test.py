# SPDX-License-Identifier: Apache-2.0
"""onebeat doctor: what it says agrees with the system."""

import json
import os

import program


class Doctor(program.ProgramTest):

    def test_json_agrees_with_the_system(self):
        found = json.loads(self.output_of("doctor", "--format", "json", "--threads", "2"))
        self.assertEqual(found["cpu"]["processors"], os.cpu_count())
        self.assertEqual(found["memory"]["total"], os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
        self.assertEqual(found["memory"]["threads"], 2)
        self.assertGreater(found["memory"]["read_bytes_per_s"], 1e8)
        self.assertEqual(found["models"], {"folder": str(self.cache), "problem": None, "list": []})
        self.assertIn(found["device"], ("cpu", "cuda"))
        self.assertEqual(found["device"] == "cuda", found["gpu"]["usable"])

    def test_text_names_models_and_kernels(self):
        self.cache.mkdir()
        (self.cache / "mine.gguf").write_bytes(b"12345")
        text = self.output_of("doctor")
        for word in ("CPU", "GB/s", "mine.gguf", "kernels", str(self.cache)):
            self.assertIn(word, text)

    def test_a_bad_cache_folder_is_a_finding(self):
        self.cache.write_text("a file")
        self.assertIn("cannot read the model folder", self.output_of("doctor"))

    def test_wrong_usage(self):
        self.assert_error(2, "threads", "doctor", "--threads", "0")
        self.assert_error(2, "threads", "doctor", "--threads", "1025")


if __name__ == "__main__":
    program.main()
