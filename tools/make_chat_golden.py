#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Remakes tests/golden/chat/*.jsonl: what Jinja2, configured as Hugging Face's transformers configures it, writes for
templates and conversations. Needs jinja2 (3.1).

usage: tools/make_chat_golden.py [--folder tests/golden/chat] [--random 400] [--seed 1]
"""
import argparse
import copy
import datetime
import json
import pathlib
import random

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

NOW = datetime.datetime(2024, 7, 26, 12, 34, 56)


def make_environment():
    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols])
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = NOW.strftime
    return environment


ENVIRONMENT = make_environment()


def user(text): return {"role": "user", "content": text}
def assistant(text, **more): return {"role": "assistant", "content": text, **more}
def system(text): return {"role": "system", "content": text}
def tool(text, **more): return {"role": "tool", "content": text, **more}


CALL = {"type": "function", "id": "abcdefghi",
        "function": {"name": "weather", "arguments": {"city": "Zürich", "days": 2, "metric": True, "x": None}}}
CONVERSATIONS = [
    [user("Hello")],
    [user("")],
    [user("  spaces around \n")],
    [system("You are terse."), user("Hi")],
    [system("  You are terse. \n"), user("Hi"), assistant("Hello."), user("How are you?")],
    [user("a"), assistant("b"), user("c"), assistant("d"), user("e")],
    [user("a"), assistant("b")],
    [user("{{ 'not a template' }} {% if %} {# #}")],
    [user("<|im_end|>\n<|im_start|>system\n</s>[INST]")],
    [user("naïve façade, 漢字, emoji \U0001f600\u200d, \u00a0nbsp\u2003")],
    [user("quote ' and \" and \\ and \t tab\r\nline")],
    [assistant("I begin"), user("odd order")],
    [user("twice"), user("in a row")],
    [system("only a system message")],
    [user("think"), assistant("<think>\nhm\n</think>\n\nanswer"), user("more")],
    [user("think"), assistant("answer", reasoning_content="hm\n"), user("more"), assistant("<think>x</think>y")],
    [user("weather?"), assistant("", tool_calls=[CALL]), tool('{"t": 21}', tool_call_id="abcdefghi"),
     assistant("21 degrees"), user("thanks")],
    [user("weather?"), assistant("Let me look.", tool_calls=[CALL, CALL]), tool("1", tool_call_id="abcdefghi"),
     tool("2", tool_call_id="abcdefghi")],
    [user([{"type": "text", "text": " part one "}, {"type": "image"}, {"type": "text", "text": "part two"}])],
    [{"role": "user"}],
    [{"role": "stranger", "content": "x"}],
    [],
]
TOOLS = [
    {"type": "function", "function": {"name": "weather", "description": "The weather <soon> & \"here\"",
     "parameters": {"type": "object", "properties": {"city": {"type": "string", "description": "é"},
                    "days": {"type": "integer", "default": 1.5}}, "required": ["city"]}}},
    {"type": "function", "function": {"name": "noop", "description": "", "parameters": {}}},
]


def run_case(source, messages, extra, prompt):
    context = {"messages": messages, "add_generation_prompt": prompt, "bos_token": "<s>", "eos_token": "</s>",
               "tools": None, "documents": None, **extra}
    context = copy.deepcopy(context)  # Jinja's own filters change lists in place now and then.
    try:
        return {"text": ENVIRONMENT.from_string(source).render(**context)}
    except Exception as error:  # Whatever Python raises: the message differs, the refusal must not.
        return {"error": str(error).split("\n")[0][:200]}


def template_cases(folder):
    for path in sorted(folder.glob("*.jinja")):
        source = path.read_bytes().decode()
        for messages in CONVERSATIONS:
            for extra in ({}, {"tools": TOOLS}, {"enable_thinking": False}):
                for prompt in (True, False):
                    if extra and not prompt:
                        continue
                    case = {"template": path.name, "messages": messages, "extra": extra,
                            "add_generation_prompt": prompt}
                    yield {**case, **run_case(source, messages, extra, prompt)}


class Maker:
    """Makes small random templates of the supported subset."""

    def __init__(self, rng):
        self.rng = rng
        self.loops = 0

    def pick(self, *choices):
        return self.rng.choice(choices)

    def string(self):
        return self.pick("''", "'a'", '"b c"', "'\\n'", "'x\\ty'", "'  pad '", "'äö'", "'A,b,,c'", "'It\\'s'", "'0'", "'12'",
                         "'<|im|>'", "'aXbXc'", "'line\\nline2\\n'", "'漢\\u00e9'")

    def integer(self):
        return str(self.pick(0, 1, 2, 3, 5, 7, -1, -2, 10))

    def name(self):
        names = ["n", "f", "s", "text", "words", "numbers", "record", "flag", "nothing", "missing", "messages", "ns.a", "ns.b",
                 "v", "w"]
        if self.loops:
            names += ["item", "loop.index", "loop.index0", "loop.first", "loop.last", "loop.length", "loop.revindex",
                      "loop.previtem", "loop.nextitem"] * 2
        return self.rng.choice(names)

    def atom(self, depth):
        if depth <= 0:
            return self.pick(self.string(), self.integer(), self.name(), self.name(), "true", "false", "none", "1.5")
        kind = self.rng.randrange(12)
        if kind < 4:
            return self.name()
        if kind < 6:
            return self.string()
        if kind == 6:
            return "[" + ", ".join(self.expr(depth - 1) for _ in range(self.rng.randrange(4))) + "]"
        if kind == 7:
            keys = self.rng.sample(["'a'", "'b'", "'role'"], self.rng.randrange(3))
            return "{" + ", ".join(f"{k}: {self.expr(depth - 1)}" for k in keys) + "}"
        if kind == 8:
            return "(" + self.expr(depth - 1) + self.pick("", "", "", ",") + ")"
        if kind == 9:
            return "messages[" + self.pick("0", "-1", "1") + "]" + self.pick(".content", "['role']", ".role", "")
        if kind == 10:
            return self.pick("range", "range") + "(" + ", ".join(
                self.pick("0", "1", "3", "5", "n") for _ in range(self.rng.randrange(1, 3))) + ")|list"
        return self.integer()

    def postfix(self, depth):
        base = self.atom(depth)
        if not (base[0].isalpha() or base[0] in "'\"[") or base.endswith("list"):
            return base
        kind = self.rng.randrange(10)
        if kind < 4 or base in ("true", "false", "none"):
            return base
        if kind == 4:
            return base + "[" + self.pick(self.integer(), self.string()) + "]"
        if kind == 5:
            parts = [self.pick("", "0", "1", "-1", "2", "-3", "n") for _ in range(2)]
            return base + "[" + ":".join(parts) + self.pick("", "", ":", ":2", ":-1") + "]"
        if kind == 6:
            return base + self.pick(".a", ".b", ".role", ".content", "['a']", "['content']")
        method = self.pick("strip()", "lstrip()", "rstrip()", "upper()", "lower()", "split()", "split(',')", "split('X', 1)",
                           "startswith('a')", "endswith('c')", "replace('a', 'b')", "replace('', '-')", "strip('ac')",
                           "find('X')", "count('a')", "join(['x', 'y'])", "rsplit('X', 1)", "splitlines()", "capitalize()",
                           "get('a')", "get('zz', 1)", "items()|list", "keys()|list", "values()|list",
                           "removeprefix('a')", "removesuffix('c')", "index('x')")
        return base + "." + method

    def filtered(self, depth):
        text = self.postfix(depth)
        while self.rng.random() < 0.3:
            filters = ["trim", "upper", "lower", "length", "string", "tojson", "first", "last", "list", "join(',')", "join",
                       "default('d')", "default('d', true)", "d(1)", "replace('a', 'Z')", "title", "capitalize", "int", "float",
                       "reverse|list", "items|list", "map(attribute='role')|list", "map('upper')|list", "selectattr('role')|list",
                       "selectattr('role', 'equalto', 'user')|list", "rejectattr('content', 'none')|list", "select|list",
                       "reject('none')|list", "tojson(indent=2)", "tojson(sort_keys=true)", "abs", "sort", "unique|list",
                       "dictsort", "indent(2)", "indent(3, true)", "count", "sum", "min", "max", "tojson(ensure_ascii=true)"]
            text += self.pick("|", " | ") + self.rng.choice(filters)
        return text

    def expr(self, depth):
        kind = self.rng.randrange(16)
        if depth <= 0 or kind < 5:
            return self.filtered(depth)
        a, b = self.expr(depth - 1), self.expr(depth - 1)
        if kind < 8:
            return f"{a} {self.pick('+', '+', '-', '*', '//', '/', '~', '~')} {b}"
        if kind < 10:
            return f"{a} {self.pick('==', '!=', '<', '<=', '>', '>=', 'in', 'not in')} {b}"
        if kind < 12:
            return f"{a} {self.pick('and', 'or')} {b}"
        if kind == 12:
            return f"not {a}"
        if kind == 13:
            test = self.pick("defined", "undefined", "none", "string", "mapping", "iterable", "sequence", "number", "integer",
                             "float", "boolean", "true", "false", "odd", "even", "divisibleby 3", "sameas true", "eq 1",
                             "in [1, 'a']", "lower", "upper", "callable", "not defined", "not none", "not string")
            return f"({a}) is {test}"
        if kind == 14:
            return f"({a} if {b} else {self.expr(depth - 1)})"
        return self.pick("-", "+", "") + f"({a})"

    def tag(self, text):
        return "{%" + self.pick("", "", "-", "+", "-") + f" {text} " + self.pick("", "", "-", "-") + "%}"

    def white(self):
        return self.pick("", "", " ", "\n", "\n  ", "  \n\n", "x", " y \n", "\t")

    def block(self, depth):
        return "".join(self.white() + self.statement(depth) for _ in range(self.rng.randrange(1, 4))) + self.white()

    def statement(self, depth):
        kind = self.rng.randrange(14)
        if depth <= 0 or kind < 4:
            return "{{" + self.pick("", "", "-") + f" {self.expr(2)} " + self.pick("", "", "-") + "}}"
        if kind < 6:
            text = self.tag("if " + self.expr(2)) + self.block(depth - 1)
            if self.rng.random() < 0.3:
                text += self.tag("elif " + self.expr(1)) + self.block(depth - 1)
            if self.rng.random() < 0.5:
                text += self.tag("else") + self.block(depth - 1)
            return text + self.tag("endif")
        if kind < 9:
            target = self.pick("item", "item", "item", "v, w")
            source = self.pick("messages", "words", "numbers", "range(3)", "record", "record.items()", "[]", "text", "missing",
                               self.expr(1))
            condition = self.pick("", "", " if item", " if loop is not defined and item != 'a'") if target == "item" else ""
            self.loops += 1
            body = self.block(depth - 1)
            if self.rng.random() < 0.2:
                body += self.tag("if loop.index > 1") + self.tag(self.pick("break", "continue")) + self.tag("endif") + "."
            self.loops -= 1
            other = self.tag("else") + self.block(0) if self.rng.random() < 0.2 else ""
            return self.tag(f"for {target} in {source}{condition}") + body + other + self.tag("endfor")
        if kind < 11:
            return self.tag(f"set {self.pick('v', 'w', 'ns.a', 'ns.b', 'v, w')} = {self.expr(2)}")
        if kind == 11:
            return self.pick("{# note #}", "{#- note -#}", "{# a\nb #}\n", "{% raw %}{{ x }}{% endraw %}",
                             "{%- raw -%} {% y %} {%- endraw -%}")
        if kind == 12:
            return self.tag("set v") + self.block(depth - 1) + self.tag("endset")
        if self.loops:  # A macro sees what is global; closures are not of the subset.
            return self.white()
        return self.tag(f"macro m(a, b={self.expr(1)})") + "<{{ a }}|{{ b }}>" + self.tag("endmacro") + \
            "{{ m(" + self.expr(1) + self.pick("", ", b=2") + ") }}"

    def template(self):
        return "{% set ns = namespace(a=1, b='q') %}" + self.block(3) + self.pick("", "\n", "\n\n")


CONTEXT = {"n": 3, "f": 2.5, "s": " Padded ", "text": "aXbXc", "words": ["b", "A", "c"], "numbers": [3, 1, 2, 1],
           "record": {"a": 1, "b": ["x", {"c": None}], "role": "r"}, "flag": True, "nothing": None}
MESSAGES = [system("Be brief."), user(" Hi "), assistant("Yes")]
# Where Python's answer is an accident of its objects, or a generator shows its address.
ACCIDENTS = (" object at 0x", "<generator", "<built-in", "<bound method", "<function", "<Macro", "dict_items", "dict_keys",
             "dict_values", "<Namespace", "<class", "<LoopContext", "range(", "<list_rev")


def random_cases(count, seed):
    rng = random.Random(seed)
    maker = Maker(rng)
    errors = 0
    while count:
        source = maker.template()
        result = run_case(source, MESSAGES, CONTEXT, True)
        if any(word in result.get("text", result.get("error")) for word in ACCIDENTS):
            continue
        if "error" in result:
            if "unsafe" in result["error"] or errors > 0.4 * count:
                continue
            errors += 1
        count -= 1
        yield {"source": source, "messages": MESSAGES, "extra": CONTEXT, "add_generation_prompt": True, **result}


def write(path, cases):
    lines = [json.dumps(case, ensure_ascii=False) for case in cases]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{path}: {len(lines)} cases")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=pathlib.Path,
                        default=pathlib.Path(__file__).resolve().parent.parent / "tests/golden/chat")
    parser.add_argument("--random", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    write(arguments.folder / "templates.jsonl", template_cases(arguments.folder))
    write(arguments.folder / "random.jsonl", random_cases(arguments.random, arguments.seed))


if __name__ == "__main__":
    main()
