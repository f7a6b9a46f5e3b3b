"""What the tests of generators share: a watch on where a generator runs, and every way in which its run can end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from sqlite3 import OperationalError
from typing import Any

import sniffio
import trio
from attrs import define, field
from conformance.harness import World

from rio_chain import BridgeFailed, Task, TaskTimedOut, TicketCancelled, each, fan_out, race, reduce
from rio_chain.executors._current_strand import current_strand

LONG = 3_000
"""Milliseconds that nothing in a test lasts, unless something else is wrong."""
LIMIT = 2
"""Items at once."""
COUNT = 25
"""Items of a generator that is exhausted."""
VAR: ContextVar[object] = ContextVar("VAR", default="outside")
TASKS: dict[str, Callable[[], object]] = {
    "asyncio": asyncio.current_task,
    "trio": trio.lowlevel.current_task,
    "virtual": current_strand,
}


def no_task() -> None:
    """The task of a sync generator: it has none."""


def this_task() -> object:
    """The task that runs this async generator."""
    return TASKS[sniffio.current_async_library()]()


@define(eq=False)
class Watch:
    """Looks at one generator from its first step to its end: thread, task, context, and what was taken of it."""

    world: World
    task: Callable[[], object] = no_task  # or this_task
    count: int | None = None  # None: it yields without end
    error: Exception | None = None  # raised after `count` items
    stalls: bool = False  # it waits in its third step, and not at a `yield`
    taken: int = 0
    begun: int = 0
    ended: int = 0
    at_yield: bool = False
    place: Any = None
    problems: list[str] = field(factory=list)
    kept: list[Any] = field(factory=list)

    def start_again(self) -> None:
        """As it was made, for a run that came too late for what is tested."""
        self.taken = self.begun = self.ended = 0
        self.at_yield, self.place = False, None
        self.kept.clear()

    @contextmanager
    def around(self) -> Iterator[None]:
        """Around the body of the generator."""
        self.begun += 1
        token = VAR.set(self)
        self.look("begin")
        try:
            yield
        finally:
            self.at_yield = False
            self.look("end")
            self.ended += 1
            try:
                VAR.reset(token)
            except ValueError as error:
                self.problems.append(f"reset: {error}")

    def look(self, where: str) -> None:
        """Every step has the place of the first one."""
        place = threading.get_ident(), self.task(), VAR.get()
        if self.place is None:
            self.place = place
        elif place != self.place:
            self.problems.append(f"{where}: {place} and not {self.place}")

    def numbers(self) -> Iterator[int]:
        """What the generator yields."""
        while self.count is None or self.taken < self.count:
            self.taken += 1
            self.at_yield = True
            yield self.taken - 1
            self.at_yield = False
            self.look(f"item {self.taken}")
        if self.error is not None:
            raise self.error

    async def stall(self, x: int) -> None:
        """What an async generator does before it yields ``x``."""
        if self.stalls and x == LIMIT:
            await self.world.pause(LONG)

    def is_waiting(self) -> bool:
        """Whether the generator waits for room at its ``yield``, or stalls; or did so when it was ended."""
        return self.taken >= LIMIT + self.stalls

    async def waits(self) -> None:
        """Until the generator waits for room at its ``yield``, or stalls."""
        before = -1
        while before != self.taken:
            await self.world.until(lambda: (self.taken >= LIMIT and self.at_yield) or self.problems or self.ended)
            before = self.taken
            await self.world.pause(5)

    def check(self, times: int = 1) -> None:
        """It began and ended so often, and all of it was in one place."""
        assert self.problems == [], self.problems
        assert (self.begun, self.ended) == (times, times), f"begun {self.begun} times and ended {self.ended} times"


# --- the ends -----------------------------------------------------------------------------------------------------


@define(eq=False)
class Case:
    """What runs: ``left`` is written left of ``each``."""

    world: World
    watch: Watch
    left: Any

    def request(self, body: Callable[[Any], Awaitable[Any]]) -> Any:
        return self.chain(body)(0)

    def chain(self, body: Callable[[Any], Awaitable[Any]]) -> Any:
        return self.left >> each(Task(body).named("item"), limit=LIMIT + self.watch.stalls)

    async def stays(self, item: Any) -> None:
        """The body of an item that runs until it is cancelled."""
        await self.world.pause(LONG)

    async def after_wait(self, x: Any) -> str:
        """The body of a task beside it."""
        await self.watch.waits()
        return "quick"

    def raises(self, error: BaseException) -> Callable[[Any], Awaitable[Any]]:
        """A body that raises for the second item, when the generator waits for room."""

        async def body(item: Any) -> None:
            if number(item) == 1:
                await self.watch.waits()
                raise error
            await self.stays(item)

        return body


async def same(item: Any) -> int:
    return number(item)


def number(item: Any) -> int:
    """A row of a table or a number."""
    return int(item[0] if isinstance(item, tuple) else item)


def cause(outcome: Any) -> Exception:
    """The user's error."""
    error: Exception = outcome.result.failure()
    return error.error if isinstance(error, BridgeFailed) else error


def is_error(found: Exception, error: Exception) -> bool:
    """Whether it is that error; sqlite3 and the groups of trio, asyncio and anyio say it in their own way."""
    if isinstance(found, ExceptionGroup):
        return found.exceptions == (error,)
    return found is error or type(found) is OperationalError


async def exhausted(case: Case) -> None:
    case.watch.count = COUNT
    outcome = await case.world.run(case.request(same))
    assert outcome.unwrap() == list(range(COUNT))


async def generator_fails(case: Case) -> None:
    case.watch.count, case.watch.error = 5, LookupError("half-way")
    outcome = await case.world.run(case.request(same))
    assert is_error(cause(outcome), case.watch.error)


async def item_fails(case: Case) -> None:
    error = OSError("item")
    outcome = await case.world.run(case.request(case.raises(error)))
    assert outcome.result.failure() is error


async def limit(
    case: Case,
    run: Callable[[Any], Awaitable[Any]] | None = None,
    came_far_enough: Callable[[], bool] | None = None,
) -> None:
    """A busy machine may be slower than the limit: then it runs once more, with twice the limit."""
    ms = case.world.short
    while True:
        outcome = await (run or case.world.run)(case.chain(case.stays).timeout(ms)(0))
        assert type(outcome.result.failure()) is TaskTimedOut
        if (came_far_enough or case.watch.is_waiting)():
            return
        assert case.watch.problems == []
        case.watch.start_again()
        ms *= 2


async def cancelled(case: Case) -> None:
    child = case.world.start(lambda: case.world.run(case.request(case.stays)))
    await case.watch.waits()
    child.stop()
    await child.ended()
    assert child.cancelled
    assert child.error is None


async def not_needed(case: Case) -> None:
    chain = fan_out(case.chain(case.stays), Task(case.after_wait), need=1)
    assert (await case.world.run(chain(0))).unwrap() == ("quick",)


async def race_lost(case: Case) -> None:
    chain = race(case.chain(case.stays), Task(case.after_wait))
    assert (await case.world.run(chain(0))).unwrap() == "quick"


async def reduce_fails(case: Case) -> None:
    async def body(item: Any) -> int:
        await (case.watch.waits() if number(item) < 2 else case.stays(item))
        return number(item)

    error = ZeroDivisionError("reduce")

    def fold(total: int, value: int) -> int:
        raise error

    outcome = await case.world.run((case.chain(body) >> reduce(fold))(0))
    assert type(outcome.result.failure()) is BridgeFailed
    assert cause(outcome) is error


async def closed(case: Case) -> None:
    async with case.world.balancer() as balancer:
        ticket = balancer.post(case.request(case.stays))
        await case.watch.waits()
        await balancer.aclose(grace=5)
        assert type((await ticket).result.failure()) is TicketCancelled


async def interrupted(case: Case) -> None:
    error = KeyboardInterrupt()
    child = await case.world.start(lambda: case.world.run(case.request(case.raises(error)))).ended()
    assert child.error is error


ENDS: dict[str, Callable[[Case], Awaitable[None]]] = {
    "exhausted": exhausted,
    "generator fails": generator_fails,
    "item fails": item_fails,
    "limit": limit,
    "cancelled": cancelled,
    "not needed": not_needed,
    "race lost": race_lost,
    "reduce fails": reduce_fails,
    "closed": closed,
    "interrupted": interrupted,
}
