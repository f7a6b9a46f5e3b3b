"""Generators in chains of several shapes: given directly, retried, nested, side by side; and very long ones."""

from __future__ import annotations

import sqlite3
import sys
import threading
from array import array
from collections.abc import AsyncIterator, Iterator
from operator import add
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from conformance.generators import LIMIT, VAR, Watch, same, this_task
from conformance.harness import World

from rio_chain import Task, choose, each, race, reduce, when

pytestmark = [
    pytest.mark.real_time,
    pytest.mark.timeout(30),
    pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning"),
]
KINDS = ["sync", "async"]


class Feed:
    """Makes generators, each with a watch of its own."""

    def __init__(self, world: World, kind: str, count: int = 6) -> None:
        self.world, self.kind, self.count = world, kind, count
        self.watches: list[Watch] = []
        self.lock = threading.Lock()

    def _watch(self) -> Watch:
        with self.lock:
            self.watches.append(Watch(self.world, count=self.count))
            return self.watches[-1]

    def sync(self, start: int) -> Iterator[int]:
        watch = self._watch()
        with watch.around():
            for x in watch.numbers():
                yield start + x

    async def slow(self, start: int) -> AsyncIterator[int]:
        watch = self._watch()
        watch.task = this_task
        with watch.around():
            for x in watch.numbers():
                await self.world.pause(0)
                yield start + x

    @property
    def rows(self) -> Any:
        return self.sync if self.kind == "sync" else self.slow

    def check(self, times: int) -> None:
        assert len(self.watches) == times
        for watch in self.watches:
            watch.check()


@pytest.mark.parametrize("kind", KINDS)
async def test_given_directly(world: World, kind: str) -> None:
    feed = Feed(world, kind)
    assert (await world.run(each(Task(same), limit=LIMIT)(feed.rows(0)))).unwrap() == list(range(6))
    feed.check(1)


@pytest.mark.parametrize("kind", KINDS)
async def test_given_directly_and_left_at_a_failure(world: World, kind: str) -> None:
    feed, error = Feed(world, kind, 1_000_000), OSError("item")

    async def body(x: int) -> int:
        if x == 3:
            raise error
        return x

    outcome = await world.run(each(Task(body), limit=LIMIT)(feed.rows(0)))
    assert outcome.result.failure() is error
    feed.check(1)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_whole_chain_that_is_retried_makes_a_generator_for_each_attempt(world: World, kind: str) -> None:
    feed = Feed(world, kind)

    async def body(x: int) -> int:
        if x == 3 and len(feed.watches) < 3:
            raise OSError(x)
        return x

    outcome = await world.run((Task(feed.rows) >> each(Task(body), limit=LIMIT)).retry(4, backoff=None)(0))
    assert outcome.unwrap() == list(range(6))
    feed.check(3)


@pytest.mark.parametrize("inner", KINDS)
@pytest.mark.parametrize("outer", KINDS)
async def test_each_within_each(world: World, outer: str, inner: str) -> None:
    pages, rows = Feed(world, outer, 4), Feed(world, inner, 5)
    chain = Task(pages.rows) >> each(Task(rows.rows) >> each(Task(same), limit=LIMIT), limit=3)
    assert (await world.run(chain(0))).unwrap() == [[page + x for x in range(5)] for page in range(4)]
    pages.check(1)
    rows.check(4)


@pytest.mark.parametrize("kind", KINDS)
async def test_or_else(world: World, kind: str) -> None:
    first, second = Feed(world, kind), Feed(world, kind)

    async def fails(x: int) -> int:
        raise OSError(x)

    chain = (Task(first.rows).named("first") >> each(Task(fails), limit=LIMIT)).or_else(
        Task(second.rows).named("second") >> each(Task(same), limit=LIMIT)
    )
    assert (await world.run(chain(0))).unwrap() == list(range(6))
    first.check(1)
    second.check(1)


@pytest.mark.parametrize("kind", KINDS)
async def test_race_and_fan_out(world: World, kind: str) -> None:
    feeds = [Feed(world, kind) for _ in range(3)]

    async def slow(x: int) -> int:
        await world.until(lambda: feeds[1].watches and feeds[1].watches[0].ended)
        return x

    def part(k: int, body: Any) -> Any:
        return Task(feeds[k].rows).named(f"s{k}") >> each(Task(body).named(f"w{k}"), limit=LIMIT)

    assert (await world.run(race(part(0, slow), part(1, same))(0))).unwrap() == list(range(6))
    both = await world.run((part(1, same) & part(2, same))(0))
    assert both.unwrap() == (list(range(6)), list(range(6)))
    assert len(feeds[1].watches) == 2
    feeds[1].check(2)
    feeds[2].check(1)
    feeds[0].check(len(feeds[0].watches))


async def test_many_generators_side_by_side(world: World) -> None:
    feed = Feed(world, "sync")
    outcome = await world.run(each(Task(feed.rows) >> each(Task(same), limit=1), limit=20)(range(40)))
    assert outcome.unwrap() == [[page + x for x in range(6)] for page in range(40)]
    feed.check(40)


# --- iterators that plain functions return -------------------------------------------------------------------------


def rows_of_table(_: object) -> sqlite3.Cursor:
    connection = sqlite3.connect(":memory:")
    connection.execute("create table t (x)")
    connection.executemany("insert into t values (?)", [(x,) for x in range(50)])
    return connection.execute("select x from t order by x")


def rows_of_generator(_: object) -> Iterator[tuple[int]]:
    return ((x,) for (x,) in rows_of_table(0))


async def row(item: tuple[int]) -> int:
    return item[0]


@pytest.mark.parametrize("make", [rows_of_table, rows_of_generator])
async def test_calls_at_once_of_a_function_that_returns_a_cursor(world: World, make: Any) -> None:
    """Each has a cursor of its own; that of the loser is left on its own thread."""
    for chain in (
        Task(make).replica(2),
        race(Task(make).named("a"), Task(make).named("b")),
        choose(when(lambda _: True, Task(make).named("a")), otherwise=Task(make).named("b")),
    ):
        outcome = await world.run((chain >> each(Task(row), limit=3))(0))
        assert outcome.unwrap() == list(range(50))


class Pages:
    """Its ``__iter__`` is a generator function."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    def __iter__(self) -> Iterator[int]:
        with self.watch.around():
            yield from self.watch.numbers()


@pytest.mark.parametrize("by", ["task", "bridge"])
async def test_what_an_object_of_a_function_makes_in_its_iter_is_closed(world: World, by: str) -> None:
    watch, error = Watch(world), OSError("item")

    def pages(_: object) -> Pages:
        return Pages(watch)

    async def body(x: int) -> int:
        if x == 3:
            raise error
        return x

    made: Any = Task(pages) if by == "task" else Task(same) >> pages
    outcome = await world.run((made >> each(Task(body), limit=LIMIT))(0))
    assert outcome.result.failure() is error
    watch.check()


async def test_bridges_after_one_that_returns_a_cursor_run_on_its_thread(world: World) -> None:
    def read(rows: sqlite3.Cursor) -> list[int]:
        try:
            return [x for (x,) in rows]
        finally:
            rows.connection.close()

    def doubled(numbers: list[int]) -> list[int]:
        return [2 * x for x in numbers]

    for made in (Task(rows_of_table), Task(same) >> rows_of_table):
        outcome = await world.run((made >> read >> doubled >> each(Task(same)))(0))
        assert outcome.unwrap() == [2 * x for x in range(50)]


async def test_a_file(world: World, tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_text("".join(f"{x}\n" for x in range(50)))
    opened: list[Any] = []

    def lines(_: object) -> Any:
        opened.append(path.open())
        return opened[-1]

    outcome = await world.run((Task(lines) >> each(Task(int), limit=3))(0))
    assert outcome.unwrap() == list(range(50))
    opened[0].close()


async def test_a_generator_sees_the_context_of_the_caller(world: World) -> None:
    def rows(_: object) -> Iterator[object]:
        for _ in range(3):
            yield VAR.get()

    async def body(x: object) -> object:
        return x

    async def work() -> Any:
        VAR.set("caller")
        return await world.run((Task(rows) >> each(Task(body)))(0))

    assert (await world.start(work).result()).unwrap() == ["caller"] * 3


# --- long ones -----------------------------------------------------------------------------------------------------

MANY = 100_000


class Item:
    """Counts how many of it there are."""

    alive = most = 0

    def __init__(self) -> None:
        Item.alive += 1
        Item.most = max(Item.most, Item.alive)

    def __del__(self) -> None:
        Item.alive -= 1


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_hundred_thousand_items_in_constant_memory(world: World, kind: str) -> None:
    many = MANY if world.native else MANY // 5  # a hop between threads costs more than an item
    early, late = array("q"), array("q")  # allocated blocks; those of the items that run come and go, hence a median

    def sync(_: object) -> Iterator[Item]:
        for _ in range(many):
            yield Item()

    async def slow(_: object) -> AsyncIterator[Item]:
        for _ in range(many):
            yield Item()

    async def body(item: Item) -> int:
        return 1

    def total(so_far: int, one: int) -> int:
        if so_far % 10 == 0 and so_far // 1_000 in (many // 5_000, many // 1_000 - 1):
            (early if so_far < many // 2 else late).append(sys.getallocatedblocks())
        return add(so_far, one)

    Item.alive = Item.most = 0
    made: Any = sync if kind == "sync" else slow
    outcome = await world.run((Task(made) >> each(Task(body), limit=4) >> reduce(total, 0))(0))
    assert outcome.unwrap() == many
    assert Item.most <= 2_000, "the first 1,000 Responses may keep theirs"
    assert median(late) - median(early) < many // 100
