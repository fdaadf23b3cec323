# SPDX-License-Identifier: Apache-2.0
"""The examples of the documentation run."""

import doctest
import importlib
import pathlib
import re

import llm_models
import pytest

DOCS = pathlib.Path(__file__).parents[2] / "docs" / "python.md"


@pytest.mark.skipif(not DOCS.exists(), reason="the documents are not beside the tests")
def test_examples_of_the_page(tmp_path, monkeypatch):
    models = llm_models.make_tiny_models(tmp_path / "models", "llama")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", DOCS.read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 4
    scope = {"model": models / "llama.gguf"}
    for number, block in enumerate(blocks):
        exec(compile(block, f"example {number + 1} of {DOCS.name}", "exec"), scope)


@pytest.mark.parametrize("module", ["planner", "flash"])
def test_examples_of_docstrings(module):
    result = doctest.testmod(importlib.import_module(f"onebeat.{module}"))
    assert result.attempted > 0 and result.failed == 0
