# SPDX-License-Identifier: Apache-2.0
"""Runs the onebeat binary for the tests of this folder; its path comes from ONEBEAT_BINARY."""

import codecs
import os
import pathlib
import pty
import select
import shutil
import signal
import subprocess
import tempfile
import termios
import time
import unittest

BINARY = os.environ.get("ONEBEAT_BINARY", "")


def clean_environment(**changes):
    """The caller's environment without what would change a command's options."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ONEBEAT_")}
    environment.update(changes)
    return environment


class Terminal:
    """A program in a pseudo terminal, as somebody who types sees it."""

    def __init__(self, *command, folder=None, **changes):
        self.child, self.keyboard = pty.fork()
        if self.child == 0:
            os.chdir(folder or ".")
            os.execve(command[0], command, clean_environment(**changes))
        self.shown = ""
        self.decoder = codecs.getincrementaldecoder("utf-8")()
        self.status = None

    def type(self, keys):
        os.write(self.keyboard, keys.encode())

    def signal(self, number):
        os.kill(self.child, number)

    def echoes(self):
        return bool(termios.tcgetattr(self.keyboard)[3] & termios.ECHO)

    def read_until(self, wanted, seconds=240):
        """What the terminal shows up to `wanted`; what comes behind it is left for the next call."""
        deadline = time.time() + seconds
        while wanted not in self.shown and time.time() < deadline and self._read(1):
            pass
        seen, found, rest = self.shown.partition(wanted)
        if not found:
            raise AssertionError(f"{wanted!r} did not come; seen: {seen!r}")
        self.shown = rest
        return seen

    def exit_status(self, seconds=240):
        """Waits for the end; -9 for one that does not come."""
        deadline = time.time() + seconds
        while self.status is None:
            self._read(0.05)
            done, status = os.waitpid(self.child, os.WNOHANG)
            if not done and time.time() > deadline:
                os.kill(self.child, signal.SIGKILL)
                done, status = os.waitpid(self.child, 0)
            if done:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def rest(self):
        """What it showed since the last read_until()."""
        while self._read(0):
            pass
        return self.shown

    def close(self):
        self.exit_status(0)
        os.close(self.keyboard)

    def _read(self, seconds):
        if not select.select([self.keyboard], [], [], seconds)[0]:
            return seconds >= 1  # Nothing yet; the caller knows how long to wait.
        try:
            data = os.read(self.keyboard, 4096)
        except OSError:  # Linux says so when the program has closed its side.
            return False
        self.shown += self.decoder.decode(data)
        return bool(data)


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
