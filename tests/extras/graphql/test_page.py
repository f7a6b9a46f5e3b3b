"""The page about GraphQL does what it says. Strawberry looks for the module of a class, so the page becomes one."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("strawberry", reason="needs strawberry-graphql")

ROOT = Path(__file__).parents[3]


def test_the_page_runs(tmp_path: Path) -> None:
    page = ROOT / "docs/how-to/web/graphql-batch.md"
    code = runpy.run_path(str(ROOT / "docs_build/typed_examples.py"))["code_of"](page)
    assert "asked) == 1" in code
    (tmp_path / "page.py").write_text(code, encoding="utf-8")
    done = subprocess.run([sys.executable, "page.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
