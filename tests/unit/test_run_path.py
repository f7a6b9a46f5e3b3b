"""The path of one request through the code: how many calls it takes, and where it does not go."""

from __future__ import annotations

import ast
import asyncio
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from rio_chain import Balancer, Task

PACKAGE = Path(__file__).parents[2] / "rio_chain"
MOST_CALLS, MOST_FILES = 33, 16
"""Of `await balancer.arun(...)` with two tasks. A little more than needed, as Pythons differ."""


def calls_of_one_arun() -> list[tuple[str, str]]:
    """The functions of ours that one `arun` calls, each with its file."""
    calls: list[tuple[str, str]] = []

    def called(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(str(PACKAGE)):
            calls.append((code.co_filename, code.co_qualname))

    async def same(x: int) -> int:
        return x

    async def main() -> None:
        page = Task(same) >> Task(same)
        async with Balancer() as balancer:
            await balancer.arun(page(1))  # what is made once is made now
            request = page(1)
            sys.setprofile(called)
            try:
                await balancer.arun(request)
            finally:
                sys.setprofile(None)

    asyncio.run(main())
    return calls


def test_one_arun_takes_few_calls_in_few_files() -> None:
    calls = calls_of_one_arun()
    names = [name for _, name in calls]
    assert names[0] == "Balancer.arun"
    assert names.count("interpret") == names.count("finish") == 1
    assert len(calls) <= MOST_CALLS, calls
    assert len({file for file, _ in calls}) <= MOST_FILES, calls


def test_a_run_ends_in_one_function() -> None:
    """An Outcome of a run that has begun is made in one place, and all four ways to run one call it."""
    made: list[str] = []
    ended: list[str] = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                made += [path.name] * (node.func.id == "Outcome")
                ended += [path.name] * (node.func.id == "finish")
    assert sorted(ended) == ["_balancer.py", "_map_worker.py", "_run.py", "_run_ticket.py"]
    assert set(made) <= {"_run.py", "_session.py"}, "of one that ran or never began, and of one that a journal has kept"


def test_a_run_without_a_balancer_does_not_use_the_balancer() -> None:
    program = """
import asyncio, sys, trio
from rio_chain import Task
assert Task(len)("four").run().unwrap() == 4
async def main(): return (await Task(len)("four")).unwrap()
assert asyncio.run(main()) == trio.run(main) == 4
print([name for name in sys.modules if name.startswith("rio_chain.balancer")])
"""
    ran: Any = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
