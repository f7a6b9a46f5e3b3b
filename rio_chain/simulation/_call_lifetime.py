"""A simulated blocking call that was abandoned: it keeps its permits until it would have ended."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

from rio_chain.engine._blocking_call import SharedPermit
from rio_chain.executors._current_strand import current_strand


class Lasting:
    """A timer that fires when the call ends.

    Args:
        until: when, in seconds of the virtual clock.
    """

    def __init__(self, until: float) -> None:
        self.deadline = until
        self.entry_at = inf
        self._kept: list[SharedPermit] = []

    def keep(self, permits: Iterable[SharedPermit]) -> None:
        """The call is abandoned now, and holds these permits."""
        self._kept = [permit for permit in permits if permit.open]
        for permit in self._kept:
            permit.join()
        if self._kept:
            current_strand().kernel.timers.push(self, self.deadline)

    def fire(self, now: float) -> None:  # noqa: ARG002 - it never moves its deadline
        """The call has ended: give the permits back."""
        for permit in self._kept:
            permit.leave()
