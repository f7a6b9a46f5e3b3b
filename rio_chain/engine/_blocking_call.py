"""Sync functions that workers call, and what happens when the strand stops waiting for one of them.

Python can't stop a blocking call. The strand *gives it up*: its thread runs on, and its answer is not used. Until it
returns it holds its place under every ``Limit`` and ``Gate`` around it, and ``remaining()`` in its body is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

from returns.result import Success

from rio_chain._core.unhandled_errors import report_unhandled
from rio_chain.policies._permit import Permit

if TYPE_CHECKING:
    from rio_chain.engine._attempt import Attempt
    from rio_chain.engine._current_run import Strand
    from rio_chain.engine._late_answers import LateAnswers
    from rio_chain.engine._race import Contender

NO_KWARGS: dict[str, Any] = {}

CALLING: ContextVar[object] = ContextVar("rio_chain_calling", default=None)
"""It identifies a blocking call, so that its body can find out that the call was abandoned.

A strand sets it in its own context, and each call runs in a copy of that. On the loops it is another object for each
call. On threads calls are many times faster: there all calls between two abandoned ones share one object.
"""


CALLED = object()
"""The answer of a blocking call that has not answered yet."""


class GivenUp(NamedTuple):
    """A call that was given up: its ``CALLING``, the time when it was given up, and the attempt of its task."""

    calling: object
    at: float
    attempt: Attempt


def opened(answer: Any) -> Any:
    """The value inside a Success, or else the answer itself."""
    got: Any = answer
    return got.unwrap() if type(answer) is Success else got


async def call_blocking(strand: Strand, fn: Callable[..., Any], args: Sequence[Any]) -> Any:
    """``Runtime.call`` for that strand: the value or ``Raised``. The interpreter does the same for tasks."""
    if strand.rt.places:
        CALLING.set(object())
    held = HeldCall(fn, strand.in_race) if strand.permits or strand.in_race is not None else None
    try:
        return await strand.rt.call(held or fn, args, NO_KWARGS)
    except BaseException:
        strand.give_up(held)
        raise


async def call_reserved(strand: Strand, fn: Callable[..., Any], args: Sequence[Any]) -> Any:
    """As ``call_blocking``, after a wait for a thread for sync functions."""
    room = strand.rt.reserve()
    if room is not None:
        await room
    return await call_blocking(strand, fn, args)


class HeldCall:
    """Called in place of a function while the strand holds places under limits, or runs a call of a race."""

    __slots__ = ("_answer", "_fn", "_gone", "_kept", "_race", "_running")

    def __init__(self, fn: Callable[..., Any], race: LateAnswers | None = None) -> None:
        self._fn: Callable[..., Any] | None = fn
        self._race = race  # gets the answer of a call that was given up
        self._answer: list[Any] = []
        self._gone = False
        self._kept: list[SharedPermit] = []
        # Holds a token while the function runs. A list's append and pop are atomic: only one of the worker that ends
        # the call and the strand that gives it up gets the token.
        self._running: list[None] = []

    def __call__(self, *args: Any) -> Any:
        """Make the call, on a worker. A call that was given up before is not made."""
        fn, self._fn = self._fn, None  # a copy of the context may live on, and must not keep the function alive
        self._running.append(None)
        try:  # read after the append: `give_up` sets it first and pops second
            got = None if self._gone or fn is None else fn(*args)
            if self._race is not None:
                self._answer.append(got)
            return got
        finally:
            try:
                self._running.pop()
            except IndexError:
                self._leave()
                if self._race is not None:
                    for answer in self._taken():
                        self._race.answered_late(answer)

    def give_up(self, permits: Iterable[SharedPermit]) -> None:
        """Keep the permits until the function returns, if it is running."""
        self._kept = [permit for permit in permits if permit.open]
        for permit in self._kept:
            permit.join()
        self._gone = True
        try:
            self._running.pop()
        except IndexError:  # it has not begun, and never will, or it has ended
            self._leave()
            if self._race is not None:
                for answer in self._taken():
                    self._race.answered_just_now(answer)

    def _taken(self) -> list[Any]:
        answers, self._answer = self._answer, []
        return [opened(answer) for answer in answers]

    def _leave(self) -> None:
        kept, self._kept = self._kept, []
        for permit in kept:
            permit.leave()


class Correctable(Protocol):
    """A permit that gets what was asked about its answer."""

    def correct(self, costs: Iterator[Any]) -> None:
        """As ``LimitPermit.correct``."""


class SharedPermit(Permit):
    """A permit that abandoned calls share with the frame of their policy. The last one of them gives it back.

    Args:
        permit: the permit of the policy. It gets the end of the frame, but not before the last call has returned.
        contender: given if the strand of the frame runs in a race. Then the permit is given back when that is decided.

    Attributes:
        open: whether it has not been given back.
    """

    __slots__ = ("_calls", "_contender", "_end", "_permit", "open")

    def __init__(self, permit: Permit, contender: Contender | None) -> None:
        self._permit: Permit | None = permit
        self._contender = contender
        self._calls: list[None] = []  # one token for each call given up; no lock, as append and pop are atomic
        self._end: Callable[[], None] | None = None
        self.open = True

    def succeeded(self, value: Any, /) -> None:
        """As ``Permit.succeeded``."""
        if self._permit is not None:
            self._over(partial(self._permit.succeeded, value))

    def failed(self, error: Any, /) -> None:
        """As ``Permit.failed``."""
        if self._permit is not None:
            self._over(partial(self._permit.failed, error))

    def dropped(self) -> None:
        """As ``Permit.dropped``."""
        if self._permit is not None:
            self._over(self._permit.dropped)

    def correct(self, costs: Iterator[float | None]) -> None:
        """As ``LimitPermit.correct``."""
        if self._permit is not None:
            cast("Correctable", self._permit).correct(costs)

    def _over(self, end: Callable[[], None]) -> None:
        self._permit, self._end = None, end
        if self._contender is not None:
            self._contender.owe(self.leave)
            return
        last = self._less()
        if last is not None:
            last()

    def join(self) -> None:
        """A call inside was given up and may still run."""
        self._calls.append(None)

    def leave(self) -> None:
        """That call has ended, or the frame is over. An error of a user's permit is reported, as no caller is left."""
        last = self._less()
        if last is not None:
            try:
                last()
            except BaseException as error:  # noqa: BLE001 - this thread has no run that could get it
                report_unhandled(error)

    def _less(self) -> Callable[[], None] | None:
        """Remove one holder. Returns the function that gives the permit back if this was the last one."""
        try:
            self._calls.pop()
        except IndexError:
            end, self._end, self.open = self._end, None, False
            return end
        return None
