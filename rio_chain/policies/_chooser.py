"""Chooser: the protocol between the engine and what chooses among answers: its input, and its decision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from attrs import field, frozen


@frozen
class Arrival:
    """An answer that may win: the index of its replica, its value, the mark that the callback gave it, and when."""

    index: int
    value: Any
    mark: Any
    at: float


@frozen
class Ask:
    """A user's function that is called with each value. ``role`` names its purpose, for errors."""

    role: str
    fn: Callable[[Any], Any] = field(hash=False)


@frozen
class Decision:
    """What to do next.

    Attributes:
        winner: the replica that has won. None if no replica has won yet.
        until: wait for other answers, but decide again at this instant. None if there is no such instant.
        missing: how many more answers are needed at least. If fewer are on their way, start more replicas.
        hopeless: no replica can win any more.
    """

    winner: int | None = None
    until: float | None = None
    missing: int = 0
    hopeless: bool = False


class Chooser(Protocol):
    """How ``.replica(pick=...)`` chooses."""

    @property
    def ask(self) -> Ask | None:
        """The user's function to call with each value as it comes. Its result is the mark."""

    @property
    def least(self) -> int:
        """The least number of answers that it needs. It can't work with fewer replicas."""
        ...

    def good(self, mark: Any, /) -> bool:
        """Whether an answer with this mark may win. If not, it has failed with ``NotAccepted``, as with an error.

        Raises:
            Exception: whatever the user's ``__bool__`` raises. It is reported as an error of ``pick``.
        """
        ...

    def decide(self, arrived: Sequence[Arrival], *, left: int, now: float) -> Decision:
        """Decide about the good answers, which are given in the order in which they came.

        Args:
            arrived: the good answers so far.
            left: how many replicas run or may still be started.
            now: the instant, on the clock of the arrivals.

        Raises:
            Exception: whatever a comparison of the user's values raises. It is reported as an error of ``pick``.
        """
        ...
