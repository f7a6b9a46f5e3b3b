"""One call of a task's function in an observed run. It is reported in the context in which the function runs."""

from __future__ import annotations

from collections.abc import Awaitable
from contextvars import Context, copy_context
from itertools import count
from types import GeneratorType
from typing import TYPE_CHECKING, Any

from returns.result import Failure, Success

from rio_chain._core.units import milliseconds
from rio_chain.chain._request import Request
from rio_chain.engine._awaited_in_context import AwaitedInContext
from rio_chain.engine._blocking_call import opened
from rio_chain.engine._instructions import CALL, DIRECT, LANE, PLACE
from rio_chain.engine._interruptions import is_interruption
from rio_chain.engine._runtime_protocol import Raised, kind_of
from rio_chain.engine._thread_bound_values import Pinned
from rio_chain.results._events import Kind
from rio_chain.results._task_record import Status

if TYPE_CHECKING:
    from rio_chain.engine._run_events import ObservedPart, ObservedStrand

MOMENT = 1e-6
"""Seconds. A timer of a loop may fire this much too early."""


class ObservedCall:
    """Called in place of a function. It reports ``attempt_started`` and ``attempt_ended``.

    The call may end on one thread while another gives it up. The one that pops the token in ``_running`` is first: a
    list's append and pop are atomic.

    Attributes:
        made: the iterator that the function has returned, and the context in which its body has to run.
    """

    __slots__ = (
        "_attempt", "_began", "_blocking", "_fn", "_index", "_limit", "_part", "_replica", "_running", "_seen",
        "_strand", "made",
    )  # fmt: skip

    def __init__(self, strand: ObservedStrand, part: ObservedPart, index: int, attempt: int, fn: Any) -> None:
        self._strand = strand
        self._part = part
        self._index = index
        self._attempt = attempt
        self._replica = strand.replica
        self._fn = fn
        self._began = self._limit = 0.0
        self._blocking = False
        self._running: list[None] = []
        self._seen: count[int] | None = None  # two places report an abandoned call; the second reports its return
        self.made: tuple[Any, Context] | None = None

    # --- the call ------------------------------------------------------------------------------------------------

    def routed(self, route: int) -> tuple[Any, int]:
        """The function for the interpreter to call, and the route.

        A function in a lane is awaited like an async one.
        """
        if route == LANE:
            return self._in_lane, DIRECT
        if route in _SYNC:
            self._blocking = route != PLACE
            if self._blocking:
                self._seen = count()
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
        self._keep_body(got)
        if not is_awaitable(got):
            self._ends(None, got)
        return got

    async def _async(self, value: Any) -> Any:
        self._starts()
        try:
            got = await self._fn(value)
        except BaseException as error:
            self._ends(error)
            raise
        self._keep_body(got)
        self._ends(None, got)
        return got

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

    def _keep_body(self, got: Any) -> None:
        """Note the context in which the body of an iterator has to run: a copy of this one, before the attempt ends."""
        kind = kind_of(got)
        if kind is Pinned:
            got.body = copy_context()
        elif kind is GeneratorType or kind is Success or hasattr(kind, "__aiter__"):
            inner = opened(got)
            if isinstance(inner, GeneratorType) or hasattr(kind_of(inner), "__aiter__"):
                self.made = inner, copy_context()

    # --- the reports ---------------------------------------------------------------------------------------------

    def _starts(self) -> None:
        strand, part = self._strand, self._part
        self._limit, self._began = strand.deadline, strand.rt.now()
        self._running.append(None)
        beside = strand.beside_task(self._index) if self._replica else None
        try:
            part.watch.tell("attempt_started", self._index, part.item, self._attempt, self._replica, beside=beside)
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
        raised = got.error if error is None and kind_of(got) is Raised else error
        refused = raised is None and kind_of(got) is Failure
        status = self._status(raised, now, refused=refused, given_up=given_up)
        if status != "failed":  # else it ended for a reason of the run, whatever came out of its function
            raised = None
        elif refused:
            raised = got.failure()
        elapsed = milliseconds(now - self._began)
        try:
            self._tell("attempt_ended", status, raised, elapsed)
        finally:  # also after Ctrl-C in an observer
            if given_up:
                self._returned(elapsed)

    def _status(self, raised: BaseException | None, now: float, *, refused: bool, given_up: bool) -> Status:
        if given_up:
            return "abandoned"
        ours = raised is None or isinstance(raised, Exception)
        if not ours and not is_interruption(self._strand.rt, raised):
            return "failed"  # a SystemExit; a timeout that expires at the same moment does not hide it
        if now >= self._limit - MOMENT:
            return "timed_out"
        if not ours:
            return "cancelled"
        return "failed" if raised is not None or refused else "succeeded"

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
            self._tell("call_abandoned", None, None, elapsed)
        finally:
            self._returned(elapsed)

    def _returned(self, elapsed: float) -> None:
        if self._seen is not None and next(self._seen):
            self._tell("call_returned", None, None, elapsed)

    def _tell(self, kind: Kind, status: Status | None, error: Any, elapsed: float) -> None:
        part = self._part
        part.watch.tell(kind, self._index, part.item, self._attempt, self._replica, status, error, None, None, elapsed)


def is_awaitable(got: Any) -> bool:
    """Whether the interpreter awaits it. A Request is run instead, and is not part of the attempt."""
    kind = kind_of(got)
    return kind is not Request and hasattr(kind, "__await__")


_SYNC = (PLACE, CALL)
