"""Loops that are not as ``asyncio.run`` leaves them: eager tasks, debug mode, uvloop; stopped, or closed by hand.

Whatever becomes of the loop, every ticket is answered, later posts are refused, and ``close`` returns.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest
import trio
from leaks.baseline import Bodies, is_idle, nothing_left
from leaks.loops import eager
from waiting import SPARE, eventually

from rio_chain import (
    Balancer,
    BalancerClosed,
    Outcome,
    Task,
    TaskTimedOut,
    Ticket,
    TicketCancelled,
    at_least,
    each,
    race,
)
from rio_chain.balancer import _close as closing

Loops = Callable[[], asyncio.AbstractEventLoop]


def plain() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


def debugging() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 60  # a busy machine is none of its business
    return loop


def of_old_factories() -> asyncio.AbstractEventLoop:
    """A task factory as it was written before a task could be given a context. ``asyncio.run`` fails with that."""
    loop = asyncio.new_event_loop()
    loop.set_task_factory(lambda loop, work: asyncio.Task(work, loop=loop))  # type: ignore[arg-type]
    return loop


def of_uvloop() -> asyncio.AbstractEventLoop:
    loop: asyncio.AbstractEventLoop = sys.modules["uvloop"].new_event_loop()
    return loop


@pytest.fixture(scope="session")
def uvloop() -> Any:
    module = pytest.importorskip("uvloop")
    module.new_event_loop().close()  # with the first one, it opens a pipe that stays
    return module


@pytest.fixture(params=[plain, debugging, eager, of_old_factories, of_uvloop], ids=lambda made: made.__name__)
def loops(request: pytest.FixtureRequest) -> Loops:
    made: Loops = request.param
    if made is eager and not hasattr(asyncio, "eager_task_factory"):
        pytest.skip("needs Python 3.12")
    if made is of_uvloop:
        request.getfixturevalue("uvloop")
    return made


def run(loops: Loops, main: Coroutine[Any, Any, Any]) -> Any:
    """As ``asyncio.run`` does, for any of them."""
    loop = loops()
    try:
        return loop.run_until_complete(main)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.wait(left)) if left else None
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


async def collected(outcomes: AsyncIterator[Outcome[Any]]) -> list[Any]:
    return [outcome.unwrap() async for outcome in outcomes]


# --- they do what all loops do ------------------------------------------------------------------------------------


def test_every_call_works(loops: Loops, body: Bodies) -> None:
    same, asame, stays = Task(body.answer), Task(body.aanswer), Task(body.astay)

    async def main() -> None:
        async with Balancer(workers=3) as balancer:
            assert (await balancer.arun((same >> (asame & same))(1))).unwrap() == (1, 1)
            assert (await balancer.post(asame(2))).unwrap() == 2
            assert (await asyncio.to_thread(balancer.post(asame(3)).wait)).unwrap() == 3
            assert (await balancer.arun(race(stays, asame)(4))).unwrap() == 4
            assert (await balancer.arun(stays.replica(2, after=1).timeout(20).or_else(5)(1))).unwrap() == 5
            items = each(asame, limit=2, on_error=at_least(3))
            assert (await balancer.arun(items(range(5)))).unwrap() == [0, 1, 2, 3, 4]
            assert await collected(balancer.amap(asame, range(9))) == list(range(9))
            assert sorted(await collected(balancer.amap(same, range(9), as_completed=True))) == list(range(9))
            late = await balancer.arun(stays.timeout(10)(1))
            assert isinstance(late.result.failure(), TaskTimedOut)
            assert [event.kind async for event in asame(6).stream()] == ["started", "finished", "ended"]
            left = [balancer.post(stays(n)) for n in range(5)]
            await balancer.aclose(grace=1)
            assert {type((await ticket).result.failure()) for ticket in left} == {TicketCancelled}

    with nothing_left():
        run(loops, main())


def test_a_long_line_of_requests_that_wait_for_nothing_runs_in_order(loops: Loops) -> None:
    ran: list[int] = []

    async def body(n: int) -> int:
        ran.append(n)
        return n

    async def main() -> None:
        go = asyncio.Event()
        async with Balancer(workers=1, buffer=6_000) as balancer:
            first = balancer.post(Task(go.wait)())
            tickets = [balancer.post(Task(body)(n)) for n in range(5_000)]
            await asyncio.sleep(0)
            assert ran == []
            go.set()
            assert [(await ticket).unwrap() for ticket in (first, *tickets)] == [True, *range(5_000)]
            assert is_idle(balancer)
        assert ran == list(range(5_000))

    run(loops, main())


def test_a_post_returns_before_its_request_begins(loops: Loops) -> None:
    ran: list[int] = []

    async def body(n: int) -> None:
        ran.append(n)

    async def main() -> None:
        async with Balancer() as balancer:
            ticket = balancer.post(Task(body)(1))
            assert ran == []
            await ticket
        assert ran == [1]

    run(loops, main())


# --- a loop that is closed without `asyncio.run` ------------------------------------------------------------------


class Abandoned:
    """A loop on which work of every kind was begun, and which runs no more."""

    def __init__(self, loops: Loops, body: Bodies) -> None:
        self.loop = loops()
        self.balancer = Balancer(workers=3)
        self.tickets: list[Ticket[Any]] = []
        self.loop.run_until_complete(self._begin(body))

    async def _begin(self, body: Bodies) -> None:
        balancer, chains = self.balancer, [Task(body.astay), Task(body.stay), Task(body.astay) & Task(body.stay)]
        await balancer.arun(Task(body.aanswer)(0))
        self.running = [asyncio.ensure_future(balancer.arun(Task(body.astay)(1))) for _ in range(2)]
        await asyncio.sleep(0.001)
        self.tickets += [balancer.post(chain(1), queue_timeout=t) for chain in chains for t in (None, 30_000)]
        self.running.append(asyncio.ensure_future(balancer.arun(Task(body.answer)(1))))  # waits in the line
        await asyncio.sleep(0.005)
        self.tickets += [balancer.post(Task(body.answer)(1), queue_timeout=t) for t in (None, 30_000)]

    def forget(self) -> None:
        """asyncio logs what is left of a closed loop; that of the test itself is no news."""
        for task in self.running:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        self.running.clear()
        gc.collect()


@pytest.fixture
def abandoned(loops: Loops, body: Bodies) -> Iterator[Abandoned]:
    with nothing_left():
        made = Abandoned(loops, body)
        try:
            yield made
        finally:
            body.open.set()
            made.loop.close()
            made.forget()


def were_cancelled(tickets: list[Ticket[Any]]) -> bool:
    return all(isinstance(ticket.wait(0).result.failure(), TicketCancelled) for ticket in tickets)


def refuses(balancer: Balancer, body: Bodies) -> bool:
    for call in (balancer.run, balancer.post):
        with pytest.raises(BalancerClosed):
            call(Task(body.answer)(1))
    return True


def test_a_loop_that_is_closed_by_hand_answers_all(abandoned: Abandoned, body: Bodies) -> None:
    assert not any(ticket.done for ticket in abandoned.tickets)
    abandoned.loop.close()
    assert were_cancelled(abandoned.tickets)
    assert refuses(abandoned.balancer, body)
    abandoned.balancer.close()
    body.open.set()
    eventually(lambda: is_idle(abandoned.balancer))


def test_a_loop_that_is_closed_by_another_thread_wakes_all_waiters(abandoned: Abandoned, body: Bodies) -> None:
    async def awaits() -> Any:
        return await tickets[0]

    def closes() -> None:
        balancer.close()
        got.append("closed")

    got: list[Any] = []
    tickets, balancer = abandoned.tickets, abandoned.balancer
    works: list[Callable[[], Any]] = [lambda t=t: got.append(t.wait(20_000)) for t in tickets]  # type: ignore[misc]
    works += [lambda: got.append(trio.run(awaits)), lambda: got.append(asyncio.run(awaits())), closes]
    waiters = [threading.Thread(target=work) for work in works]
    called: list[Any] = []
    tickets[1].on_done(lambda: called.append(threading.current_thread()))
    for waiter in waiters:
        waiter.start()
    closer = threading.Thread(target=abandoned.loop.close)
    closer.start()
    for thread in (closer, *waiters):
        thread.join(SPARE)
        assert not thread.is_alive()
    assert len(got) == len(works)
    assert called == [closer]
    assert were_cancelled(tickets)


def test_a_loop_that_is_stopped_keeps_its_requests_until_it_runs_again(abandoned: Abandoned, body: Bodies) -> None:
    with pytest.raises(TimeoutError):
        abandoned.tickets[0].wait(1)
    body.open.set()
    queued = [ticket for ticket in abandoned.tickets if ticket.request.plan.title == "stay"]
    for ticket in abandoned.tickets:
        if ticket not in queued:
            ticket.cancel()
    for task in abandoned.running:
        task.cancel()
    assert [abandoned.loop.run_until_complete(answer(ticket)).unwrap() for ticket in queued] == [1] * len(queued)
    abandoned.loop.run_until_complete(abandoned.balancer.aclose())
    assert is_idle(abandoned.balancer)


async def answer(ticket: Ticket[Any]) -> Any:
    return await ticket


@pytest.mark.parametrize("grace", [0, 30_000])
@pytest.mark.parametrize("how", ["here", "on a thread", "on asyncio", "on trio"])
def test_closing_where_the_loop_does_not_run_answers_all(
    how: str, grace: float, abandoned: Abandoned, body: Bodies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(closing, "STOPPED_LOOP_GRACE", 0.01)
    balancer = abandoned.balancer
    closers: dict[str, Callable[[], Any]] = {
        "here": lambda: balancer.close(grace=grace),
        "on a thread": lambda: on_a_thread(lambda: balancer.close(grace=grace)),
        "on asyncio": lambda: on_a_thread(lambda: asyncio.run(balancer.aclose(grace=grace))),
        "on trio": lambda: on_a_thread(lambda: trio.run(aclosed, balancer, grace)),
    }
    closers[how]()
    assert were_cancelled(abandoned.tickets)
    assert refuses(balancer, body)
    assert balancer.stats().running == balancer.stats().queued == 0
    assert body.cleaned_up == 0
    abandoned.loop.run_until_complete(asyncio.sleep(0.001))  # should it run again, what was stopped ends
    assert body.cleaned_up == 3
    assert were_cancelled(abandoned.tickets)


async def aclosed(balancer: Balancer, grace: float) -> None:
    await balancer.aclose(grace=grace)


def on_a_thread(work: Callable[[], Any]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join(SPARE)
    assert not thread.is_alive()


def test_a_balancer_that_was_closed_in_time_does_not_look_at_the_end_of_its_loop(loops: Loops, body: Bodies) -> None:
    loop, balancer = loops(), Balancer()
    gone: list[object] = []

    async def main() -> None:
        await balancer.arun(Task(body.aanswer)(0))
        balancer._host._lost = lambda **over: gone.append(over)  # type: ignore[union-attr]
        await balancer.aclose()

    loop.run_until_complete(main())
    loop.close()
    assert gone == []


@pytest.mark.usefixtures("uvloop")
def test_many_balancers_leave_no_timer_on_a_loop(body: Bodies) -> None:
    loop = of_uvloop()

    async def main() -> None:
        for n in range(20):
            async with Balancer() as balancer:
                assert (await balancer.arun(Task(body.aanswer)(n))).unwrap() == n
                closing.append(balancer._host._watcher._timer)  # type: ignore[union-attr]

    closing: list[Any] = []
    loop.run_until_complete(main())
    gc.collect()
    assert [timer() for timer in closing] == [None] * 20
    loop.close()


# --- threads of our own -------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of policies, from Python 3.14 on
@pytest.mark.parametrize("executor", ["asyncio", "thread"])
def test_a_loop_thread_of_ours_may_be_one_of_uvloop(executor: str, uvloop: Any, body: Bodies) -> None:
    before = asyncio.get_event_loop_policy()
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    try:
        with nothing_left(), Balancer(executor, workers=2) as balancer:
            assert [o.unwrap() for o in balancer.map(Task(body.aanswer) >> Task(body.answer), range(9))] == [*range(9)]
            assert isinstance(balancer.run(Task(body.astay).timeout(5)(1)).result.failure(), TaskTimedOut)
            tickets = [balancer.post(Task(body.astay)(n)) for n in range(4)]
            balancer.close(grace=1)
            assert were_cancelled(tickets)
    finally:
        asyncio.set_event_loop_policy(before)


# --- trio as a guest ----------------------------------------------------------------------------------------------


def test_trio_as_a_guest_of_asyncio(body: Bodies) -> None:
    async def on_trio() -> None:
        async with Balancer(workers=2) as balancer:
            assert (await balancer.arun((Task(body.answer) >> Task(body.aanswer))(1))).unwrap() == 1
            assert await collected(balancer.amap(Task(body.aanswer), range(9))) == list(range(9))
            late = await balancer.post(Task(body.astay).timeout(5)(1))
            assert isinstance(late.result.failure(), TaskTimedOut)
        balancers.append(Balancer())
        assert (await balancers[0].arun(Task(body.aanswer)(2))).unwrap() == 2
        tickets.append(balancers[0].post(Task(body.astay)(3)))

    async def main() -> None:
        loop = asyncio.get_running_loop()
        over = loop.create_future()
        trio.lowlevel.start_guest_run(
            on_trio, run_sync_soon_threadsafe=loop.call_soon_threadsafe, done_callback=over.set_result
        )
        (await over).unwrap()

    balancers: list[Balancer] = []
    tickets: list[Ticket[Any]] = []
    with nothing_left():
        asyncio.run(main())
        assert were_cancelled(tickets)
        balancers[0].close()
