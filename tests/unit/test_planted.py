"""Every bug of tests/planted.py still finds its text in the code. Whether the suite notices them, that script tells."""

from __future__ import annotations

from pathlib import Path

import planted
import pytest


@pytest.mark.parametrize("bug", planted.BUGS, ids=lambda bug: bug.name)
def test_a_bug_can_be_planted(bug: planted.Bug, tmp_path: Path) -> None:
    bug.plant(planted.copy_of_the_project(tmp_path))
    changed = (tmp_path / "rio_chain" / bug.file).read_text()
    assert changed != (planted.ROOT / "rio_chain" / bug.file).read_text()
    compile(changed, bug.file, "exec")


def test_none_was_lost() -> None:
    assert len({bug.name for bug in planted.BUGS}) >= 32
