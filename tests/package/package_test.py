# SPDX-License-Identifier: Apache-2.0
"""Installs the build into a fresh prefix, builds the consumer project against it and runs it.

Usage: package_test.py BUILD_FOLDER CMAKE GENERATOR
"""

import pathlib
import re
import subprocess
import sys
import tempfile


def run(*command):
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        sys.exit(f"{command} failed with {result.returncode}:\n{result.stdout}\n{result.stderr}")
    return result.stdout


def main():
    build, cmake, generator = sys.argv[1:]
    consumer = pathlib.Path(__file__).parent
    with tempfile.TemporaryDirectory(prefix="onebeat_package_") as folder:
        prefix, consumer_build = pathlib.Path(folder) / "prefix", pathlib.Path(folder) / "build"
        run(cmake, "--install", build, "--prefix", prefix)
        run(cmake, "-S", consumer, "-B", consumer_build, "-G", generator, f"-DCMAKE_PREFIX_PATH={prefix}",
            "-DCMAKE_BUILD_TYPE=Release")
        run(cmake, "--build", consumer_build)
        output = run(consumer_build / "consumer")
        balance = re.fullmatch(r"balance (\d+\.\d+)\n", output)
        if not balance or not 1.0 <= float(balance.group(1)) <= 1.03:
            sys.exit(f"the consumer printed {output!r}")
        version = run(prefix / "bin" / "onebeat", "--version")
        if not version.startswith("onebeat "):
            sys.exit(f"the installed binary printed {version!r}")
        installed = "\n".join(p.read_text(encoding="utf-8") for p in prefix.rglob("*.cmake"))
        if str(pathlib.Path(build).resolve()) in installed or str(consumer.parent.parent) in installed:
            sys.exit("the installed package names folders of the build")


if __name__ == "__main__":
    main()
