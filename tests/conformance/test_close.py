"""Closing: take nothing more, drain for `grace`, cancel what is left, and answer every ticket."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import time
import warnings
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path

import pytest
import trio
from conformance.harness import World
from returns.result import Success

from rio_chain import Balancer, BalancerClosed, QueueFull, Task, TicketCancelled, UsageError, each


class Body:
    def __init__(self, world: World) -> None:
        self.world = world
        self.gate = world.gate()
        self.calls = 0
        self.ended = 0

    async def waits(self, x: object) -> object:
        self.calls += 1
        try:
            await self.gate.passed()
        finally:
            await self.world.shielded(2)
            self.ended += 1
        return x


@pytest.fixture
def body(world: World) -> Body:
    return Body(world)


async def echo(x: object) -> object:
    return x


@pytest.mark.real_time
@pytest.mark.parametrize("how", ["close", "aclose"])
async def test_after_close_nothing_is_taken_and_it_says_why(world: World, how: str) -> None:
    why = rf"^this balancer is closed; `with` or `async with` opens it again \(it was closed by {how}\(\)\)$"
    async with world.balancer() as balancer:
        await balancer.arun(Task(echo)(7))
        if how == "aclose" or world.native:
            await balancer.aclose()
            why = why.replace(r"by close\(", r"by aclose\(")
        else:
            balancer.close()
    for _ in range(2):
        with pytest.raises(BalancerClosed, match=why):
            await balancer.arun(Task(echo)(7))
        with pytest.raises(BalancerClosed, match=why):
            balancer.post(Task(echo)(7))
        with pytest.raises(BalancerClosed, match=why):
            await anext(balancer.amap(Task(echo), [7]))
        await balancer.aclose()  # a second time does nothing


async def test_close_drains(world: World, body: Body) -> None:
    async with world.balancer(workers=1) as balancer:
        tickets = [balancer.post(Task(body.waits)(k)) for k in range(3)]
        running = world.start(lambda: balancer.arun(Task(body.waits)(3)))
        await world.until(lambda: body.calls)
        await world.until(lambda: balancer.stats().queued == 3)
        closing = world.start(balancer.aclose)
        await world.until(lambda: "closed" in repr(balancer))
        with pytest.raises(BalancerClosed):
            balancer.post(Task(echo)(7))
        assert not any(ticket.done for ticket in tickets)
        body.gate.open()
        await closing.result()
        assert [(await ticket).result for ticket in tickets] == [Success(k) for k in range(3)]
        assert (await running.result()).result == Success(3)


@pytest.mark.parametrize("grace", [0, 20])
async def test_when_the_grace_is_over_the_rest_is_cancelled(world: World, body: Body, grace: float) -> None:
    async with world.balancer(workers=1) as balancer:
        first = world.start(lambda: balancer.arun((Task(body.waits).retry(3).or_else(0) >> Task(echo))(1)))
        await world.until(lambda: body.calls)
        queued = world.start(lambda: balancer.arun(Task(body.waits)(2)))
        await world.until(lambda: balancer.stats().queued == 1)
        tickets = [balancer.post(Task(body.waits)(3)), balancer.post(Task(body.waits)(4), deadline=60_000)]
        begun = world.now()
        await balancer.aclose(grace=grace)
        assert world.about(world.now() - begun, grace + 2)
        outcomes = [await first.result(), await queued.result(), *[await ticket for ticket in tickets]]
        assert [str(o.result.failure()) for o in outcomes] == ["cancelled: the balancer closed"] * 4
        assert [type(o.result.failure()) for o in outcomes] == [TicketCancelled] * 4
        assert [o[0].status for o in outcomes] == ["cancelled", "skipped", "skipped", "skipped"]
        assert (body.calls, body.ended) == (1, 1), "what ran was awaited; what waited never ran"


async def test_leaving_the_block_by_a_cancel_does_not_drain(world: World, body: Body) -> None:
    tickets = []

    async def work() -> None:
        async with world.plain_balancer() as balancer:
            tickets.append(balancer.post(Task(body.waits)(7)))
            await world.until(lambda: body.calls)
            await world.pause(10_000)

    child = world.start(work)
    await world.until(lambda: body.calls)
    await world.pause(2)
    child.stop()
    await child.ended()
    assert child.cancelled
    assert tickets[0].done
    assert type((await tickets[0]).result.failure()) is TicketCancelled
    assert body.ended == 1


async def test_close_with_nothing_under_way_is_at_once(world: World) -> None:
    async with world.balancer() as balancer:
        begun = world.now()
        await balancer.aclose()
        assert world.about(world.now() - begun, 0)


async def test_a_balancer_that_was_never_used_closes(world: World) -> None:
    balancer = Balancer(world.executor)
    await balancer.aclose()
    with pytest.raises(BalancerClosed):
        await balancer.arun(Task(echo)(7))


@pytest.mark.real_time
async def test_an_abandoned_call_does_not_hold_up_the_close(world: World) -> None:
    world.not_virtual("a sync function takes no time, so no limit ends it")
    go = threading.Event()

    def stuck(_: object) -> None:
        go.wait(5)

    async with world.balancer() as balancer:
        ticket = balancer.post(Task(stuck)(7))
        await world.until(lambda: balancer.stats().running)
        begun = world.now()
        await balancer.aclose(grace=10)
        assert type((await ticket).result.failure()) is TicketCancelled
        assert world.now() - begun < 4_000
        go.set()


# --- several closes, and requests that come too late -------------------------------------------------------------


async def test_a_second_close_waits_for_the_first(world: World, body: Body) -> None:
    """From the same loop, from another thread, and from a loop of another kind."""
    world.not_virtual("it can't be closed from another loop")
    over: list[str] = []

    def on_a_thread() -> None:
        balancer.close()
        over.append("thread")

    async def here() -> None:
        await balancer.aclose()
        over.append("here")

    def on_another_loop() -> None:
        asyncio.run(balancer.aclose()) if world.mode == "trio" else trio.run(balancer.aclose)
        over.append("loop")

    async with world.balancer() as balancer:
        ticket = balancer.post(Task(body.waits)(7))
        await world.until(lambda: body.calls)
        closers = [world.start(here), world.start(here)]
        await world.until(lambda: "closed" in repr(balancer))
        threads = [threading.Thread(target=target) for target in (on_a_thread, on_another_loop)]
        for thread in threads:
            thread.start()
        await world.pause(5)
        assert over == []
        body.gate.open()
        for closer in closers:
            await closer.result()
        assert ticket.done
        assert over.count("here") == 2
        await world.until(lambda: len(over) == 4)
        for thread in threads:
            thread.join(5)


async def test_the_shorter_of_two_graces_counts(world: World, body: Body) -> None:
    async with world.balancer() as balancer:
        ticket = balancer.post(Task(body.waits)(7))
        await world.until(lambda: body.calls)
        patient = world.start(balancer.aclose)
        await world.pause(1)
        begun = world.now()
        await balancer.aclose(grace=5)
        assert world.about(world.now() - begun, 7), "and the clean-up"
        assert str((await ticket).result.failure()) == "cancelled: the balancer closed"
        await patient.result()


async def test_a_cancelled_close_cancels_the_rest_and_goes_on_when_that_has_ended(world: World, body: Body) -> None:
    before = world.cancelling()
    async with world.balancer() as balancer:
        ticket = balancer.post(Task(body.waits)(7))
        await world.until(lambda: body.calls)
        async with world.limit(5) as scope:
            await balancer.aclose()
        assert scope.expired
        assert world.cancelling() == before
        assert ticket.done
        assert body.ended == 1
        await balancer.aclose()


async def test_a_cancel_is_heard_at_every_moment_of_a_close(world: World) -> None:
    """Also between the end of the last run and its answer, which come from another thread."""

    async def short(x: object) -> object:
        await world.pause(2)
        return x

    heard = 0
    for late in range(12):
        async with world.balancer() as balancer:
            ticket = balancer.post(Task(short)(7))
            closing = world.start(balancer.aclose)
            await world.pause(2 if world.virtual else 1.8 + late / 20)
            for _ in range(late if world.virtual else 0):
                await world.pause(0)
            was_over = closing.over.is_open
            closing.stop()
            child = await closing.ended()
            assert child.cancelled or was_over or child.cancelling == 0, "what was heard too late was not asked for"
            heard += child.cancelled
            assert ticket.done
    assert heard or not world.virtual


async def test_those_in_the_line_of_a_full_buffer_are_answered(world: World, body: Body) -> None:
    async with world.balancer(workers=1, buffer=1) as balancer:
        running = balancer.post(Task(body.waits)(0))
        await world.until(lambda: body.calls)
        waiting = [world.start(lambda n=n: balancer.arun(Task(echo)(n))) for n in range(4)]
        await world.until(lambda: balancer.stats().queued == 4)
        with pytest.raises(QueueFull):
            balancer.post(Task(echo)(9))
        await balancer.aclose(grace=0)
        for outcome in [await running, *[await child.result() for child in waiting]]:
            assert str(outcome.result.failure()) == "cancelled: the balancer closed"
        assert body.calls == 1


async def test_a_map_over_a_balancer_that_closes_raises(world: World) -> None:
    got: list[object] = []

    async def work() -> None:
        async for outcome in balancer.amap(Task(echo), count()):
            got.append(outcome.result)
            if len(got) == 5:
                await balancer.aclose()

    async with world.balancer(workers=2) as balancer:
        assert isinstance((await world.start(work).ended()).error, BalancerClosed)
        assert got[:5] == [Success(n) for n in range(5)]


@pytest.mark.parametrize("error", [ValueError("v"), ExceptionGroup("g", [ValueError("v")])], ids=["error", "group"])
async def test_leaving_the_block_by_an_error_drains(world: World, body: Body, error: Exception) -> None:
    tickets = []

    async def work() -> None:
        async with world.plain_balancer() as balancer:
            tickets.append(balancer.post(Task(body.waits)(7)))
            await world.until(lambda: body.calls)
            raise error

    child = world.start(work)
    await world.until(lambda: body.calls)
    await world.pause(2)
    assert not tickets[0].done
    body.gate.open()
    assert (await child.ended()).error is error
    assert (await tickets[0]).result == Success(7)


async def test_leaving_the_block_by_more_than_an_error_does_not(world: World, body: Body) -> None:
    tickets, error = [], SystemExit(3)

    async def work() -> None:
        async with world.plain_balancer() as balancer:
            tickets.append(balancer.post(Task(body.waits)(7)))
            await world.until(lambda: body.calls)
            raise error

    assert (await world.start(work).ended()).error is error
    assert type((await tickets[0]).result.failure()) is TicketCancelled
    assert body.ended == 1


@pytest.mark.real_time
async def test_a_close_in_a_sync_body_is_refused(world: World) -> None:
    async with world.balancer() as balancer:
        outcome = await balancer.arun(Task(lambda _: balancer.close())(1))
        assert isinstance(outcome.result.failure(), UsageError)
        outcome = await balancer.arun((Task(echo) & Task(lambda _: balancer.close()))(1))
        assert isinstance(outcome.result.failure(), UsageError), "also in a branch"
        assert (await balancer.arun(Task(echo)(1))).result == Success(1)


@pytest.mark.real_time
async def test_ctrl_c_in_a_close_cleans_up_and_frees_all(world: World, body: Body) -> None:
    world.not_virtual("the test body can't go on beside a blocking close")

    def interrupt() -> None:
        until = time.monotonic() + 10
        while "closed" not in repr(balancer) and time.monotonic() < until:
            time.sleep(0.0005)
        os.kill(os.getpid(), signal.SIGINT)

    def close() -> None:
        thread.start()
        balancer.close()
        time.sleep(5)  # it comes at the latest now

    balancer = Balancer(world.executor)
    ticket = balancer.post(Task(body.waits)(7))
    await world.until(lambda: body.calls)
    host = balancer._host
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # loops have one of their own
    thread = threading.Thread(target=interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            close()
    finally:
        signal.signal(signal.SIGINT, before)
        thread.join(20)
    assert ticket.done
    assert body.ended == 1
    assert host is not None
    assert host.pool.count == 0
    balancer.close()


async def test_a_balancer_that_is_dropped_unclosed_says_so_and_no_more(
    world: World, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        balancer = Balancer(world.executor)
        if not world.native:
            balancer.__enter__()
        assert (await balancer.arun(Task(echo)(1))).result == Success(1)
        del balancer
        gc.collect()
        await world.pause(1)
        gc.collect()
    assert [one.category for one in seen] == ([] if world.mode == "virtual" else [ResourceWarning])
    assert caplog.text == ""
    assert capfd.readouterr().err == ""


# --- calls that it leaves -----------------------------------------------------------------------------------------


@pytest.mark.real_time
async def test_it_names_the_tasks_whose_calls_it_gives_up_on(world: World) -> None:
    world.not_virtual("a sync function takes no time")
    go, begun = threading.Event(), threading.Semaphore(0)

    def stuck(_: object) -> None:
        begun.release()
        go.wait(20)

    late = Task(stuck).named("late").timeout(10)
    chains = [Task(stuck), Task(stuck).named("other") & Task(body_that_waits(world)), each(Task(stuck).named("item"))]
    async with world.balancer(workers=4) as balancer:
        assert (await balancer.arun(late(0))).only.status == "timed_out"
        tickets = [balancer.post(chain(given)) for chain, given in zip(chains, [1, 2, [3, 4]], strict=True)]
        tickets.append(balancer.post(chains[0](5)))
        for _ in range(6):
            await world.until(lambda: begun.acquire(blocking=False))
        with pytest.warns(RuntimeWarning) as seen:
            await balancer.aclose(grace=5)
        go.set()
        assert [type((await ticket).result.failure()) for ticket in tickets] == [TicketCancelled] * 4
        await world.until(lambda: balancer.stats().abandoned == 0)
    (text,) = [str(one.message) for one in seen]
    tasks = "'item' (2 calls), 'stuck' (2 calls), 'other'"  # 'late' is none of them: its limit gave up on that
    assert text.startswith(f"aclose() stopped waiting for 5 calls that still run: {tasks}. A sync function"), text
    assert {Path(one.filename).name for one in seen} == {"test_close.py"}


def body_that_waits(world: World) -> Callable[[object], Awaitable[None]]:
    async def waits(_: object) -> None:
        await world.pause(10_000)

    return waits


@pytest.mark.real_time
async def test_of_many_tasks_it_names_some(world: World) -> None:
    world.not_virtual("a sync function takes no time")
    go, begun = threading.Event(), threading.Semaphore(0)

    def stuck(_: object) -> None:
        begun.release()
        go.wait(20)

    async with world.balancer(workers=9) as balancer:
        for n in range(8):
            balancer.post(Task(stuck).named(f"{n}" * 500)(n))
        for _ in range(8):
            await world.until(lambda: begun.acquire(blocking=False))
        with pytest.warns(
            RuntimeWarning, match=r"stopped waiting for 8 calls that still run: .* and 3 more\. "
        ) as seen:
            await balancer.aclose(grace=0)
        go.set()
        await world.until(lambda: balancer.stats().abandoned == 0)
    assert all(len(str(one.message)) < 600 for one in seen)


@pytest.mark.real_time
async def test_it_says_nothing_when_all_calls_have_returned(world: World) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        async with world.balancer() as balancer:
            begun = threading.Event()

            def short(_: object) -> None:
                begun.set()
                world.block(20)

            ticket = balancer.post(Task(short)(1))
            if world.mode != "virtual":
                await world.until(begun.is_set)
            await balancer.aclose(grace=5_000)
            assert (await ticket).result == Success(None)


@pytest.mark.real_time
async def test_a_block_that_is_interrupted_says_nothing_of_the_calls_that_it_leaves(world: World) -> None:
    """An interruption does not wait for them; a warning that is an error must not take its place."""
    world.not_virtual("a sync function takes no time")
    go, begun = threading.Event(), threading.Event()

    def stuck(_: object) -> None:
        begun.set()
        go.wait(20)

    async def work() -> None:
        async with world.plain_balancer() as balancer:
            balancers.append(balancer)
            balancer.post(Task(stuck)(1))
            await world.until(begun.is_set)
            raise SystemExit(3)

    balancers: list[Balancer] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert isinstance((await world.start(work).ended()).error, SystemExit)
    go.set()
    await world.until(lambda: balancers[0].stats().abandoned == 0)
