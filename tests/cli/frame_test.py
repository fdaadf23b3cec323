# SPDX-License-Identifier: Apache-2.0
"""What all commands share: help, version, exit codes, one line for an error."""

import re
import signal
import subprocess

import program


class Frame(program.ProgramTest):

    def commands(self):
        listed = self.output_of("--help").split("Subcommands:")[1]
        return re.findall(r"^  ([a-z]+) ", listed, re.MULTILINE)

    def test_version(self):
        self.assertRegex(self.output_of("--version"), r"^onebeat \d+\.\d+\.\d+\n$")

    def test_wrong_usage(self):
        self.assert_error(2, "a command is needed")
        self.assert_error(2, "nonsense", "nonsense")
        self.assert_error(2, "--nonsense", "--nonsense")
        for command in self.commands():
            self.assert_error(2, f"onebeat {command}", command, "--nonsense")

    def test_help_of_every_command(self):
        commands = self.commands()
        self.assertIn("plan", commands)
        for command in commands:
            text = self.output_of(command, "--help")
            self.assertIn(f"onebeat {command}", text)
            for option in re.findall(r"^  (?:-\w,)?--([a-z-]+)", text, re.MULTILINE):
                if option != "help":
                    self.assertIn(f"[ONEBEAT_{option.upper().replace('-', '_')}]", text)

    def test_full_disk(self):
        with open("/dev/full", "w", encoding="utf-8") as full:
            result = subprocess.run([program.BINARY, "plan", "--lens", "1"], stdout=full, stderr=subprocess.PIPE,
                                    env=program.clean_environment(), text=True, check=False)
        self.assertEqual(result.returncode, 1)
        self.assertIn("standard output", result.stderr)

    def test_closed_pipe_ends_quietly(self):
        with subprocess.Popen([program.BINARY, "plan", "--lens", "1000x3000", "--format", "json"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              env=program.clean_environment()) as process:
            process.stdout.read(1)
            process.stdout.close()
            self.assertEqual(process.stderr.read(), b"")
            self.assertEqual(process.wait(), -signal.SIGPIPE)


if __name__ == "__main__":
    program.main()
