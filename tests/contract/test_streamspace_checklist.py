"""Every statement of the StreamSpace document has a test that names it.

The document (seed 001) was taken apart into 43 statements; a test carries their numbers in its name (``ss_07``, ``ss_7``)
or in its module's docstring.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
NUMBER = re.compile(r"\bss[-_ ]?(\d{1,2})(?![0-9])|_ss_(\d{1,2})(?![0-9])", re.IGNORECASE)


def numbers(path: Path) -> Iterator[int]:
    """Statements that the tests of a file name."""
    tree = ast.parse(path.read_text("utf-8"))
    texts = [ast.get_docstring(tree) or ""]
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            texts += [node.name, ast.get_docstring(node) or ""]
    for text in texts:
        yield from (int(first or second) for first, second in NUMBER.findall(text))


def test_each_of_the_43_statements_has_a_test() -> None:
    found = {number for path in TESTS.rglob("test_*.py") if path != Path(__file__) for number in numbers(path)}
    assert set(range(1, 44)) - found == set()
