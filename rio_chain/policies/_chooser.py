"""Choice: what a chooser is told, and what it decides. The protocol between choosers and the engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from attrs import field, frozen


@frozen
class Arrival:
    """One answer that may win: the replica it came from, its value, what the chooser's callback made of it, when."""

    index: int
    value: Any
    mark: Any
    at: float


@frozen
class Ask:
    """A user's function to be called with each value: ``role`` says what for."""

    role: str
    fn: Callable[[Any], Any] = field(hash=False)


@frozen
class Decision:
    """What is to be done.

    Attributes:
        winner: the replica that has won; None: not yet.
        until: wait for others, but decide again at this instant; None: no such instant.
        missing: the least number of further answers that it takes to decide. With fewer on their way, start more.
        hopeless: nobody can win any more, whatever comes.
    """

    winner: int | None = None
    until: float | None = None
    missing: int = 0
    hopeless: bool = False


class Chooser(Protocol):
    """How ``.replica(pick=...)`` chooses."""

    @property
    def ask(self) -> Ask | None:
        """The user's function to be called with each value as it comes; what it gives is the mark."""

    @property
    def least(self) -> int:
        """How many answers it takes at least. It can't work with fewer replicas."""
        ...

    def good(self, mark: Any, /) -> bool:
        """Whether an answer with this mark may win; else it has failed with ``NotAccepted``, as an error would.

        Raises:
            Exception: what the user's own ``__bool__`` raises. It is told as an error of ``pick``.
        """
        ...

    def decide(self, arrived: Sequence[Arrival], *, left: int, now: float) -> Decision:
        """What to do with the good answers, in the order they came.

        Args:
            arrived: the good answers so far.
            left: how many replicas run or may still be started.
            now: the instant, on the clock of the arrivals.

        Raises:
            Exception: whatever comparing the user's values raises. It is told as an error of ``pick``.
        """
        ...
