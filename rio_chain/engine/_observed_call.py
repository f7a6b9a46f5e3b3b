"""One call of a task's function in an observed run: it is reported in the context in which the function runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from contextvars import Context, copy_context
from itertools import count
from typing import TYPE_CHECKING, Any

from returns.result import Failure

from rio_chain._core.units import milliseconds
from rio_chain.chain._request import Request
from rio_chain.engine._instructions import CALL, DIRECT, LANE, PLACE
from rio_chain.engine._runtime_protocol import Raised, kind_of
from rio_chain.results._task_record import Status

if TYPE_CHECKING:
    from rio_chain.engine._run_events import ObservedPart, ObservedStrand

MOMENT = 1e-6
"""Seconds. A timer of a loop may fire so much before its time."""


class ObservedCall:
    """It is called in place of a function, and reports ``attempt_started`` and ``attempt_ended``.

    Which thread ends a call and which one gives it up is decided by who pops the token in ``_running``: a list's append
    and pop are atomic.
    """

    __slots__ = ("_attempt", "_began", "_blocking", "_fn", "_index", "_limit", "_part", "_running", "_seen", "_strand")

    def __init__(self, strand: ObservedStrand, part: ObservedPart, index: int, attempt: int, fn: Any) -> None:
        self._strand = strand
        self._part = part
        self._index = index
        self._attempt = {"attempt": attempt, "replica": strand.replica}
        self._fn = fn
        self._began = self._limit = 0.0
        self._blocking = False
        self._running: list[None] = []
        self._seen = count()  # of the two that report an abandoned call, the second reports that it has returned

    # --- how it is called ----------------------------------------------------------------------------------------

    def routed(self, route: int) -> tuple[Any, int]:
        """What the interpreter calls, and by which route. A function in a lane is awaited like an async one."""
        if route == LANE:
            return self._in_lane, DIRECT
        if route in _SYNC:
            self._blocking = route != PLACE
            return self._sync, route
        return self._async, route

    def _sync(self, value: Any) -> Any:
        if not self._blocking and self._strand.rt.direct:
            got = self._called(value)
            return self._rest(got) if is_awaitable(got) else got  # what it awaits runs in this context, too
        context = copy_context()  # this thread leaves it when the function returns, and what that awaits goes on in it
        got = context.run(self._called, value)
        if not is_awaitable(got):
            return got
        if self._blocking:
            try:
                self._running.pop()
            except IndexError:  # it was given up
                context.run(self._ends, None, got)
                return got
            self._blocking = False
            self._running.append(None)
        return AwaitedInContext(context, got, self._ends)

    def _called(self, value: Any) -> Any:
        """Call the function. If it gives something to await, it has not ended."""
        self._starts()
        try:
            got = self._fn(value)
        except BaseException as error:
            self._ends(error)
            raise
        if not is_awaitable(got):
            self._ends(None, got)
        return got

    async def _async(self, value: Any) -> Any:
        self._starts()
        return await self._rest(self._fn(value))

    async def _in_lane(self, value: Any) -> Any:
        self._starts()
        rt, fn = self._strand.rt, self._fn
        return await self._rest(rt.lanes[fn.lane].call(rt.waiter(), fn.name, fn.fn, value))

    async def _rest(self, awaited: Awaitable[Any]) -> Any:
        try:
            got = await awaited
        except BaseException as error:
            self._ends(error)
            raise
        self._ends(None, got)
        return got

    # --- what it reports -----------------------------------------------------------------------------------------

    def _starts(self) -> None:
        strand = self._strand
        self._limit, self._began = strand.deadline, strand.rt.now()
        self._running.append(None)
        try:
            self._tell("attempt_started")
        except KeyboardInterrupt as error:  # in one observer; the others hear of its end
            self._ends(error)
            raise

    def _ends(self, error: Any, got: Any = None) -> None:
        now = self._strand.rt.now()
        try:
            self._running.pop()
            given_up = False
        except IndexError:
            given_up = True
        status = self._status(error, got, now, given_up=given_up)
        elapsed = milliseconds(now - self._began)
        if status in _OURS:
            error = None
        elif isinstance(got, Raised):
            error = got.error
        elif kind_of(got) is Failure:
            error = got.failure()
        try:
            self._tell("attempt_ended", status=status, error=error, elapsed=elapsed)
        finally:  # also after Ctrl-C in an observer
            if given_up:
                self._returned(elapsed)

    def _status(self, error: Any, got: Any, now: float, *, given_up: bool) -> Status:
        if given_up:
            return "abandoned"
        if now >= self._limit - MOMENT:
            return "timed_out"
        if error is not None and not isinstance(error, Exception):
            return "cancelled"
        return "failed" if error is not None or isinstance(got, (Raised, Failure)) else "succeeded"

    def given_up(self) -> None:
        """The strand waits for it no more. It is abandoned if it still runs."""
        if not self._blocking:
            return
        try:
            self._running.pop()
        except IndexError:
            return
        elapsed = milliseconds(self._strand.rt.now() - self._began)
        try:
            self._tell("call_abandoned", elapsed=elapsed)
        finally:
            self._returned(elapsed)

    def _returned(self, elapsed: float) -> None:
        if next(self._seen):
            self._tell("call_returned", elapsed=elapsed)

    def _tell(self, kind: Any, **more: Any) -> None:
        part = self._part
        part.watch.tell(kind, self._index, part.item, **self._attempt, **more)


class AwaitedInContext:
    """What a sync function gave to be awaited, such as the coroutine of ``lambda url: client.get(url)``.

    Each step of it runs in the context in which the function was called, whichever thread or task awaits it.

    Args:
        context: that context.
        awaitable: what the function gave.
        ends: called in the context, with the error or None, and with the answer.
    """

    __slots__ = ("_awaitable", "_context", "_ends")

    def __init__(self, context: Context, awaitable: Any, ends: Callable[[BaseException | None, Any], None]) -> None:
        self._context = context
        self._awaitable = awaitable
        self._ends = ends

    def __await__(self) -> Generator[Any, Any, Any]:
        run = self._context.run
        try:
            steps: Any = run(self._awaitable.__await__)
            asked = run(next, steps)
            while True:
                try:
                    sent = yield asked
                except GeneratorExit:
                    run(getattr(steps, "close", _nothing))
                    raise
                except BaseException as error:
                    if not hasattr(steps, "throw"):
                        raise
                    asked = run(steps.throw, error)
                else:
                    asked = run(next, steps) if sent is None else run(steps.send, sent)
        except StopIteration as over:
            got = over.value
        except BaseException as error:
            run(self._ends, error, None)
            raise
        run(self._ends, None, got)
        return got

    def close(self) -> None:
        """Nobody awaits it."""
        self._context.run(self._ends, GeneratorExit(), None)
        getattr(self._awaitable, "close", _nothing)()


def is_awaitable(got: Any) -> bool:
    """Whether the interpreter awaits it. It runs a Request, and that is no part of the attempt."""
    kind = kind_of(got)
    return kind is not Request and hasattr(kind, "__await__")


def _nothing() -> None:
    pass


_SYNC = (PLACE, CALL)
_OURS = ("abandoned", "timed_out", "cancelled")
"""How a call ends for reasons of the run, whatever came out of its function."""
