#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the house rules that a compiler cannot: who may include whom, sizes, names, launches, printing.

Usage: check_layers.py [FOLDER]. Prints one line for each violation and exits with 1 if there is any.
docs/architecture.md draws the arrows that ARROWS holds.
"""

import pathlib
import re
import sys

# What the files of a folder of src/ may include, besides the folder itself. Arrows are not transitive: each is named.
ARROWS = {
    "base": [],
    "json": ["base"],
    "device": ["base"],
    "plan": ["base"],
    "step": ["base", "plan", "device"],
    "attention": ["base", "plan", "device"],
    "c_api": ["base", "plan", "device", "step", "attention"],
    "ops": ["base", "device"],
    "kv": ["base"],
    "model": ["base", "json", "plan", "device", "attention", "ops"],
    "text": ["base", "json"],
    "parallel": ["base", "device"],
    "engine": ["base", "json", "plan", "device", "step", "attention", "ops", "kv", "model", "text", "parallel"],
    "server": ["base", "json", "text", "engine"],
}

# The folder that implements a public header, where it is not the one of the same name.
PUBLIC_HEADERS = {
    "status": "base",
    "compute": "base",
    "thread_pool": "device",
    "geometry": "plan",
    "cascade": "plan",
    "step_cuda": "step",
    "attention_cuda": "attention",
    "attention_prefill_cuda": "attention",
    "sampling": "ops",
    "tokenizer": "text",
    "generate": "engine",
    "request": "engine",
    "onebeat": "c_api",
    "c": "c_api",
}

SOURCE_FOLDERS = ["include", "src", "apps", "bench", "examples", "tests", "tools", "python"]
CPP = {".h", ".c", ".cpp", ".cu", ".cuh"}
SCRIPTS = {".py", ".sh"}
MAX_LINES, AIM_LINES = 600, 500
MAX_IDEAS = 20  # Files of a folder that differ in more than a suffix; a dozen is the aim.
VAGUE_NAMES = re.compile(r"(^|_)(utils?|helpers?|common|misc|managers?)(_|$)")
PRINTS = re.compile(r"\b(std::cout|std::cerr|std::clog|fmt::print|(std::)?(printf|fprintf|puts|fputs|putchar))\b")
MAY_PRINT = {"src/base/check.cpp"}  # The last words of a failed check.
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"')
LAUNCH = re.compile(r"<<<(.*?)>>>", re.DOTALL)
LEGACY_STREAM = re.compile(r"^(0|nullptr|NULL|cudaStreamLegacy|cudaStreamDefault)$")


def folder_of_public_header(name):
    """Of a header of include/onebeat/, or of all headers of a folder of it."""
    stem = pathlib.PurePath(name).with_suffix("").parts[0]
    return PUBLIC_HEADERS.get(stem, stem if stem in ARROWS else None)


def layer_of(path):
    """The folder of ARROWS that a file belongs to, or None if it may include everything (apps, tests, bench)."""
    parts = path.parts
    if parts[0] == "src" and len(parts) > 2:
        return parts[1]
    if parts[:2] == ("include", "onebeat"):
        return folder_of_public_header(path.relative_to("include/onebeat"))
    return None


def layer_included(name):
    first, _, rest = name.partition("/")
    return folder_of_public_header(rest) if first == "onebeat" else first


def check_includes(root, path, lines):
    layer = layer_of(path)
    public = path.parts[0] == "include"
    if public and layer is None:
        yield 1, f"say in tools/check_layers.py which folder of src/ implements {path.name}"
    elif layer is not None and layer not in ARROWS:
        yield 1, f"say in tools/check_layers.py what src/{layer} may include"
        return
    for number, line in lines:
        match = INCLUDE.match(line)
        if not match:
            continue
        name = match.group(1)
        # The command line's own headers are rooted in its folder.
        beside = path.parts[0] not in ("src", "include") and (
            (root / path.parent / name).is_file() or (root / path.parts[0] / path.parts[1] / name).is_file())
        rooted = (root / "src" / name).is_file() and "/" in name or (root / "include" / name).is_file()
        if ".." in name or not (rooted or beside):
            yield number, f'"{name}" is not rooted in src/ or include/'
            continue
        if public and not name.startswith("onebeat/"):
            yield number, f'a public header includes "{name}", which is not installed'
        included = layer_included(name)
        if layer is None or beside or included == layer:
            continue
        if included is None:
            yield number, f'say in tools/check_layers.py which folder implements "{name}"'
        elif included not in ARROWS[layer]:
            yield number, f'{layer} includes "{name}"; it may use: {", ".join(ARROWS[layer]) or "nothing of ours"}'


def split_arguments(text):
    """The arguments of a launch, split at commas outside of brackets."""
    arguments, depth = [""], 0
    for letter in text:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            arguments.append("")
        else:
            arguments[-1] += letter
    return [argument.strip() for argument in arguments]


def check_launches(text):
    without_comments = re.sub(r"//[^\n]*", "", text)
    for match in LAUNCH.finditer(without_comments):
        number = without_comments.count("\n", 0, match.start()) + 1
        arguments = split_arguments(match.group(1))
        if len(arguments) < 4:
            yield number, "a kernel is launched without a stream"
        elif LEGACY_STREAM.match(arguments[3]):
            yield number, f"a kernel is launched on the legacy default stream ({arguments[3]})"


def check_printing(path, lines):
    is_library = path.parts[0] == "src" and str(path) not in MAY_PRINT
    if not is_library or re.search(r"_(test|fuzz|for_test|bench)$", path.stem):
        return
    for number, line in lines:
        match = PRINTS.search(line.split("//")[0])
        if match:
            yield number, f"a library prints ({match.group(1)})"


def check_file(root, path):
    text = (root / path).read_text(encoding="utf-8")
    lines = list(enumerate(text.splitlines(), start=1))
    if not any("SPDX-License-Identifier: Apache-2.0" in line for _, line in lines[:2]):
        yield 1, "the SPDX line is missing"
    if len(lines) > MAX_LINES:
        yield len(lines), f"{len(lines)} lines; at most {MAX_LINES}, better {AIM_LINES}: split it by idea"
    if VAGUE_NAMES.search(path.stem):
        yield 1, "the name says nothing; name the idea"
    if path.suffix in CPP:
        yield from check_includes(root, path, lines)
        yield from check_printing(path, lines)
    if path.suffix in (".cu", ".cuh"):
        yield from check_launches(text)


def check_folders(paths):
    ideas = {}
    for path in paths:
        idea = re.sub(r"_(test|fuzz|cuda|cpu|for_test|inl)$", "", path.stem)
        ideas.setdefault(path.parent, set()).add(idea)
    for folder, names in ideas.items():
        if len(names) > MAX_IDEAS:
            yield f"{folder}: {len(names)} ideas in one folder; at most {MAX_IDEAS}, better 12: split it"


def sources(root):
    for folder in SOURCE_FOLDERS:
        for file in sorted((root / folder).rglob("*")):
            if file.suffix in CPP | SCRIPTS and file.is_file():
                yield file.relative_to(root)


def violations(root):
    paths = list(sources(root))
    for path in paths:
        for number, message in check_file(root, path):
            yield f"{path}:{number}: {message}"
    yield from check_folders(paths)


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent)
    found = list(violations(root))
    for violation in found:
        print(violation)
    count = sum(1 for _ in sources(root))
    print(f"layout: {count} files, {len(found)} violations")
    return 1 if found or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
