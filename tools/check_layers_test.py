# SPDX-License-Identifier: Apache-2.0
"""check_layers.py finds each kind of violation in a small bad tree, and nothing in its good twin."""

import pathlib
import shutil
import tempfile
import unittest

import check_layers

SPDX = "// SPDX-License-Identifier: Apache-2.0\n"
GOOD = {
    "include/onebeat/status.h": SPDX,
    "include/onebeat/plan.h": SPDX + '#include "onebeat/status.h"\n',
    "include/onebeat/step.h": SPDX + '#include "onebeat/plan.h"\n',
    "src/base/error.h": SPDX + '#include "onebeat/status.h"\n',
    "src/plan/planner.cpp": SPDX + '#include <vector>\n#include "onebeat/plan.h"\n#include "base/error.h"\n',
    "src/ops/norm_cuda.cu": SPDX + "void f() { kernel<<<dim3(1, 2), f(a, b), 0, stream>>>(x); }\n",
    "apps/onebeat/commands.h": SPDX,
    "apps/onebeat/main.cpp": SPDX + '#include "commands.h"\n#include "plan/planner.h"\nint main() { printf("x"); }\n',
    "src/plan/planner.h": SPDX,
    "src/plan/planner_test.cpp": SPDX + 'void test() { printf("seed"); }\n',
    "tools/a.sh": "#!/bin/sh\n# SPDX-License-Identifier: Apache-2.0\n",
}


class CheckLayers(unittest.TestCase):

    def setUp(self):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="onebeat_layers_"))
        self.addCleanup(shutil.rmtree, self.root)
        for path, text in GOOD.items():
            self.write(path, text)

    def write(self, path, text):
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text, encoding="utf-8")

    def assert_only(self, words):
        found = list(check_layers.violations(self.root))
        self.assertEqual(len(found), 1, found)
        self.assertIn(words, found[0])

    def test_good_tree(self):
        self.assertEqual(list(check_layers.violations(self.root)), [])

    def test_include_against_the_arrows(self):
        self.write("src/base/clock.h", SPDX + '#include "plan/planner.h"\n')
        self.assert_only('src/base/clock.h:2: base includes "plan/planner.h"; it may use: nothing of ours')

    def test_public_header_against_the_arrows(self):
        self.write("src/plan/show.cpp", SPDX + '\n\n#include "onebeat/step.h"\n')
        self.assert_only('src/plan/show.cpp:4: plan includes "onebeat/step.h"')

    def test_public_header_that_includes_what_is_not_installed(self):
        self.write("include/onebeat/plan.h", SPDX + '#include "plan/planner.h"\n')
        self.assert_only("which is not installed")

    def test_unknown_folder_and_header(self):
        self.write("src/misplaced/x.h", SPDX)
        self.assert_only("what src/misplaced may include")
        shutil.rmtree(self.root / "src/misplaced")
        self.write("include/onebeat/surprise.h", SPDX)
        self.assert_only("which folder of src/ implements surprise.h")

    def test_includes_that_are_not_rooted(self):
        for name in ("planner.h", "../plan/planner.h", "src/plan/planner.h", "plan/missing.h"):
            self.write("src/plan/show.cpp", SPDX + f'#include "{name}"\n')
            self.assert_only("is not rooted")

    def test_missing_licence(self):
        self.write("src/plan/show.cpp", "// The licence is missing.\n")
        self.assert_only("SPDX")

    def test_long_file(self):
        self.write("src/plan/show.cpp", SPDX + "\n" * 599)
        self.assertEqual(list(check_layers.violations(self.root)), [])
        self.write("src/plan/show.cpp", SPDX + "\n" * 600)
        self.assert_only("601 lines")

    def test_vague_names(self):
        for name in ("plan_utils.h", "helper.cpp", "page_manager.h", "common.h"):
            self.write(f"src/plan/{name}", SPDX)
            self.assert_only("name the idea")
            (self.root / "src/plan" / name).unlink()

    def test_full_folder(self):
        for number in range(check_layers.MAX_IDEAS - 1):
            self.write(f"src/plan/idea{number}.h", SPDX)
            self.write(f"src/plan/idea{number}.cpp", SPDX)
            self.write(f"src/plan/idea{number}_test.cpp", SPDX)
        self.assertEqual(list(check_layers.violations(self.root)), [])
        self.write("src/plan/one_more.h", SPDX)
        self.assert_only("src/plan: 21 ideas")

    def test_launches_without_a_stream(self):
        for launch, words in [
                ("kernel<<<1, 2>>>(x);", "without a stream"),
                ("kernel<<<grid(1, 2), block(3, 4),\n  bytes>>>(x);", "without a stream"),
                ("kernel<<<1, 2, 0, 0>>>(x);", "legacy default stream (0)"),
                ("kernel<<<1, 2, 0, nullptr>>>(x);", "legacy default stream (nullptr)"),
        ]:
            self.write("src/ops/bad_cuda.cu", SPDX + f"void f() {{ {launch} }}\n")
            self.assert_only(words)
        self.write("src/ops/bad_cuda.cu", SPDX + "// kernel<<<1, 2>>>(x);\n")
        self.assertEqual(list(check_layers.violations(self.root)), [])

    def test_library_that_prints(self):
        for statement in ('std::cout << 1;', 'printf("x");', 'std::fprintf(stderr, "x");', 'fmt::print("x");'):
            self.write("src/plan/show.cpp", SPDX + f"void f() {{ {statement} }}\n")
            self.assert_only("a library prints")
        self.write("src/plan/show.cpp", SPDX + "void f() { snprintf(b, 1, s); }  // Not printf().\n")
        self.assertEqual(list(check_layers.violations(self.root)), [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
