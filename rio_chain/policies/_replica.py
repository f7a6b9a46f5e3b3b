"""Replica: several calls for one answer, and when each of them starts."""

from __future__ import annotations

from attrs import field, frozen

from rio_chain._core.units import count, format_duration
from rio_chain.errors import ChainDefinitionError
from rio_chain.policies._chooser import Chooser
from rio_chain.policies._delays import DelayFunction, DelayList
from rio_chain.policies._first import First
from rio_chain.policies._match_errors import Match, names
from rio_chain.policies._quantile import Quantile


def _count(value: int) -> int:
    return count(value, "n", least=1)


@frozen
class Replica:
    """Up to ``count`` calls of what it wraps, with the first; ``pick`` chooses among their answers.

    Attributes:
        count: how many calls.
        after: the next call starts when this many seconds have passed since the latest start, or when one has failed;
            With 0, all start at once. With None, the next call starts only when one has failed. A ``Quantile`` is read
            each time. A list or a function has a delay for each call.
        pick: the chooser.
        on: the errors after which the others go on. Any other error ends the hedge.

    Raises:
        ChainDefinitionError: the chooser needs more answers than there are calls.
    """

    count: int = field(converter=_count)
    after: float | Quantile | DelayList | DelayFunction | None = 0.0
    pick: Chooser = field(factory=First)
    on: Match = field(default=Exception, hash=False)

    def __attrs_post_init__(self) -> None:
        if self.pick.least > self.count:
            raise ChainDefinitionError(
                f"`pick` must not need more than {self.count} answers, as there are no more replicas; got {self.pick!r}"
            )

    def delay(self, number: int = 1, /) -> float | None:
        """Seconds from the latest start until call ``number`` is due. None if no call starts because another is late.

        A function, and a ``Quantile`` with a key, depend on the call: the engine asks them for its delays.
        """
        after = self.after
        if isinstance(after, Quantile):
            return after.value()
        if isinstance(after, DelayList):
            return after.delay(number)
        return None if isinstance(after, DelayFunction) else after

    def learn(self, seconds: float, /) -> None:
        """The answer that has won took so long."""
        if isinstance(self.after, Quantile):
            self.after.add(seconds)

    def starts(self, *, started: int, running: int, missing: int, failed: bool = False) -> int:
        """How many calls to start now, without waiting for the delay.

        Args:
            started: how many were started before; 0 at the beginning.
            running: how many of them have no answer yet.
            missing: the chooser's ``least`` at the beginning, then its latest ``Decision.missing``.
            failed: a call has just failed, or its answer was not accepted.
        """
        wanted = self.count if self.after == 0 else max(int(failed), missing - running)
        return max(0, min(wanted, self.count - started))

    def __str__(self) -> str:
        after = self.after
        if isinstance(after, (Quantile, DelayList, DelayFunction)):
            when = f"after {after}"
        elif after is None:
            when = "one at a time"
        else:
            when = f"after {format_duration(after)}" if after else "all at once"
        on = "" if self.on is Exception else f", on {names(self.on)}"
        return f"{self.count} replicas, {when}, {self.pick}{on}"
