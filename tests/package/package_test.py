# SPDX-License-Identifier: Apache-2.0
"""Installs the build into a fresh prefix, builds the consumer projects against it and runs them; looks at what the
shared library shows.

Usage: package_test.py BUILD_FOLDER CMAKE GENERATOR
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile


def run(*command, **environment):
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False,
                            env={**os.environ, **{name: str(value) for name, value in environment.items()}})
    if result.returncode != 0:
        sys.exit(f"{command} failed with {result.returncode}:\n{result.stdout}\n{result.stderr}")
    return result.stdout


def declared_calls(prefix):
    """Functions that the C ABI's headers declare and do not define."""
    text = "\n".join(header.read_text(encoding="utf-8") for header in [
        prefix / "include/onebeat/onebeat.h", *sorted((prefix / "include/onebeat/c").glob("*.h"))])
    without_comments = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    return set(re.findall(r"^(?!static)[\w *]*?\b(onebeat_\w+)\([^;{]*\);", without_comments, re.MULTILINE))


def check_exports(prefix, library):
    """The library shows what the headers declare, and nothing else."""
    shown = set()
    for line in run("nm", "-D", "--defined-only", library).splitlines():
        _, kind, name = line.split()
        if kind != "A":  # The version's own name.
            shown.add(name.split("@")[0])
    declared = declared_calls(prefix)
    if shown != declared or len(declared) < 20:
        sys.exit(f"only shown: {sorted(shown - declared)}; only declared: {sorted(declared - shown)}")


def check_example(output):
    """What examples/c/decode_step.c prints when all is well; its exit code says that the numbers are right."""
    if not re.search(r"^4 requests on the CPU, faults 0, largest difference \S+$", output, re.MULTILINE):
        sys.exit(f"the C example printed {output!r}")


def check_c(prefix, folder, cmake, generator):
    """The C ABI through CMake and through pkg-config."""
    example = pathlib.Path(__file__).parents[2] / "examples" / "c" / "decode_step.c"
    build = folder / "c_build"
    run(cmake, "-S", pathlib.Path(__file__).parent / "c", "-B", build, "-G", generator,
        f"-DCMAKE_PREFIX_PATH={prefix}", f"-DEXAMPLE={example}")
    run(cmake, "--build", build)
    check_example(run(build / "decode_step"))

    library = next(prefix.rglob("libonebeat.so"))
    check_exports(prefix, library)
    if not shutil.which("pkg-config") or not shutil.which("cc"):
        return
    flags = run("pkg-config", "--cflags", "--libs", "onebeat", PKG_CONFIG_PATH=library.parent / "pkgconfig").split()
    run("cc", "-std=c11", example, *flags, "-lm", "-o", folder / "decode_step")
    check_example(run(folder / "decode_step", LD_LIBRARY_PATH=library.parent))


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
        check_c(prefix, pathlib.Path(folder), cmake, generator)
        version = run(prefix / "bin" / "onebeat", "--version")
        if not version.startswith("onebeat "):
            sys.exit(f"the installed binary printed {version!r}")
        installed = "\n".join(p.read_text(encoding="utf-8") for p in
                              [*prefix.rglob("*.cmake"), *prefix.rglob("*.pc")])
        if str(pathlib.Path(build).resolve()) in installed or str(consumer.parent.parent) in installed:
            sys.exit("the installed package names folders of the build")


if __name__ == "__main__":
    main()
