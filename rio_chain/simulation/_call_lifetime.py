"""What a simulated blocking call keeps after it was given up: its places under limits, until it would have ended."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

from rio_chain.engine._blocking_call import SharedPermit
from rio_chain.executors._current_strand import current_strand


class Lasting:
    """An alarm that goes off at the instant at which the call ends.

    Args:
        until: that instant, in seconds of the virtual clock.
    """

    def __init__(self, until: float) -> None:
        self.deadline = until
        self.entry_at = inf
        self._kept: list[SharedPermit] = []

    def keep(self, permits: Iterable[SharedPermit]) -> None:
        """The call is given up now; these are the places that it has."""
        self._kept = [permit for permit in permits if permit.open]
        for permit in self._kept:
            permit.join()
        if self._kept:
            current_strand().kernel.timers.push(self, self.deadline)

    def fire(self, now: float) -> None:  # noqa: ARG002 - it never moves its deadline
        """It has ended."""
        for permit in self._kept:
            permit.leave()
