"""The page ``add-a-policy.md`` is true: its example policy is added to a copy of the project, and passes there."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/how-to/contribute/add-a-policy.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r'^```(python|diff) title="([^"]+)"\n(.*?)^```$', PAGE, re.DOTALL | re.MULTILINE)
COMMANDS = [
    shlex.split(line)
    for body in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    for line in body.splitlines()
]
MOST = 8


def changed(text: str, diff: str) -> str:
    """A text with the new lines of a diff in it. Each hunk begins or ends with lines that are in it once."""
    for hunk in diff.split("@@\n"):
        lines = hunk.splitlines(keepends=True)
        old = "".join(line[1:] for line in lines if line[0] == " ")
        assert text.count(old) == 1, f"{text.count(old)} times:\n{old}"
        text = text.replace(old, "".join(line[1:] for line in lines))
    return text


def followed(to: Path) -> None:
    """Copy the project, and do what the page says."""
    for name in ("rio_chain", "tests", "docs", "docs_build", "notebooks"):
        shutil.copytree(ROOT / name, to / name, ignore=shutil.ignore_patterns("__pycache__", ".hypothesis"))
    for name in ("conftest.py", "pyproject.toml", "mkdocs.yml", "CHANGELOG.md", "_rio_chain_pytest.py"):
        shutil.copy(ROOT / name, to)
    for kind, name, body in BLOCKS:
        path = to / name
        assert path.exists() == (kind == "diff"), name
        path.write_text(changed(path.read_text(encoding="utf-8"), body) if kind == "diff" else body, encoding="utf-8")


def test_the_page_lists_the_files_that_it_touches_and_they_are_few() -> None:
    listed = re.findall(r"^\| `([\w./]+\.\w+)` \|", PAGE, re.MULTILINE)
    assert sorted(listed) == sorted([*(name for _, name, _ in BLOCKS), "tests/public_api.txt"])
    assert len(listed) <= MOST


@pytest.mark.timeout(300)
def test_the_policy_of_the_page_passes_its_tests_in_a_copy_of_the_project(tmp_path: Path) -> None:
    followed(tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    for command, *rest in COMMANDS:
        run = [
            sys.executable,
            *(["-m", "pytest", "-q", "-p", "no:cacheprovider"] if command == "pytest" else []),
            *rest,
        ]
        done = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    pinned = (tmp_path / "tests/public_api.txt").read_text(encoding="utf-8")
    assert "rio_chain.Quota(calls: int) -> None, a Policy" in pinned


def test_a_change_that_does_not_fit_is_noticed() -> None:
    assert changed("a\nb\n", "+new\n b\n") == "a\nnew\nb\n"
    with pytest.raises(AssertionError, match="0 times"):
        changed("a\n", "+new\n b\n")
