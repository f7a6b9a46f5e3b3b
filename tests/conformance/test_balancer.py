"""The balancer: one queue, higher priority first, then arrival; never more than `workers` at once."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from conformance.harness import World
from returns.result import Success

from rio_chain import ChainDefinitionError, Outcome, QueueFull, Task


class Pool:
    """Bodies that count how many run, in which order, and wait to be let through."""

    def __init__(self, world: World) -> None:
        self.gate = world.gate()
        self.order: list[object] = []
        self.running = self.most = 0

    async def body(self, x: object) -> object:
        self.order.append(x)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.gate.passed()
        finally:
            self.running -= 1
        return x


@pytest.fixture
def pool(world: World) -> Pool:
    return Pool(world)


async def echo(x: object) -> object:
    return x


@pytest.mark.parametrize("how", ["post", "arun"])
async def test_priority_first_then_arrival(world: World, pool: Pool, how: str) -> None:
    async with world.balancer(workers=1) as balancer:
        first = balancer.post(Task(pool.body)("first"))
        await world.until(lambda: pool.order)
        given = [(0, "a"), (5, "b"), (0, "c"), (5, "d"), (-1, "e"), (9.5, "f")]
        waiting = []
        for count, (priority, name) in enumerate(given, 1):
            request = Task(pool.body)(name)
            if how == "post":
                waiting.append(balancer.post(request, priority=priority))
            else:
                waiting.append(world.start(lambda r=request, p=priority: balancer.arun(r, priority=p)))
            await world.until(lambda count=count: balancer.stats().queued == count)
        pool.gate.open()
        outcomes = [await (ticket if how == "post" else ticket.result()) for ticket in [*waiting]]
        await first
        assert pool.order == ["first", "f", "b", "d", "a", "c", "e"]
        assert [outcome.unwrap() for outcome in outcomes] == [name for _, name in given]
        assert all(outcome.queued > 0 for outcome in outcomes) or world.virtual
        assert balancer.stats().done == 7


async def test_never_more_than_workers_and_never_fewer(world: World, pool: Pool) -> None:
    async with world.balancer(workers=3) as balancer:
        tickets = [balancer.post(Task(pool.body)(k)) for k in range(10)]
        await world.until(lambda: pool.running == 3)
        stats = balancer.stats()
        assert (stats.running, stats.queued) == (3, 7)
        assert "3/3 running, 7/1000 queued" in repr(balancer)
        pool.gate.open()
        assert [(await ticket).unwrap() for ticket in tickets] == list(range(10))
        assert pool.most == 3


async def test_a_fan_out_counts_as_one(world: World, pool: Pool) -> None:
    async with world.balancer(workers=1) as balancer:
        ticket = balancer.post((Task(pool.body) & Task(pool.body).named("b") & Task(pool.body).named("c"))(7))
        await world.until(lambda: pool.running == 3)
        assert balancer.stats().running == 1
        pool.gate.open()
        assert (await ticket).result == Success((7, 7, 7))


@pytest.mark.parametrize("seed", range(5))
async def test_slots_are_never_exceeded_nor_lost(world: World, seed: int) -> None:
    draw = random.Random(seed)
    running, most, ended = [0], [0], [0]

    async def body(x: float) -> float:
        running[0] += 1
        most[0] = max(most[0], running[0])
        try:
            await world.pause(x)
        finally:
            running[0] -= 1
            ended[0] += 1
        return x

    async with world.balancer(workers=2) as balancer:
        children = []
        for _ in range(30):
            request, priority = Task(body)(draw.choice([0, 1, 2])), draw.randrange(3)
            if draw.random() < 0.5:
                children.append(world.start(lambda r=request, p=priority: balancer.arun(r, priority=p)))
            else:
                ticket = balancer.post(request, priority=priority, deadline=draw.choice([None, 5_000]))
                children.append(ticket)
            if draw.random() < 0.3:
                await world.pause(draw.choice([0, 1]))
            if draw.random() < 0.3:
                victim = draw.choice(children)
                victim.cancel() if hasattr(victim, "cancel") else victim.stop()
        for child in children:
            await (child.ended() if hasattr(child, "over") else child)
        assert most[0] <= 2
        await world.until(lambda: balancer.stats().running == 0)
        assert balancer.stats().queued == 0
        again = [balancer.post(Task(body)(0)) for _ in range(4)]
        assert [(await ticket).unwrap() for ticket in again] == [0] * 4, "no slot was lost"


@pytest.mark.parametrize("how", ["arun", "post", "post with a deadline"])
async def test_a_waiter_that_is_cancelled_at_the_hand_over_passes_the_slot_on(
    world: World, pool: Pool, how: str
) -> None:
    """The request with the slot and the first in the queue end in one tick; the second must get the slot."""

    async def short(x: object) -> object:
        await pool.gate.passed()
        return x

    async with world.balancer(workers=1) as balancer:
        holder = world.start(lambda: balancer.arun(Task(short)(1)))
        await world.until(lambda: balancer.stats().running == 1)
        terms = {"deadline": 60_000} if how == "post with a deadline" else {}
        if how == "arun":
            first = world.start(lambda: balancer.arun(Task(echo)(2)))
        else:
            first = balancer.post(Task(echo)(2), **terms)
        await world.until(lambda: balancer.stats().queued == 1)
        second = balancer.post(Task(echo)(3), **terms)
        await world.until(lambda: balancer.stats().queued == 2)
        pool.gate.open()
        for _ in range(world.ticks):  # the holder's last step, and then the one in which the slot is handed over
            await world.pause(0)
            if balancer.stats().queued < 2:
                break
        first.stop() if how == "arun" else first.cancel()
        assert (await second).result == Success(3)
        await holder.ended()
        assert balancer.stats().queued == 0
        assert (await balancer.arun(Task(echo)(4))).result == Success(4)


async def test_a_holder_and_the_first_in_line_that_go_together(world: World, pool: Pool) -> None:
    async with world.balancer(workers=1) as balancer:
        holder = world.start(lambda: balancer.arun(Task(pool.body)(1)))
        await world.until(lambda: pool.order)
        first = world.start(lambda: balancer.arun(Task(echo)(2)))
        await world.until(lambda: balancer.stats().queued == 1)
        second = world.start(lambda: balancer.arun(Task(echo)(3)))
        await world.until(lambda: balancer.stats().queued == 2)
        for child in (holder, first):
            child.stop()
        assert (await second.result()).result == Success(3)
        assert (await holder.ended()).cancelled
        await first.ended()
        assert (await balancer.arun(Task(echo)(4))).result == Success(4)


async def test_a_full_buffer_refuses_posts(world: World, pool: Pool) -> None:
    async with world.balancer(workers=1, buffer=2) as balancer:
        running = balancer.post(Task(pool.body)(0))
        await world.until(lambda: pool.order)
        waiting = [balancer.post(Task(pool.body)(k)) for k in (1, 2)]
        with pytest.raises(QueueFull, match=r"2 requests are waiting already \(buffer=2\); this one was not accepted"):
            balancer.post(Task(pool.body)(3))
        assert balancer.stats().rejected == 1
        child = world.start(lambda: balancer.arun(Task(pool.body)(4)))
        await world.pause(2)
        assert child.value is None, "arun waits for room"
        pool.gate.open()
        assert [(await ticket).unwrap() for ticket in [running, *waiting]] == [0, 1, 2]
        assert (await child.result()).unwrap() == 4
        assert sorted(pool.order) == [0, 1, 2, 4]


async def test_what_is_no_request_is_refused(world: World) -> None:
    async with world.balancer() as balancer:
        for wrong in (Task(echo), 7, None, echo):
            with pytest.raises(ChainDefinitionError, match=r"balancer\.run\(page\(42\)\)"):
                balancer.post(wrong)
            with pytest.raises(ChainDefinitionError, match=r"balancer\.run\(page\(42\)\)"):
                await balancer.arun(wrong)


async def test_exactly_one_outcome_each(world: World) -> None:
    async def body(x: int) -> int:
        await world.pause(x % 3)
        if x % 5 == 0:
            raise OSError(x)
        return x

    async with world.balancer(workers=4) as balancer:
        tickets = [balancer.post(Task(body).timeout(5_000)(k), priority=k % 2) for k in range(60)]
        for ticket in tickets[::7]:
            ticket.cancel()
        outcomes = [await ticket for ticket in tickets]
        assert len({id(outcome) for outcome in outcomes}) == 60
        assert all(isinstance(outcome, Outcome) for outcome in outcomes)
        await world.until(lambda: balancer.stats().running == 0)
        assert [await ticket for ticket in tickets] == outcomes, "the first answer is kept"


async def test_a_run_inside_of_a_run_of_another_balancer_has_a_slot_there(world: World) -> None:
    async with world.balancer(workers=1) as balancer, world.balancer(workers=1) as other:

        async def outer(x: object) -> object:
            return (await other.arun(Task(echo)(x))).unwrap()

        assert (await balancer.arun(Task(outer)(7))).result == Success(7)


async def test_map_gives_outcomes_in_order(world: World) -> None:
    async def body(x: int) -> int:
        await world.pause(5 - x % 5)
        if x == 3:
            raise OSError
        return x

    async with world.balancer(workers=3) as balancer:
        outcomes = [outcome async for outcome in balancer.amap(Task(body), range(12))]
        assert [outcome.value_or("failed") for outcome in outcomes] == [*range(3), "failed", *range(4, 12)]


async def test_map_as_completed_gives_the_first_that_comes(world: World) -> None:
    gate = world.gate()

    async def body(x: int) -> int:
        if x == 0:
            await gate.passed()
        return x

    async with world.balancer(workers=2) as balancer:
        got = []
        async for outcome in balancer.amap(Task(body), range(8), as_completed=True):
            got.append(outcome.unwrap())
            if len(got) == 7:
                gate.open()
        assert sorted(got) == list(range(8))
        assert got[-1] == 0


async def test_map_reads_its_inputs_as_slots_become_free(world: World) -> None:
    read = []

    def inputs() -> object:
        for k in range(1_000):
            read.append(k)
            yield k

    async with world.balancer(workers=2) as balancer:
        source = balancer.amap(Task(echo), inputs())
        async for outcome in source:
            assert len(read) <= outcome.unwrap() + 8
            if outcome.unwrap() == 20:
                break
        await source.aclose()
        assert len(read) <= 28
        await world.until(lambda: balancer.stats().running == 0)


async def test_leaving_map_cancels_what_is_under_way(world: World, pool: Pool) -> None:
    async def body(x: int) -> object:
        return x if x == 0 else await pool.body(x)

    async with world.balancer(workers=3) as balancer:
        source = balancer.amap(Task(body), range(100))
        async for _ in source:
            break
        await source.aclose()
        await world.until(lambda: balancer.stats().running == 0)
        assert balancer.stats().queued == 0
        assert pool.running == 0


@pytest.mark.parametrize("options", [{}, {"as_completed": True}, {"progress": True}], ids=str)
async def test_a_cancelled_map_begins_nothing_more_and_waits_for_the_clean_up(
    world: World, options: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rio_chain.inspect.live._screen.Shown.look", lambda _: None)
    begun: list[int] = []
    ended: list[int] = []

    async def body(x: int) -> None:
        begun.append(x)
        try:
            await world.pause(10_000)
        finally:
            await world.shielded(5)
            ended.append(x)

    for workers in (1, 3):
        begun.clear()
        ended.clear()
        async with world.balancer(workers=workers) as balancer:
            source = balancer.amap(Task(body), range(50), **options)

            async def read(source: Any = source) -> list[Any]:
                return [outcome async for outcome in source]

            child = world.start(read)
            await world.until(lambda workers=workers: len(begun) == workers)
            child.stop()
            assert (await child.ended()).cancelled
            assert sorted(begun) == sorted(ended) == [*range(workers)]
            assert balancer.stats().queued == 0
            with pytest.raises(StopAsyncIteration):
                await anext(source)
        assert sorted(begun) == [*range(workers)]


async def test_a_map_that_is_dropped_cancels_what_is_under_way(world: World, pool: Pool) -> None:
    async def body(x: int) -> object:
        return x if x == 0 else await pool.body(x)

    async with world.balancer(workers=3) as balancer:
        async for _ in balancer.amap(Task(body), range(100)):
            break
        await world.until(lambda: balancer.stats().running == 0)
        assert balancer.stats().queued == 0
        assert pool.running == 0


async def test_the_error_of_an_input_ends_a_map(world: World) -> None:
    def inputs() -> Iterator[int]:
        yield from range(8)
        raise LookupError("no more")

    async with world.balancer(workers=2) as balancer:
        source = balancer.amap(Task(echo), inputs())
        assert (await anext(source)).unwrap() == 0
        with pytest.raises(LookupError, match="no more"):
            [outcome async for outcome in source]
        with pytest.raises(StopAsyncIteration):
            await anext(source)
        await world.until(lambda: balancer.stats().running == 0)


async def test_one_task_at_a_time_reads_a_map(world: World) -> None:
    gate = world.gate()

    async def body(x: int) -> int:
        await gate.passed()
        return x

    async with world.balancer() as balancer:
        source = balancer.amap(Task(body), range(3))
        first = world.start(lambda: anext(source))
        await world.until(lambda: balancer.stats().running == 3)
        with pytest.raises(RuntimeError, match="another task is already waiting for the next Outcome"):
            await anext(source)
        gate.open()
        assert (await first.result()).unwrap() == 0
        assert [outcome.unwrap() async for outcome in source] == [1, 2]


async def test_stats_and_status_line(world: World) -> None:
    async with world.balancer(workers=2, buffer=5) as balancer:
        for _ in range(3):
            await balancer.arun(Task(echo)(7))
        stats = balancer.stats()
        assert (stats.running, stats.queued, stats.abandoned, stats.done, stats.rejected) == (0, 0, 0, 3, 0)
        assert stats.waits.count == stats.runs.count == 3
        assert repr(balancer).startswith(
            f"<Balancer {world.executor} open: 0/2 running, 0/5 queued, 0 abandoned, 0 rejected, 3 done, p50 wait <= "
        )
    assert f"<Balancer {world.executor} closed: " in repr(balancer)
