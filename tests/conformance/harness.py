"""The harness of the conformance suite: one test body, six ways to run it.

Three modes are *native*: the body runs on the loop that runs the requests, in virtual time. Three are *driven*: the
body runs on an asyncio loop of its own, the requests run on another thread, and the answers come back by ticket, in
real time. A body that calls sync functions off the loop is marked ``real_time``: trio's own clock for tests would run
away from them. What can't be so in virtual time is left out there by ``world.not_virtual``, with the reason.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import copy_context
from functools import partial
from math import inf
from typing import Any

import pytest
import sniffio
import trio
import trio.testing
from attrs import define, field

from rio_chain import Balancer, Outcome, Request
from rio_chain.executors import runtime_here, waiter_here
from rio_chain.executors._asyncio import AutojumpLoop
from rio_chain.executors._current_strand import current_strand
from rio_chain.executors._strand import ThreadStrand
from rio_chain.executors._strand_slot import Expired, StrandCancelled
from rio_chain.executors.virtual._executor import end_spawned
from rio_chain.testing import VirtualExecutor, run_virtual, sleep

NATIVE = ("asyncio", "trio", "virtual")
MODES = (*NATIVE, "asyncio-driven", "trio-driven", "thread")
SLACK = 5_000
"""Milliseconds that a busy machine may add. Only the time limit of the suite tells a lost wake-up from a slow one."""


async def pause(ms: float) -> None:
    """Sleep on whichever loop this runs."""
    await SLEEPS.get(sniffio.current_async_library(), asyncio.sleep)(ms / 1000)  # a test may have lied to sniffio


async def virtual_sleep(seconds: float) -> None:
    await sleep(seconds * 1000)


SLEEPS: dict[str, Callable[[float], Awaitable[object]]] = {
    "asyncio": asyncio.sleep,
    "trio": trio.sleep,
    "virtual": virtual_sleep,
}


async def trio_waiter() -> tuple[Callable[[], object], Callable[[], Awaitable[object]]]:
    event = trio.Event()
    return partial(trio.lowlevel.current_trio_token().run_sync_soon, event.set), event.wait


async def asyncio_waiter() -> tuple[Callable[[], object], Callable[[], Awaitable[object]]]:
    event = asyncio.Event()
    return partial(asyncio.get_running_loop().call_soon_threadsafe, event.set), event.wait


async def virtual_waiter() -> tuple[Callable[[], object], Callable[[], Awaitable[object]]]:
    waiter = waiter_here()
    return waiter.wake, waiter.wait


WAITERS = {"asyncio": asyncio_waiter, "trio": trio_waiter, "virtual": virtual_waiter}
"""How to wait without a clock and with nothing of rio_chain in it; in virtual time there is nothing else."""


class Gate:
    """Opened once, from any thread; waited for on any loop."""

    def __init__(self) -> None:
        self.is_open = False
        self._wakers: list[Callable[[], object]] = []
        self._lock = threading.Lock()

    def open(self) -> None:
        with self._lock:
            self.is_open = True
            wakers, self._wakers = self._wakers, []
        for wake in wakers:
            wake()

    async def passed(self) -> None:
        waker, wait = await WAITERS[sniffio.current_async_library()]()
        with self._lock:
            if self.is_open:
                return
            self._wakers.append(waker)
        await wait()


@define(eq=False)
class Child:
    """A piece of work beside the test body, which can be cancelled as users cancel."""

    stop: Callable[[], object]
    stop_at: Callable[[float], object]
    over: Gate = field(factory=Gate)
    cancelled: bool = False
    value: Any = None
    error: BaseException | None = None
    cancelling: int = 0  # what the task said of itself when the work had ended

    async def ended(self) -> Child:
        """Wait for its end, and look at it."""
        await self.over.passed()
        return self

    async def result(self) -> Any:
        await self.ended()
        if self.error is not None:
            raise self.error
        assert not self.cancelled
        return self.value


@define(eq=False)
class Scope:
    """What ``world.limit`` gives."""

    expired: bool = False


class World:
    """What a test body sees of the mode it runs in. All times are milliseconds."""

    def __init__(self, mode: str, *, real_time: bool) -> None:
        self.mode = mode
        self.executor = mode.removesuffix("-driven")
        self.native = mode in NATIVE
        self.virtual = self.native and not real_time
        self._nursery: trio.Nursery | None = None
        self.made = VirtualExecutor()  # for the mode of that name
        self._balancer: Balancer | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.pause, self.shielded, self.in_group = pause, shielded, in_group
        self.barrier = threading.Barrier
        self.gate = Gate
        self.ticks = 10 if self.virtual else 0  # steps of the loop that the test body and the requests share
        self.short: float = 20 if self.virtual else 50  # a limit that quick things don't pass, even on a busy machine

    def not_virtual(self, why: str) -> None:
        """Leave the mode "virtual" out."""
        if self.mode == "virtual":
            pytest.skip(f"not in virtual time: {why}")

    # --- running the body -----------------------------------------------------------------------------------

    def drive(self, body: Callable[[], Awaitable[None]]) -> None:
        """Run the test body to its end."""
        if self.mode == "trio":
            trio.run(self._on_trio, body, clock=trio.testing.MockClock(autojump_threshold=0) if self.virtual else None)
        elif self.mode == "virtual":
            run_virtual(partial(self._with_balancer, body), self.made)
            end_spawned(self.made.loop)  # it would go on with the next run, and there is none
        else:
            with asyncio.Runner(loop_factory=AutojumpLoop if self.virtual else None) as runner:
                runner.run(self._with_balancer(body))

    async def _on_trio(self, body: Callable[[], Awaitable[None]]) -> None:
        failed: BaseException | None = None
        async with trio.open_nursery() as self._nursery:
            try:
                await self._with_balancer(body)
            except (Exception, pytest.skip.Exception) as exc:  # noqa: BLE001 - raised below, without a group around it
                failed = exc
            self._nursery.cancel_scope.cancel()
        if failed is not None:
            raise failed

    async def _with_balancer(self, body: Callable[[], Awaitable[None]]) -> None:
        try:
            await body()
        finally:
            if self._balancer is not None:
                await self._balancer.aclose(grace=0)

    # --- requests -------------------------------------------------------------------------------------------

    async def run(self, request: Request[Any], **terms: Any) -> Outcome[Any]:
        """Run a request as users of this mode do: awaited in place, or through a balancer."""
        if self.native and not terms:
            return await request
        if self._balancer is None:
            self._balancer = self._bound()
        return await self._balancer.arun(request, **terms)

    async def run_until_begun(
        self, request: Callable[[], Request[Any]], begun: Callable[[], object], **terms: Callable[[], Any]
    ) -> Outcome[Any]:
        """Run a request whose limit is ``short``. A busy machine may not begin within that: then with twice as much."""
        while True:
            outcome = await self.run(request(), **{name: term() for name, term in terms.items()})
            if begun():
                return outcome
            self.short *= 2

    def _bound(self, **options: Any) -> Balancer:
        balancer = Balancer(self.executor, **options)
        if not self.native:
            balancer._binding.get(here=False)  # on threads of its own, and not on the loop of the test body
        return balancer

    @asynccontextmanager
    async def balancer(self, **options: Any) -> AsyncIterator[Balancer]:
        """A balancer for this mode; what is left in it at the end is cancelled."""
        balancer = self._bound(**options)
        if self.native:
            await balancer.__aenter__()
        try:
            yield balancer
        finally:
            await balancer.aclose(grace=0)

    @asynccontextmanager
    async def plain_balancer(self) -> AsyncIterator[Balancer]:
        """The same as users write it: how the block is left decides how it closes."""
        async with self._bound() as balancer:
            yield balancer

    # --- time -----------------------------------------------------------------------------------------------

    def now(self) -> float:
        """Of the test body."""
        return self.clock() * 1000

    def clock(self) -> float:
        """Of the test body, in the seconds of its loop."""
        if self.mode == "virtual":
            return self.made.now / 1000
        return trio.current_time() if self.mode == "trio" else asyncio.get_running_loop().time()

    def about(self, actual: float, expected: float) -> bool:
        """Whether it took so long: exactly, in virtual time; not less, in real time."""
        if self.virtual:
            return abs(actual - expected) < 1e-3
        return expected - 1 <= actual <= expected + SLACK

    @staticmethod
    def block(ms: float) -> None:
        """What a blocking body does."""
        assert ms <= 50, "no real sleep over 50 ms"
        time.sleep(ms / 1000)

    async def until(self, true: Callable[[], object]) -> None:
        """Wait until something is so that tells nobody."""
        for _ in range(SLACK // 2):
            if true():
                return
            await pause(1)
            if self.virtual and self.mode != "virtual":
                # Threads beside it live in real time, and this loop would be over before they run.
                time.sleep(0.0005)  # noqa: ASYNC251
        raise AssertionError("it never came true")

    # --- work beside the body, and cancellation as users know it -----------------------------------------------

    def start(self, work: Callable[[], Awaitable[Any]]) -> Child:
        """Start something beside the test body."""
        if self._nursery is not None:
            scope = trio.CancelScope()
            child = Child(scope.cancel, partial(setattr, scope, "deadline"))
            self._nursery.start_soon(self._trio_child, child, scope, work)
            return child
        if self.mode == "virtual":
            return self._start_strand(work)
        loop = asyncio.get_running_loop()
        task = loop.create_task(self._asyncio_child(work, made := []))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        child = Child(task.cancel, lambda at: loop.call_at(at, task.cancel))
        made.append(child)

        def over(task: asyncio.Task[None]) -> None:
            child.cancelled |= task.cancelled()  # also one that was cancelled before its first step
            child.over.open()

        task.add_done_callback(over)
        return child

    def _start_strand(self, work: Callable[[], Awaitable[Any]]) -> Child:
        loop = self.made.loop

        def ended(value: Any, error: BaseException | None) -> None:
            child.value, child.cancelled = value, isinstance(error, StrandCancelled)
            child.error = None if child.cancelled else error
            child.over.open()

        strand = ThreadStrand(loop.kernel, work, copy_context(), ended)
        child = Child(strand.cancel, lambda at: loop.push(alarm := Stopper(strand, at), at) or alarm)
        loop.soon(strand.drive)
        return child

    async def _trio_child(self, child: Child, scope: trio.CancelScope, work: Callable[[], Awaitable[Any]]) -> None:
        try:
            with scope:
                child.value = await work()
        except trio.Cancelled:
            raise
        except BaseException as exc:  # noqa: BLE001 - whoever looks at the child sees it
            child.error = exc
        finally:
            child.cancelled = scope.cancelled_caught
            child.over.open()

    async def _asyncio_child(self, work: Callable[[], Awaitable[Any]], made: list[Child]) -> None:
        child, task = made[0], asyncio.current_task()
        assert task is not None
        try:
            child.value = await work()
        except asyncio.CancelledError:
            child.cancelled = True
        except BaseException as exc:  # noqa: BLE001 - a SystemExit would stop the loop
            child.error = exc
        child.cancelling = task.cancelling()

    async def together(self, *works: Callable[[], Awaitable[Any]]) -> list[Any]:
        """Run them at the same time; their results in order."""
        children = [self.start(work) for work in works]
        return [await child.result() for child in children]

    @asynccontextmanager
    async def limit(self, ms: float) -> AsyncIterator[Scope]:
        """``asyncio.timeout`` or ``trio.move_on_after`` around a block; ``expired`` says whether it was over."""
        scope_of_limit = Scope()
        if self.mode == "trio":
            with trio.move_on_after(ms / 1000) as scope:
                yield scope_of_limit
            scope_of_limit.expired = scope.cancelled_caught
            return
        if self.mode == "virtual":
            stopper = Stopper(current_strand(), self.clock() + ms / 1000)
            self.made.loop.push(stopper, stopper.deadline)
            try:
                yield scope_of_limit
            except StrandCancelled:
                if not stopper.fired:
                    raise
                scope_of_limit.expired = True
            finally:
                stopper.deadline = inf
            return
        try:
            async with asyncio.timeout(ms / 1000) as timeout:
                yield scope_of_limit
        except TimeoutError:
            scope_of_limit.expired = timeout.expired()
            if not scope_of_limit.expired:
                raise

    @asynccontextmanager
    async def shield(self) -> AsyncIterator[None]:
        """A block of the test body that is not cancelled; on asyncio a cancel is over when it was delivered."""
        if self.mode != "trio":
            yield
            return
        with trio.CancelScope(shield=True):
            yield

    @staticmethod
    def cancelling() -> int:
        """How many cancellations the task of the test body counts; only asyncio has such a count."""
        if sniffio.current_async_library() != "asyncio":
            return 0
        task = asyncio.current_task()
        return 0 if task is None else task.cancelling()


async def shielded(ms: float) -> None:
    """A body's clean-up that takes its time and can't be hurried."""
    if sniffio.current_async_library() == "trio":
        with trio.CancelScope(shield=True):
            await trio.sleep(ms / 1000)
        return
    clock = runtime_here().now
    end = clock() + ms / 1000
    while clock() < end:
        try:
            await pause((end - clock()) * 1000)
        except CANCELLED:
            continue


CANCELLED = (asyncio.CancelledError, StrandCancelled, Expired)


@define(eq=False)
class Stopper:
    """Cancels a strand at an instant, as a user's own limit does."""

    strand: ThreadStrand
    deadline: float
    entry_at: float = inf
    fired: bool = False

    def fire(self, now: float) -> None:
        self.fired = True
        self.strand.cancel()


async def in_group(*works: Callable[[], Awaitable[Any]]) -> None:
    """What a body does that opens a nursery or a task group."""
    if sniffio.current_async_library() == "trio":
        async with trio.open_nursery() as nursery:
            for work in works:
                nursery.start_soon(work)
        return
    if sniffio.current_async_library() == "virtual":
        await runtime_here().race(works, lambda _: False)
        return
    async with asyncio.TaskGroup() as group:
        for work in works:
            group.create_task(work())
