"""A sync iterator left of ``each`` is made, read and closed on one thread and in one context, however its run ends."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal, localcontext
from typing import Any

import pytest
from conformance.generators import ENDS, VAR, Case, Watch
from conformance.harness import World

from rio_chain import Task

pytestmark = [
    pytest.mark.real_time,
    pytest.mark.timeout(30),
    pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning"),  # nobody closes that of a mere cursor
]
ROWS = "with recursive t(x) as (select 0 union all select x + 1 from t) select x from t"
STEPS = "with recursive t(x) as (select 0 union all select x + 1 from t limit ?) select step(x) from t"


def sqlite(watch: Watch) -> Any:
    def rows(_: object) -> Iterator[int]:
        with watch.around(), closing(sqlite3.connect(":memory:")) as connection:
            cursor = connection.execute(ROWS)
            for x, (row,) in zip(watch.numbers(), cursor, strict=False):
                assert x == row
                yield row

    return rows


def rlock(watch: Watch) -> Any:
    lock = threading.RLock()
    watch.kept.append(lock)

    def rows(_: object) -> Iterator[int]:
        with watch.around(), lock:
            for x in watch.numbers():
                yield x
                if lock.acquire(blocking=False):
                    lock.release()
                else:
                    watch.problems.append("the lock is not ours")

    return rows


def decimal(watch: Watch) -> Any:
    def rows(_: object) -> Iterator[int]:
        with watch.around(), localcontext() as context:
            context.prec = 4
            for x in watch.numbers():
                yield x
                if str(Decimal(1) / 3) != "0.3333":
                    watch.problems.append("the precision is not ours")

    return rows


def contextvar(watch: Watch) -> Any:
    def rows(_: object) -> Iterator[int]:
        with watch.around():
            for x in watch.numbers():
                token = VAR.set(x)
                try:
                    yield x
                finally:
                    VAR.reset(token)

    return rows


class Reader:
    """An iterator that is no generator; what its function does in the context is seen in every step."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        watch.begun += 1
        VAR.set(watch)
        watch.look("made")

    def __iter__(self) -> Iterator[Any]:
        self.watch.look("iter")
        return self

    def __next__(self) -> int:
        self.watch.look("next")
        if self.watch.taken == self.watch.count:
            self.watch.ended += 1
            raise StopIteration if self.watch.error is None else self.watch.error
        return self.step(self.watch.taken)

    def step(self, x: int) -> int:
        """One item."""
        self.watch.look("step")
        if self.watch.error is not None and x == self.watch.count:
            raise self.watch.error
        self.watch.taken, self.watch.at_yield = x + 1, True
        return x


def reader(watch: Watch) -> Any:
    def make(_: object) -> Reader:
        return Reader(watch)

    return make


def cursor(watch: Watch) -> Any:
    def query(_: object) -> sqlite3.Cursor:
        connection = sqlite3.connect(":memory:")
        watch.kept.append(connection)
        connection.create_function("step", 1, Reader(watch).step)
        most = -1 if watch.count is None or watch.error is not None else watch.count
        return connection.execute(STEPS, (most,))

    return query


GENERATORS = {"sqlite": sqlite, "rlock": rlock, "decimal": decimal, "contextvar": contextvar}
ITERATORS = {"cursor": cursor, "reader": reader}


def argument(x: Any) -> Any:
    return x


async def broken(x: Any) -> Any:
    raise OSError(x)


def bridge(make: Any) -> Any:
    return Task(argument).inline() >> make


@pytest.mark.parametrize("how", [Task, bridge])
@pytest.mark.parametrize("kind", GENERATORS)
@pytest.mark.parametrize("end", ENDS)
async def test_a_generator_keeps_its_thread_and_its_context(world: World, end: str, kind: str, how: Any) -> None:
    watch = Watch(world)
    await ENDS[end](Case(world, watch, how(GENERATORS[kind](watch))))
    watch.check()
    for lock in watch.kept:
        assert lock.acquire(blocking=False), "it was released"
        lock.release()


LEFT: dict[str, Callable[[Any], Any]] = {
    "task": Task,
    "bridge": bridge,
    "after a bridge": lambda make: Task(argument) >> argument >> make,
    "guarded": lambda make: Task(make).timeout(60_000).retry(2),
    "fallback": lambda make: Task(broken).or_else(make),
    "chain as fallback": lambda make: Task(broken) | Task(make),
    "hedge": lambda make: Task(make).replica(2, after=60_000),
    "chain with a limit": lambda make: (Task(argument) >> Task(make)).timeout(60_000),
}


@pytest.mark.parametrize("left", LEFT)
@pytest.mark.parametrize("kind", ITERATORS)
@pytest.mark.parametrize("end", ENDS)
async def test_an_iterator_is_read_where_it_was_made(world: World, end: str, kind: str, left: str) -> None:
    watch = Watch(world)
    await ENDS[end](Case(world, watch, LEFT[left](ITERATORS[kind](watch))))
    assert watch.problems == []
    assert watch.begun == 1
