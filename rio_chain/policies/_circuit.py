"""The state of a breaker, or of one key of a breaker: closed, open or half open."""

from __future__ import annotations

import math
from typing import Literal

from attrs import frozen

from rio_chain._core.units import format_duration
from rio_chain.errors import CircuitOpen
from rio_chain.policies._breaker_counts import Counts

State = Literal["closed", "open", "half_open"]


@frozen(kw_only=True)
class BreakerStats:
    """The counts of a ``Breaker``, or of one key of it, at one instant.

    Attributes:
        state: ``"closed"``, ``"open"``, or ``"half_open"``.
        calls: how many calls count now: those of the window, or of the last n calls, or the failures in a row.
        failures: how many of them failed.
        probes: how many probes run.
        successes: how many probes have succeeded since it is half open.
        opened: how many times it has opened since it was closed last.
        refused: how many calls it has refused since it was made.
        opens_for: for how many more milliseconds it stays open. Infinity if it is held open; 0 if it is not open.
    """

    state: State
    calls: int
    failures: int
    probes: int
    successes: int
    opened: int
    refused: int
    opens_for: float


class Circuit:
    """The state. Its methods are called under the lock of the breaker, and wait for nothing.

    Attributes:
        until: when it stops being open; None: it is closed. Infinity: when it is closed by hand.
        round: increases whenever it opens or closes, so that calls which began before do not count.
        reported: the state that observers know.
        cause: what opened it, until it is closed.
    """

    __slots__ = ("cause", "counts", "opened", "probes", "refused", "reported", "round", "successes", "until")

    def __init__(self, counts: Counts) -> None:
        self.counts = counts
        self.round = 0
        self.until: float | None = None
        self.reported: State = "closed"
        self.probes = self.successes = self.opened = self.refused = 0
        self.cause: BaseException | None = None

    def state(self, now: float) -> State:
        """The state at this time."""
        if self.until is None:
            return "closed"
        return "open" if now < self.until else "half_open"

    def change(self, state: State, until: float | None, cause: BaseException | None = None) -> State | None:
        """Go to a state. Returns it if it has to be reported."""
        self.round += 1
        self.until = until
        self.probes = self.successes = 0
        self.opened = 0 if state == "closed" else self.opened + (state == "open")
        self.cause = cause if state != "half_open" or cause is not None else self.cause
        self.counts.clear()
        return self.new(state)

    def new(self, state: State) -> State | None:
        """The state, if it was not reported yet."""
        known, self.reported = self.reported, state
        return None if known == state else state

    def renew(self) -> None:
        """In a forked child: keep the state, and forget the calls in progress, which belong to the parent."""
        self.round += 1
        self.probes = 0
        self.counts.mend()

    def refusal(self, name: str, left: float, most: int) -> CircuitOpen:
        """The error of a refused call. ``left`` is for how many seconds it stays open, ``most`` how many probes run."""
        self.refused += 1
        if left == math.inf:
            why = "held open until close() is called"
        elif left > 0:
            why = f"open for another {format_duration(round(left, 4))}"
        else:
            why = f"half open, and its {'one probe is' if most == 1 else f'{most} probes are'} running"
        error = CircuitOpen(f"the breaker {name}is {why}")
        error.retry_after = left if 0 < left < math.inf else None
        error.__cause__ = self.cause
        return error
