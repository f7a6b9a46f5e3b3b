"""What a policy with state gives to a call that wants in: a Hold (it is in), a Turn (it waits), or an exception.

The protocol between such a policy and the engine. A policy decides under a lock of its own and never waits; whoever
was given a Turn waits as its executor does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Literal

from attrs import frozen

Clock = Callable[[], float]
"""Seconds on the clock of the executor that asks."""


class Hold:
    """A call that was let in. Exactly one of the three is called, from any thread; any later call does nothing.

    This one does nothing at all, which is right for a policy that only counts how many begin.
    """

    __slots__ = ()

    def succeeded(self, value: Any, /) -> None:
        """What it wraps has answered."""

    def failed(self, error: Any, /) -> None:
        """What it wraps has failed with ``error``: an exception, or the error value of a returned Failure."""

    def dropped(self) -> None:
        """The call was cancelled, or a limit around it was over: it says nothing about the backend."""


@frozen
class Answer:
    """What somebody else's call came to: ``value`` is the error where it ``failed``."""

    value: Any
    failed: bool = False


class Turn(ABC):
    """One who waits.

    Set ``wake``, then look at ``state``. While that is "waiting": wait until woken, or for ``after`` seconds where
    that is a number, then ``ask`` and look again. A wake promises nothing: it may only have changed ``after``.

    Attributes:
        wake: called outside of any lock, from any thread, when it is worth looking again.
        state: "waiting"; "granted": go on with ``hold``; "answered": there is an ``answer`` and no call is to be
            made; "gone": it quit.
        hold: there once it was granted.
        answer: there once it was answered.
        after: seconds after which asking is worthwhile; None: nothing but a wake is.
    """

    __slots__ = ("after", "answer", "hold", "state", "wake")

    def __init__(self) -> None:
        self.wake: Callable[[], None] | None = None
        self.state: Literal["waiting", "granted", "answered", "gone"] = "waiting"
        self.hold: Hold | None = None
        self.answer: Answer | None = None
        self.after: float | None = None

    def ask(self, clock: Clock) -> None:  # noqa: B027 - most have nothing to ask: they are told
        """Look whether the waiting is over. Does nothing when it is."""

    @abstractmethod
    def quit(self) -> None:
        """Leave the line. What was granted meanwhile, and not used, is passed on."""

    def tell(self) -> None:
        """Wake the one who waits. Never under a lock."""
        if self.wake is not None:
            self.wake()
