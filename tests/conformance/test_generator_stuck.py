"""A sync generator that is busy, that refuses to end, or that shares a balancer of one thread with another."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
from attrs import define, field
from conformance.generators import ENDS, LIMIT, LONG, Case, Watch, limit, this_task
from conformance.harness import World

from rio_chain import Task, TicketCancelled, each, fan_out, race, remaining

pytestmark = [pytest.mark.real_time, pytest.mark.timeout(30)]
NO_TIME = "a sync function takes no time, and all that would go on beside it waits for it"
MOST = 10
"""Seconds after which a generator that is stuck goes on by itself, if a test has failed to let it."""


@define(eq=False)
class Busy:
    """A generator that yields one item and is stuck before the second one, until ``free`` is set."""

    watch: Watch
    stuck: threading.Event = field(factory=threading.Event)
    free: threading.Event = field(factory=threading.Event)
    left: list[float | None] = field(factory=list)
    error: Exception | None = None  # raised when it comes back

    def rows(self, _: object) -> Iterator[int]:
        with self.watch.around():
            for x in self.watch.numbers():
                if x:
                    self.stuck.set()
                    assert self.free.wait(MOST)
                    self.left.append(remaining())
                    if self.error is not None:
                        raise self.error
                yield x

    async def until_stuck(self, x: Any) -> str:
        await self.watch.world.until(self.stuck.is_set)
        return "quick"

    def case(self) -> Case:
        return Case(self.watch.world, self.watch, Task(self.rows))


@pytest.fixture
def busy(world: World) -> Iterator[Busy]:
    made = Busy(Watch(world))
    yield made
    made.free.set()


async def at_its_limit(busy: Busy, balancer: Any) -> None:
    await limit(busy.case(), balancer.arun, busy.stuck.is_set)


async def when_cancelled(busy: Busy, balancer: Any) -> None:
    case = busy.case()
    child = case.world.start(lambda: balancer.arun(case.request(case.stays)))
    await busy.until_stuck(0)
    child.stop()
    await child.ended()
    assert child.cancelled


async def when_its_ticket_is_cancelled(busy: Busy, balancer: Any) -> None:
    case = busy.case()
    ticket = balancer.post(case.request(case.stays))
    await busy.until_stuck(0)
    ticket.cancel()
    assert type((await ticket).result.failure()) is TicketCancelled


LEFT_BEHIND = [at_its_limit, when_cancelled, when_its_ticket_is_cancelled]


@pytest.mark.parametrize("end", LEFT_BEHIND)
async def test_one_that_is_busy_is_abandoned_and_closes_itself(
    world: World, busy: Busy, end: Callable[[Busy, Any], Awaitable[None]]
) -> None:
    world.not_virtual(NO_TIME)
    async with world.balancer() as balancer:
        await end(busy, balancer)
        assert busy.stuck.is_set()
        assert (balancer.stats().abandoned, balancer.stats().running) == (1, 0)
        assert busy.watch.ended == 0
        busy.free.set()
        await world.until(lambda: busy.watch.ended)
        await world.until(lambda: balancer.stats().abandoned == 0)
        busy.watch.check()
        assert busy.left == [0], "no time remains in its body"


@pytest.mark.parametrize("end", LEFT_BEHIND)
async def test_one_that_fails_when_it_comes_back_is_abandoned_no_longer(
    world: World, busy: Busy, end: Callable[[Busy, Any], Awaitable[None]]
) -> None:
    world.not_virtual(NO_TIME)
    busy.error = LookupError("late")
    async with world.balancer() as balancer:
        await end(busy, balancer)
        assert balancer.stats().abandoned == 1
        busy.free.set()
        await world.until(lambda: balancer.stats().abandoned == 0)
        busy.watch.check()


async def test_an_item_that_fails_waits_for_the_next_one_to_come(world: World, busy: Busy) -> None:
    world.not_virtual(NO_TIME)
    failed = threading.Event()
    error = OSError("item")

    async def body(x: int) -> None:
        await busy.until_stuck(x)
        failed.set()
        raise error

    async with world.balancer() as balancer:
        child = world.start(lambda: balancer.arun(busy.case().request(body)))
        await world.until(failed.is_set)
        await world.pause(10)
        assert not child.over.is_open
        assert balancer.stats().abandoned == 0
        busy.free.set()
        assert (await child.result()).result.failure() is error
        busy.watch.check()
        assert balancer.stats().abandoned == 0


@pytest.mark.parametrize("join", [race, lambda *branches: fan_out(*branches, need=1)], ids=["race", "need"])
async def test_a_branch_that_is_not_needed_is_not_waited_for(world: World, busy: Busy, join: Any) -> None:
    """As with any other sync function: it is abandoned."""
    world.not_virtual(NO_TIME)
    case = busy.case()
    async with world.balancer() as balancer:
        outcome = await balancer.arun(join(case.chain(case.stays), Task(busy.until_stuck))(0))
        assert outcome.unwrap() in ("quick", ("quick",))
        assert balancer.stats().abandoned == 1
        busy.free.set()
        await world.until(lambda: balancer.stats().abandoned == 0)
        busy.watch.check()


# --- one thread ----------------------------------------------------------------------------------------------------


async def test_two_generators_do_not_stop_a_balancer_of_one_thread(world: World) -> None:
    watches = [Watch(world, count=8), Watch(world, count=8)]
    reading: set[int] = set()  # threads of generators that have not ended
    shared: list[int] = []
    running, most = [0], [0]

    def body(x: int) -> int:
        running[0] += 1
        most[0] = max(most[0], running[0])
        shared.extend({threading.get_ident()} & reading)
        world.block(1)
        running[0] -= 1
        return x

    def chain(watch: Watch) -> Any:
        def rows(_: object) -> Iterator[int]:
            with watch.around():
                reading.add(threading.get_ident())
                yield from watch.numbers()
                reading.discard(threading.get_ident())

        return Task(rows) >> each(Task(body), limit=1)

    async with world.balancer(threads=1) as balancer:
        tickets = [balancer.post(chain(watch)(0), deadline=10_000) for watch in watches]
        for ticket in tickets:
            assert (await ticket).unwrap() == list(range(8))
    for watch in watches:
        watch.check()
    assert most == [1]
    assert not shared or world.mode == "virtual", "a generator has a thread of its own"


async def test_a_generator_that_blocks_leaves_the_one_thread_to_the_items(world: World) -> None:
    world.not_virtual(NO_TIME)
    watches = [Watch(world, count=6) for _ in range(2)]
    done = [threading.Event() for _ in range(6)]

    def rows(k: int) -> Any:
        def pages(_: object) -> Iterator[int]:
            with watches[k].around():
                for x in watches[k].numbers():
                    yield x
                    assert done[x].wait(MOST), "this item ends while its generator waits for that"

        return pages

    def body(x: int) -> int:
        done[x].set()
        return x

    async with world.balancer(threads=1) as balancer:
        tickets = [balancer.post((Task(rows(k)) >> each(Task(body), limit=2))(0), deadline=10_000) for k in range(2)]
        for ticket in tickets:
            assert (await ticket).unwrap() == list(range(6))
    for watch in watches:
        watch.check()


# --- one that refuses to end ---------------------------------------------------------------------------------------


def refuses(watch: Watch) -> Any:
    """Goes on once, whatever is raised at its ``yield``."""

    def rows(_: object) -> Iterator[int]:
        with watch.around():
            for x in watch.numbers():
                try:
                    yield x
                except GeneratorExit:
                    watch.kept.append("swallowed")
                    yield -1

    return rows


def refuses_async(watch: Watch) -> Any:
    async def rows(_: object) -> AsyncIterator[int]:
        with watch.around():
            for x in watch.numbers():
                try:
                    yield x
                except GeneratorExit:
                    raise
                except BaseException:  # noqa: BLE001 - that is the test
                    watch.kept.append("swallowed")
                    yield -1

    return rows


@pytest.mark.parametrize("end", ["limit", "cancelled", "not needed", "closed", "item fails"])
@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_one_that_goes_on_when_it_is_closed_does_not_hang(world: World, kind: str, end: str) -> None:
    watch = Watch(world) if kind == "sync" else Watch(world, this_task)
    begun = world.now()
    await ENDS[end](Case(world, watch, Task((refuses if kind == "sync" else refuses_async)(watch))))
    assert watch.kept == ([] if (kind, end) == ("async", "item fails") else ["swallowed"])
    assert world.now() - begun < LONG
    assert watch.taken <= 3 * LIMIT + 2


@pytest.mark.parametrize("end", ["limit", "cancelled", "not needed", "closed", "item fails"])
async def test_one_that_swallows_an_interruption_while_an_item_is_waited_for(world: World, end: str) -> None:
    """An item that comes after all is the last one."""
    watch = Watch(world, this_task, stalls=True)

    async def rows(_: object) -> AsyncIterator[int]:
        with watch.around():
            for x in watch.numbers():
                try:
                    await watch.stall(x)
                except BaseException as error:  # noqa: BLE001 - that is the test
                    watch.kept.append(type(error))
                yield x

    begun = world.now()
    await ENDS[end](Case(world, watch, Task(rows)))
    assert len(watch.kept) == 1
    assert world.now() - begun < LONG
    assert watch.taken == LIMIT + 1
    watch.check()
