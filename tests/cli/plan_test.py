# SPDX-License-Identifier: Apache-2.0
"""onebeat plan: what it prints adds up to the step that was asked for."""

import json
import os
import xml.etree.ElementTree as xml

import program


class Plan(program.ProgramTest):

    def plan(self, *arguments):
        return json.loads(self.output_of("plan", "--format", "json", *arguments))

    def assert_covers(self, plan, lens, kv_heads, tile, window=-1):
        """Every token that a query sees belongs to exactly one segment, and merges add up."""
        runs, merges, slots = {}, {}, set()
        for worker in plan["workers"]:
            for segment in worker["segments"]:
                unit = segment["request"], segment["kv_head"]
                runs.setdefault(unit, []).append((segment["token_begin"], segment["token_end"]))
                self.assertEqual(segment["slot"] is None, segment["merge"] is None)
                if segment["merge"] is not None:
                    merges.setdefault(unit, []).append(segment["merge"])
                    self.assertIn(segment["slot"], (2 * worker["worker"], 2 * worker["worker"] + 1))
                    self.assertNotIn(segment["slot"], slots)
                    slots.add(segment["slot"])
        self.assertEqual(set(runs), {(r, h) for r in range(len(lens)) for h in range(kv_heads)})
        for (request, _), parts in runs.items():
            parts.sort()
            length = lens[request]
            first = max(0, length - 1 - window) if window >= 0 else 0
            self.assertEqual(parts[0][0], first)
            self.assertEqual(parts[-1][1], length)
            for (_, end), (begin, _) in zip(parts, parts[1:]):
                self.assertEqual(end, begin)
                self.assertEqual(end % tile, 0, "units are cut between tiles")
        for unit, counts in merges.items():
            self.assertEqual(counts, [len(counts)] * len(counts), f"partials of {unit}")
        for unit, parts in runs.items():
            self.assertEqual(unit in merges, len(parts) > 1)
        self.assertEqual(plan["scratch_rows"], len(slots))

    def test_json_covers_the_step(self):
        plan = self.plan("--lens", "131072,512x31", "--heads", "32/8", "--workers", "132")
        self.assert_covers(plan, [131072] + [512] * 31, 8, 64)
        self.assertEqual(plan["workers_active"], 132)
        self.assertLessEqual(plan["balance"], 1.03)
        self.assertGreaterEqual(plan["balance"], 1.0)

    def test_few_requests_and_empty_ones(self):
        plan = self.plan("--lens", "0,100,0,1", "--heads", "4/2", "--workers", "3", "--tile", "16")
        self.assert_covers(plan, [0, 100, 0, 1], 2, 16)

    def test_window_means_earlier_tokens(self):
        plan = self.plan("--lens", "1000,5", "--heads", "2/1", "--workers", "2", "--window", "99")
        self.assert_covers(plan, [1000, 5], 1, 64, window=99)
        self.assertEqual(plan["window"], 99)

    def test_same_step_same_text(self):
        arguments = ["plan", "--lens", "4096x7,3,100x5"]
        self.assertEqual(self.output_of(*arguments), self.output_of(*arguments))

    def test_picture(self):
        file = self.folder / "plan.svg"
        self.assertEqual(self.output_of("plan", "--lens", "4096,512x7", "--workers", "16", "--format", "svg",
                                        "-o", file), "")
        self.assertTrue(xml.parse(file).getroot().tag.endswith("svg"))
        self.assertEqual(os.listdir(self.folder), ["plan.svg"])

    def test_variables(self):
        expected = self.output_of("plan", "--lens", "77x3", "--workers", "5", "--format", "json")
        self.assertEqual(self.output_of("plan", ONEBEAT_LENS="77x3", ONEBEAT_WORKERS="5", ONEBEAT_FORMAT="json"),
                         expected)
        self.assertEqual(self.output_of("plan", "--workers", "5", "--format", "json", ONEBEAT_LENS="77x3",
                                        ONEBEAT_WORKERS="6"), expected)
        self.assert_error(2, "ONEBEAT_WORKERS=many", "plan", "--lens", "1", ONEBEAT_WORKERS="many")
        self.assert_error(2, "ONEBEAT_FORMAT=png", "plan", "--lens", "1", ONEBEAT_FORMAT="png")

    def test_wrong_usage(self):
        self.assert_error(2, "--lens", "plan")
        for lens in ["", "abc", "1,,2", "1x", "1x0", "12;13", "1.5"]:
            self.assert_error(2, "lens", "plan", f"--lens={lens}")
        for heads in ["", "32/", "a/b", "32x8"]:
            self.assert_error(2, "heads", "plan", "--lens", "1", f"--heads={heads}")
        self.assert_error(2, "format", "plan", "--lens", "1", "--format", "png")
        self.assert_error(2, "workers", "plan", "--lens", "1", "--workers", "many")
        self.assert_error(2, "extra", "plan", "--lens", "1", "extra")

    def test_numbers_that_make_no_plan(self):
        for words, *arguments in [
                ("-5", "--lens=-5"),
                ("99999999999", "--lens", "99999999999"),
                ("65536", "--lens", "1x70000"),
                (["32", "7"], "--lens", "1", "--heads", "32/7"),
                ("0", "--lens", "1", "--heads", "0/0"),
                ("-8", "--lens", "1", "--heads=-8/-8"),
                ("0", "--lens", "1", "--workers", "0"),
                ("4097", "--lens", "1", "--workers", "4097"),
                ("48", "--lens", "1", "--tile", "48"),
                ("3", "--lens", "1", "--page", "3"),
                ("100", "--lens", "1", "--head-dim", "100"),
                ("17", "--lens", "100", "--query-tokens", "17"),
                ("-2", "--lens", "1", "--window=-2"),
        ]:
            self.assert_error(1, words, "plan", *arguments)

    def test_output_that_cannot_be_written(self):
        self.assert_error(1, "/nonexistent/plan.svg", "plan", "--lens", "1", "-o", "/nonexistent/plan.svg")
        self.assert_error(1, str(self.folder), "plan", "--lens", "1", "-o", self.folder)
        self.assert_error(1, "/dev/full", "plan", "--lens", "1", "-o", "/dev/full")
        self.assertEqual(os.listdir(self.folder), [])


if __name__ == "__main__":
    program.main()
