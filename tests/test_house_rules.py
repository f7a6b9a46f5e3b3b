"""The rules of CONTRIBUTING.md that a syntax tree can show."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "rio_chain"
LINES_OF_A_MODULE, LINES_OF_A_FUNCTION = 400, 80
LONGER = {"interpret"}  # the interpreter has one function on purpose
LONGEST_SLEEP = 0.05
CHAOS = {"extras/dask/test_chaos.py", "extras/dask/test_cut_off.py"}
"""Load tests: processes of a real cluster are killed there, and its network is cut for a real time."""
FOREVER = 5
"""Seconds after which a test has failed long ago: a body that is to be killed or interrupted may sleep so long."""
LINES_OF_A_HELPER = 4
"""A shorter one may be written again where it is read."""
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_modules_and_functions_are_short(file: Path) -> None:
    tree = tree_of(file)
    assert len(file.read_text(encoding="utf-8").splitlines()) <= LINES_OF_A_MODULE
    for node in ast.walk(tree):
        if isinstance(node, FUNCTIONS) and node.name not in LONGER:
            assert (node.end_lineno or 0) - node.lineno < LINES_OF_A_FUNCTION, node.name


def test_no_test_sleeps_long() -> None:
    long = [
        f"{file.relative_to(TESTS)}:{node.lineno}"
        for file in TESTS.rglob("*.py")
        if str(file.relative_to(TESTS)) not in CHAOS
        for node in ast.walk(tree_of(file))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "time.sleep"
        if isinstance(seconds := node.args[0], ast.Constant) and LONGEST_SLEEP < float(str(seconds.value)) < FOREVER
    ]
    assert long == []


def code_of(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> str:
    """What it does, without its name, its docstring and its annotations."""
    copy = ast.parse(ast.unparse(node)).body[0]
    for inner in ast.walk(copy):
        if isinstance(inner, ast.arg):
            inner.annotation = None
        if isinstance(inner, FUNCTIONS):
            inner.returns = None
        if isinstance(inner, (*FUNCTIONS, ast.ClassDef)) and ast.get_docstring(inner) is not None:
            inner.body = inner.body[1:] or [ast.Pass()]
    assert isinstance(copy, (*FUNCTIONS, ast.ClassDef))
    copy.name = "_"
    return ast.unparse(copy)


def test_each_helper_exists_once() -> None:
    found = defaultdict(list)
    for file in sorted(TESTS.rglob("*.py")):
        if TESTS / "extras" in file.parents:  # each extra is tested by itself
            continue
        for node in tree_of(file).body:
            if isinstance(node, (*FUNCTIONS, ast.ClassDef)) and not node.name.startswith("test_"):
                code = code_of(node)
                if len(code.splitlines()) >= LINES_OF_A_HELPER:
                    found[code].append(f"{node.name} of {file.relative_to(TESTS)}")
    assert [places for places in found.values() if len(places) > 1] == []
