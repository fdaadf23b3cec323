# SPDX-License-Identifier: Apache-2.0
"""Runs the onebeat binary for the tests of this folder; its path comes from ONEBEAT_BINARY."""

import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

BINARY = os.environ.get("ONEBEAT_BINARY", "")


def clean_environment(**changes):
    """The caller's environment without what would change a command's options."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ONEBEAT_")}
    environment.update(changes)
    return environment


class ProgramTest(unittest.TestCase):
    """A test with a folder of its own that is also the cache folder's parent."""

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="onebeat_cli_"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.cache = self.folder / "cache"

    def run_program(self, *arguments, **changes):
        changes.setdefault("ONEBEAT_CACHE", str(self.cache))
        return subprocess.run(
            [BINARY, *map(str, arguments)], env=clean_environment(**changes), cwd=self.folder,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)

    def output_of(self, *arguments, **changes):
        result = self.run_program(*arguments, **changes)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result.stdout

    def assert_error(self, exit_code, words, *arguments, **changes):
        """One line on stderr with all of `words`, nothing on stdout."""
        result = self.run_program(*arguments, **changes)
        shown = f"{arguments}: exit code {result.returncode}, stderr {result.stderr!r}"
        self.assertEqual(result.returncode, exit_code, shown)
        self.assertEqual(result.stdout, "", shown)
        self.assertEqual(len(result.stderr.splitlines()), 1, shown)
        for word in [words] if isinstance(words, str) else words:
            self.assertIn(word, result.stderr)


def main():
    if not BINARY:
        raise SystemExit("ONEBEAT_BINARY must name the binary to test")
    unittest.main(verbosity=2)
