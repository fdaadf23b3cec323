# SPDX-License-Identifier: Apache-2.0
"""Models for the tests of the engine, and the command line to compare with."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

SOURCE = pathlib.Path(__file__).resolve().parents[2]


def make_tiny_models(folder, *families):
    """Random models of two layers, as a folder and as a GGUF file each."""
    subprocess.run([sys.executable, SOURCE / "tools" / "make_test_models.py", folder, *families], check=True)
    return folder


def binary():
    """The command line: what ONEBEAT_BINARY names, or one that was built in the source tree."""
    named = os.environ.get("ONEBEAT_BINARY")
    builds = [SOURCE / "build" / preset / "bin" / "onebeat" for preset in ("release-cuda", "release", "dev")]
    for path in [pathlib.Path(named)] if named else builds:
        if path.is_file():
            return path
    pytest.skip("no command line to compare with: `make build` makes one, ONEBEAT_BINARY names another")


def generate_by_command(*arguments):
    environment = {name: value for name, value in os.environ.items()
                   if name == "ONEBEAT_CACHE" or not name.startswith("ONEBEAT_")}
    done = subprocess.run([binary(), "generate", "--format", "json", *map(str, arguments)], env=environment,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
