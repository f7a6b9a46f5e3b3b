"""The soak that kills jobs with a journal: it runs, and it sees what would be wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.soak.kills import EXECUTORS, ITEMS, Job, soak

RESULT = str(sum(item * item for item in range(ITEMS)))
EVERYTHING = ["begin", *map(str, range(ITEMS)), "total"]


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_job_that_is_killed_three_times_is_as_promised(capsys: pytest.CaptureFixture[str]) -> None:
    assert soak(3, EXECUTORS, seed=4) == []
    assert "were killed 3 times; 0 faults" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("calls", "result", "lost", "wrong"),
    [
        (EVERYTHING, RESULT, 0, []),
        ([*EVERYTHING, "7"], RESULT, 1, []),
        ([*EVERYTHING, "7"], RESULT, 0, ["1 calls were repeated, and 0 had begun without a record"]),
        ([*EVERYTHING, "3"], RESULT, 1, ["called again in spite of a record: ['3']"]),
        (EVERYTHING[:-2], RESULT, 0, ["not everything was called"]),
        (EVERYTHING, "12", 0, ["its result is '12'"]),
    ],
)
def test_what_is_wrong_is_seen(tmp_path: Path, calls: list[str], result: str, lost: int, wrong: list[str]) -> None:
    job = Job(tmp_path, "asyncio")
    file = tmp_path / "calls"
    file.write_text("begin\n3\n")
    job.take_calls(set())
    file.write_text("".join(f"{call}\n" for call in calls))
    again = calls.count("3") > 1
    job.take_calls({"3"} if again else set())
    job.check(result, lost)
    assert job.wrong == wrong
