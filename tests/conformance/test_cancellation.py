"""Cancellation from outside is neither a value nor an error: it passes untouched, when the bodies have been awaited."""

from __future__ import annotations

import pytest
from conformance.harness import World
from returns.result import Success

from rio_chain import Backoff, Task, TaskTimedOut, settle


class Body:
    """A body that says when it runs and when its clean-up is complete."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.calls = 0
        self.ended = 0
        self.handled: list[object] = []

    async def slow(self, x: object) -> object:
        self.calls += 1
        try:
            await self.world.pause(10_000)
        finally:
            await self.world.shielded(5)
            self.ended += 1
        return x

    def handle(self, error: object) -> object:
        self.handled.append(error)
        return error


@pytest.fixture
def body(world: World) -> Body:
    return Body(world)


def shapes(body: Body) -> dict[str, object]:
    slow = Task(body.slow)
    return {
        "bare": slow,
        "guarded": slow.timeout(5_000).retry(3, backoff=None).or_else(body.handle),
        "region": (slow >> Task(body.slow).named("b")).timeout(5_000).retry(3, on=lambda e: not body.handle(e)),
        "fan-out": slow & Task(body.slow).named("b") & Task(body.slow).named("c"),
        "nested": (slow & (Task(body.slow).named("b") & Task(body.slow).named("c"))).or_else(body.handle),
        "settle": settle(slow.timeout(5_000), Task(body.slow).named("b")),
        "bridge": Task(lambda x: x).named("a").inline() >> body.slow >> Task(body.slow).named("b"),
        "request": Task(slow.__call__).named("a").inline().or_else(body.handle),
    }


SHAPES = ["bare", "guarded", "region", "fan-out", "nested", "settle", "bridge", "request"]


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_cancel_passes_and_the_bodies_are_awaited(world: World, body: Body, shape: str) -> None:
    request = shapes(body)[shape](7)
    expected = {"fan-out": 3, "nested": 3, "settle": 2}.get(shape, 1)
    child = world.start(lambda: world.run(request))
    await world.until(lambda: body.calls == expected)
    child.stop()
    await child.ended()
    assert child.cancelled
    assert child.error is None
    assert (body.calls, body.ended) == (expected, expected), "cancelled, awaited, not called again"
    assert body.handled == []


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_scope_of_the_caller_wins(world: World, body: Body, shape: str) -> None:
    before = world.cancelling()
    async with world.limit(world.short) as scope:
        await world.run(shapes(body)[shape](7))
    assert scope.expired
    assert world.cancelling() == before
    assert body.calls == body.ended
    assert body.handled == []
    await world.pause(1)


async def test_a_limit_leaves_no_cancellation_behind(world: World, body: Body) -> None:
    before = world.cancelling()
    for shape in SHAPES[:4]:
        request = shapes(body)[shape].timeout(5)(7)
        assert type((await world.run(request)).result.failure()) is TaskTimedOut
        assert world.cancelling() == before
        await world.pause(1)


async def test_a_caller_that_was_cancelled_before_may_run_in_its_clean_up(world: World, body: Body) -> None:
    got = []

    async def work() -> None:
        try:
            await world.pause(10_000)
        finally:
            async with world.shield():
                got.append(await world.run(Task(body.slow).timeout(5)(7)))

    child = world.start(work)
    await world.pause(1)
    child.stop()
    await child.ended()
    assert child.cancelled
    assert type(got[0].result.failure()) is TaskTimedOut
    assert world.mode in ("trio", "virtual") or child.cancelling == 1, "it is still cancelled from before"


async def test_a_cancel_in_a_backoff(world: World) -> None:
    calls = []

    async def fails(x: object) -> None:
        calls.append(x)
        raise OSError

    chain = Task(fails).retry(3, backoff=Backoff(base=5_000, cap=5_000, jitter="none"))
    child = world.start(lambda: world.run(chain(7)))
    await world.until(lambda: calls)
    child.stop()
    await child.ended()
    assert child.cancelled
    assert calls == [7]


async def test_a_cancel_in_the_queue(world: World, body: Body) -> None:
    async with world.balancer(workers=1) as balancer:
        first = world.start(lambda: balancer.arun(Task(body.slow)(1)))
        await world.until(lambda: body.calls)
        waiting = world.start(lambda: balancer.arun(Task(body.slow)(2)))
        await world.until(lambda: balancer.stats().queued)
        waiting.stop()
        await waiting.ended()
        assert waiting.cancelled
        assert balancer.stats().queued == 0
        first.stop()
        await first.ended()
        await world.until(lambda: balancer.stats().running == 0)
        assert (body.calls, body.ended) == (1, 1), "what waited never ran"


@pytest.mark.parametrize("first", ["expiry", "cancel"])
@pytest.mark.parametrize("shape", ["bare", "retried", "region", "fan-out", "deadline"])
async def test_expiry_and_foreign_cancel_in_one_tick(world: World, body: Body, first: str, shape: str) -> None:
    quick = Task(body.slow)
    chain = {
        "bare": quick.timeout(20),
        "retried": quick.timeout(20).retry(3, backoff=None).or_else(body.handle),
        "region": (quick >> Task(body.slow).named("b")).timeout(20).or_else(body.handle),
        "fan-out": (quick & Task(body.slow).named("b")).timeout(20),
        "deadline": quick,
    }[shape]
    terms = {"deadline": 20} if shape == "deadline" else {}

    async def work() -> object:
        child.stop_at(world.clock() + 0.02 + (1e-10 if first == "expiry" and world.mode == "asyncio" else 0))
        return await world.run(chain(7), **terms)

    child = world.start(work)
    await child.ended()
    assert child.error is None
    if world.virtual and shape != "deadline":
        assert child.cancelled, "the foreign cancel wins"
        assert child.cancelling in {0, 1}
    else:  # not the very same tick
        assert child.cancelled or type(child.value.result.failure()).__name__ in {"TaskTimedOut", "DeadlineExceeded"}
    assert body.ended == body.calls
    assert body.handled == [] or not world.virtual


async def test_cancelling_one_run_leaves_the_others(world: World, body: Body) -> None:
    gate = world.gate()

    async def waits(x: int) -> int:
        await gate.passed()
        return x

    async with world.balancer() as balancer:
        others = [world.start(lambda k=k: balancer.arun(Task(waits)(k))) for k in range(3)]
        child = world.start(lambda: balancer.arun(Task(body.slow)(7)))
        await world.until(lambda: body.calls)
        child.stop()
        assert (await child.ended()).cancelled
        gate.open()
        assert [(await other.result()).result for other in others] == [Success(0), Success(1), Success(2)]


async def test_a_body_that_swallows_its_expiry_is_timed_out_all_the_same(world: World) -> None:
    async def stubborn(x: object) -> object:
        try:
            await world.pause(10_000)
        except BaseException:  # noqa: BLE001 - what one must not do
            return "late"
        return x

    outcome = await world.run((Task(stubborn).timeout(20) >> Task(stubborn).named("b"))(7))
    assert type(outcome.result.failure()) is TaskTimedOut
    assert [r.status for r in outcome] == ["timed_out", "skipped"]


@pytest.mark.parametrize("policy", ["handler", "constant", "retry", "on"])
@pytest.mark.parametrize("how", ["foreign", "ticket", "loser"])
async def test_an_error_in_answer_to_a_cancellation_is_not_handled(
    world: World, body: Body, policy: str, how: str
) -> None:
    """A clean-up that raises, as those of some clients do; no policy inside may take the run up again."""

    async def grudging(_: object) -> None:
        body.calls += 1
        try:
            await world.pause(10_000)
        finally:
            raise LookupError

    async def after(x: object) -> object:
        body.handled.append(x)
        return x

    task = Task(grudging)
    chain = {
        "handler": task.or_else(body.handle),
        "constant": task.or_else(0),
        "retry": task.retry(3, backoff=None),
        "on": task.retry(3, on=lambda e: not body.handle(e), backoff=None),
    }[policy] >> Task(after)

    async def fails(_: object) -> None:
        while not body.calls:
            await world.pause(1)
        raise OSError

    async with world.balancer() as balancer:
        if how == "foreign":
            child = world.start(lambda: balancer.arun(chain(7)))
            await world.until(lambda: body.calls)
            child.stop()
            assert (await child.ended()).cancelled
        elif how == "ticket":
            ticket = balancer.post(chain(7))
            await world.until(lambda: body.calls)
            ticket.cancel()
            assert type((await ticket).result.failure()).__name__ == "TicketCancelled"
        else:
            outcome = await balancer.arun((chain & Task(fails))(7))
            assert type(outcome.result.failure()) is OSError
    assert body.calls == 1
    assert body.handled == []


@pytest.mark.parametrize("how", ["limit", "ticket", "loser", "foreign"])
async def test_a_group_whose_clean_up_fails(world: World, body: Body, how: str) -> None:
    """A cancelled nursery or task group hands on its cancellation and the errors beside it in one group."""

    async def child() -> None:
        body.calls += 1
        try:
            await world.pause(10_000)
        finally:
            raise LookupError

    async def grouped(_: object) -> None:
        await world.in_group(child, child, lambda: body.slow(7))

    async def fails(_: object) -> None:
        while body.calls < 3:
            await world.pause(1)
        raise OSError

    chain = Task(grouped).retry(3, backoff=None)
    async with world.balancer() as balancer:
        if how == "limit":
            outcome = await balancer.arun(chain.timeout(world.short)(7))
            assert type(outcome.result.failure()) is TaskTimedOut
        elif how == "ticket":
            ticket = balancer.post(chain(7))
            await world.until(lambda: body.calls == 3)
            ticket.cancel()
            assert type((await ticket).result.failure()).__name__ == "TicketCancelled"
        elif how == "loser":
            outcome = await balancer.arun((chain & Task(fails))(7))
            assert type(outcome.result.failure()) is OSError
        else:
            worker = world.start(lambda: balancer.arun(chain(7)))
            await world.until(lambda: body.calls == 3)
            worker.stop()
            await worker.ended()
            assert worker.cancelled or isinstance(worker.error, ExceptionGroup), (
                "as trio itself: its scope took its part"
            )
        assert (await balancer.arun(Task(lambda: 1).inline()())).result == Success(1)
    assert body.calls <= 3
