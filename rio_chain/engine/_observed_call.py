"""One call of a task's function in an observed run. It is reported in the context in which the function runs."""

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
"""Seconds. A timer of a loop may fire this much too early."""


class ObservedCall:
    """Called in place of a function. It reports ``attempt_started`` and ``attempt_ended``.

    The call may end on one thread while another gives it up. The one that pops the token in ``_running`` is first: a
    list's append and pop are atomic.
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
        self._seen = count()  # two places report an abandoned call; the second reports that it has returned

    # --- the call ------------------------------------------------------------------------------------------------

    def routed(self, route: int) -> tuple[Any, int]:
        """The function for the interpreter to call, and the route.

        A function in a lane is awaited like an async one.
        """
        if route == LANE:
            return self._in_lane, DIRECT
        if route in _SYNC:
            self._blocking = route != PLACE
            return self._sync, route
        return self._async, route

    def _sync(self, value: Any) -> Any:
        if not self._blocking and self._strand.rt.direct:
            got = self._called(value)
            return self._rest(got) if is_awaitable(got) else got  # its steps run in this context, too
        context = copy_context()  # this thread leaves it when the function returns; what is awaited stays in it
        got = context.run(self._called, value)
        if not is_awaitable(got):
            return got
        if self._blocking:
            try:
                self._running.pop()
            except IndexError:  # the call was given up
                context.run(self._ends, None, got)
                return got
            self._blocking = False
            self._running.append(None)
        return AwaitedInContext(context, got, self._ends)

    def _called(self, value: Any) -> Any:
        """Call the function. If it returns an awaitable, the attempt has not ended."""
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

    # --- the reports ---------------------------------------------------------------------------------------------

    def _starts(self) -> None:
        strand = self._strand
        self._limit, self._began = strand.deadline, strand.rt.now()
        self._running.append(None)
        try:
            self._tell("attempt_started")
        except KeyboardInterrupt as error:  # in one observer; the others get the end of the attempt
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
        """The strand waits no longer. If the call still runs, it is abandoned."""
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
    """An awaitable that a sync function returned, such as the coroutine of ``lambda url: client.get(url)``.

    Each step of it runs in the context in which the function was called, on whichever thread or task it is awaited.

    Args:
        context: that context.
        awaitable: the awaitable that the function returned.
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
        """Close it without awaiting it."""
        self._context.run(self._ends, GeneratorExit(), None)
        getattr(self._awaitable, "close", _nothing)()


def is_awaitable(got: Any) -> bool:
    """Whether the interpreter awaits it. A Request is run instead, and is not part of the attempt."""
    kind = kind_of(got)
    return kind is not Request and hasattr(kind, "__await__")


def _nothing() -> None:
    pass


_SYNC = (PLACE, CALL)
_OURS = ("abandoned", "timed_out", "cancelled")
"""The statuses that the run causes, whatever the function returned or raised."""
