"""Whether the package still is for the oldest Python it says it is for, on whichever runs the tests."""

import ast
import re
from pathlib import Path

import pytest

import memmon

ROOT = Path(__file__).parent.parent
OLDEST = (3, 9)
PACKAGE = sorted(Path(memmon.__file__).parent.glob("*.py"))


def test_the_oldest_is_what_the_package_says():
    text = (ROOT / "pyproject.toml").read_text()
    assert re.search(r'^requires-python = ">=(.*)"$', text, re.MULTILINE).group(1) == "3.9"


@pytest.mark.parametrize("path", PACKAGE, ids=lambda path: path.name)
def test_is_written_in_it(path):
    tree = ast.parse(path.read_text(), path.name, feature_version=OLDEST)
    # `int | None` outside of annotations is evaluated, and there is no such operator of types before 3.10.
    # Annotations are not, with this import.
    first = next(node for node in tree.body if not isinstance(node, ast.Expr))
    uses_types = any(isinstance(node, (ast.AnnAssign, ast.FunctionDef)) for node in ast.walk(tree))
    if uses_types:
        assert isinstance(first, ast.ImportFrom), path.name
        assert first.module == "__future__"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            names = {keyword.arg for keyword in node.keywords}
            function = node.func.id if isinstance(node.func, ast.Name) else ""
            assert not (function == "zip" and "strict" in names), "zip(strict=) is of 3.10"
            assert not ("slots" in names or "kw_only" in names), "dataclasses have these from 3.10"
        assert not isinstance(node, getattr(ast, "Match", ())), "match is of 3.10"


def test_sees_what_is_too_new():
    with pytest.raises(SyntaxError):
        ast.parse("match x:\n case 1: pass", feature_version=OLDEST)
