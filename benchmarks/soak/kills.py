"""``python -m benchmarks.soak.kills [--kills 100] [--executor all] [--seed 1]``: jobs with a journal are killed.

Each job is begun in a process of its own, killed with SIGKILL at a random instant, and begun again, until it ends. It
must give the right result, must not call again what was recorded, and must call again no more than what had begun.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import re
import secrets
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import trio
from attrs import field, frozen

from rio_chain import Journal, Task, each

ITEMS = 400
EXECUTORS = "asyncio", "trio", "thread"
ROOT = Path(__file__).parents[2]
LONGEST = 0.15
"""Seconds after which a process is killed, at the most. A job takes about so long."""
SLEEPS: dict[str, Callable[[float], Awaitable[object]]] = {"asyncio": asyncio.sleep, "trio": trio.sleep}
_ITEM = re.compile(r"\[(\d+)\]")


# --- in the process that is killed ------------------------------------------------------------------------------------


def job(file: str, calls: str, executor: str) -> None:
    """Run it to its end, and print its result. Each call is a line in a file, written before anything else."""
    out = os.open(calls, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(call: str) -> None:
        os.write(out, f"{call}\n".encode())  # a kill does not tear a write of one line

    def begin(count: int) -> list[int]:
        note("begin")
        return list(range(count))

    async def fetch(item: int) -> int:
        note(str(item))
        await SLEEPS[executor](item % 7 / 1000)
        return item * item

    def fetch_on_thread(item: int) -> int:
        note(str(item))
        time.sleep(item % 7 / 1000)
        return item * item

    def total(found: list[int]) -> int:
        note("total")
        return sum(found)

    inner: Any = Task(fetch_on_thread) if executor == "thread" else Task(fetch)
    chain = Task(begin) >> each(inner.named("fetch"), limit=8) >> Task(total)
    print("begun", flush=True)
    with Journal(file) as journal:
        print(chain(ITEMS).run(executor=executor, journal=journal, run_id="job").unwrap(), flush=True)


# --- around it --------------------------------------------------------------------------------------------------------


@frozen
class Job:
    """A job that is killed several times."""

    folder: Path
    executor: str
    calls: Counter[str] = field(factory=Counter, init=False)
    wrong: list[str] = field(factory=list, init=False)

    @property
    def file(self) -> Path:
        """Its journal."""
        return self.folder / "runs.db"

    def begun(self) -> subprocess.Popen[str]:
        """A process that goes on with it."""
        given = [self.file, self.folder / "calls", self.executor]
        command = [sys.executable, "-m", "benchmarks.soak.kills", "--job", *map(str, given)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)  # noqa: S603 - this module
        assert child.stdout is not None
        child.stdout.readline()
        return child

    def recorded(self) -> set[str]:
        """The items whose answer is in the journal."""
        if not self.file.exists() or not self.file.stat().st_size:
            return set()
        db = sqlite3.connect(self.file)
        try:
            places = db.execute("SELECT place FROM records").fetchall()
        except sqlite3.OperationalError:  # it was killed before there was a table
            return set()
        finally:
            db.close()
        return {found[1] for place in places if (found := _ITEM.match(place[0]))}

    def take_calls(self, recorded: set[str]) -> None:
        """Read what was called since the last time. ``recorded``: the items that had a record before."""
        path = self.folder / "calls"
        calls = Counter(path.read_text().split()) if path.exists() else Counter[str]()
        again = recorded & (calls - self.calls).keys()
        if again:
            self.wrong.append(f"called again in spite of a record: {sorted(again)}")
        self.calls.clear()
        self.calls.update(calls)

    def run(self, most: int, draw: random.Random) -> int:
        """Begin it again and again, until it ends. Kill it ``most`` times at the most. Returns how often it was."""
        kills = lost = 0
        while True:
            recorded = self.recorded()
            child = self.begun()
            try:
                out, _ = child.communicate(timeout=draw.uniform(0, LONGEST) if kills < most else 60)
            except subprocess.TimeoutExpired:
                child.kill()
                child.communicate()
                kills += 1
                self.take_calls(recorded)
                lost += len(self.calls.keys() - {"begin", "total"} - self.recorded()) + 2
                continue
            self.take_calls(recorded)
            self.check(out.strip(), lost)
            return kills

    def check(self, out: str, lost: int) -> None:
        """It has ended and printed this. ``lost``: how many calls had begun and were not recorded, over all kills."""
        if out != str(sum(item * item for item in range(ITEMS))):
            self.wrong.append(f"its result is {out!r}")
        if self.calls.keys() != {"begin", "total", *map(str, range(ITEMS))}:
            self.wrong.append("not everything was called")
        repeated = self.calls.total() - len(self.calls)
        if repeated > lost:
            self.wrong.append(f"{repeated} calls were repeated, and {lost} had begun without a record")


def soak(kills: int, executors: tuple[str, ...], seed: int) -> list[str]:
    """Kill jobs so often on each of these executors in turn. Returns what was wrong."""
    draw, wrong, done, jobs = random.Random(seed), list[str](), 0, 0  # noqa: S311 - not for secrets
    while done < kills:
        executor = executors[jobs % len(executors)]
        with tempfile.TemporaryDirectory() as folder:
            one = Job(Path(folder), executor)
            done += one.run(min(draw.randint(1, 8), kills - done), draw)
        jobs += 1
        wrong += [f"{executor}, job {jobs}: {text}" for text in one.wrong]
    print(f"seed {seed}: {jobs} jobs were killed {done} times; {len(wrong)} faults", *wrong, sep="\n")
    return wrong


def main() -> None:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="how many; default 100")
    parser.add_argument("--executor", choices=[*EXECUTORS, "all"], default="all", help="default: all, in turn")
    parser.add_argument("--seed", type=int, help="a whole number, for the same instants; default: a random one")
    parser.add_argument("--job", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.job is not None:
        job(*given.job)
        return
    seed = secrets.randbelow(10**6) if given.seed is None else given.seed
    sys.exit(bool(soak(given.kills, EXECUTORS if given.executor == "all" else (given.executor,), seed)))


if __name__ == "__main__":
    main()
