"""Breaker: stops calls to a backend that keeps failing. After some time, one call at a time tests the backend again."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Literal

from rio_chain._core.forks import after_fork, renewed
from rio_chain._core.policy_changes import breaker_changed
from rio_chain._core.units import Duration, count, format_duration, seconds
from rio_chain.errors import NEVER_RETRIED, CircuitOpen
from rio_chain.policies._checks import label, share
from rio_chain.policies._match_errors import Classes, classes, matches, names
from rio_chain.policies._number_format import exact_number
from rio_chain.policies._permit import Call, Clock, Permit
from rio_chain.policies._plain_data import Data, errors, ms, number
from rio_chain.policies._policy import Facts, Policy
from rio_chain.policies._shared_clock import Timeline, clock_here
from rio_chain.policies._shared_state import Shared
from rio_chain.policies._wrong_loop_errors import of_another_loop

_SLICES = 10
State = Literal["closed", "open", "half_open"]


_FACTS = Facts(counts_failures=True)


class Breaker(Shared, Policy):
    """A circuit breaker, shared by all chains that use the object.

    A closed breaker lets every call through and counts failures. An open breaker refuses calls with ``CircuitOpen`` for
    ``open_for``. Then it is half open: it lets one call at a time through as a probe. If the probe succeeds, the
    breaker closes; if the probe fails, the breaker opens again. If the probe is cancelled, the next call is the probe.
    Calls that began before the state changed do not count any more.

    Only errors that match ``on`` are failures; any other answer of the backend is a success. Errors that are no answer
    of a backend (a refused or skipped call, a failed bridge) and cancelled calls do not count.

    Args:
        failures: this many failures in a row open it. Default 5. Not used with ``ratio``.
        ratio: more than 0, up to 1: open when this share of the calls in the last ``window`` has failed.
        window: milliseconds or a ``timedelta``; default 10,000. The window moves in ten steps, so old calls are
            forgotten a tenth of the window at a time.
        min_calls: with fewer calls than this in the window, the ratio is not used. Default 10.
        open_for: milliseconds or a ``timedelta``; default 30,000.
        on: an exception class or a tuple of them. Default: every error, also the value of a returned ``Failure``.
        name: shown in its repr and its errors.

    Raises:
        ChainDefinitionError: an argument is out of its range.

    Example:
        >>> Breaker(3, name="payments")
        <Breaker payments closed: 0 of 3 failures in a row>
    """

    _renamed: ClassVar[Mapping[str, str]] = {"least": "min_calls"}
    builder_call = "breaker"

    def __init__(
        self,
        failures: int = 5,
        *,
        ratio: float | None = None,
        window: Duration = 10_000,
        min_calls: int = 10,
        open_for: Duration = 30_000,
        on: Classes = Exception,
        name: str | None = None,
    ) -> None:
        failures, min_calls = count(failures, "failures", least=1), count(min_calls, "min_calls", least=1)
        length = seconds(window, "window")
        self._counts: _InARow | _Rolling
        self._counts = _InARow(failures) if ratio is None else _Rolling(share(ratio, "ratio"), length, min_calls)
        self._open_for = seconds(open_for, "open_for")
        self._on = classes(on)
        self._name = label(name)
        self._lock = threading.RLock()
        self._time = Timeline()
        self._round = 0  # increases whenever it opens or closes
        self._until: float | None = None  # when it stops being open; None: it is closed
        self._reported: State = "closed"  # what observers know
        self._probe: _Pass | None = None
        after_fork(self._renew)

    # --- called by the engine -----------------------------------------------------------------------------------

    def enter(self, call: Call) -> _Pass | CircuitOpen:
        """Let a call through, or refuse it. ``retry_after`` of the error is the seconds left, or None if unknown."""
        clock = call.clock
        with self._lock:
            if self._until is None:
                return _Pass(self, clock, self._round)
            left = self._until - self._time.now(clock)
            probe = _Pass(self, clock, self._round) if left <= 0 and self._probe is None else None
            if probe is None:
                return self._refusal(left)
            self._probe, state = probe, self._new("half_open")
        self._report(state)
        return probe

    def ended(self, call: _Pass, *, success: bool | None) -> None:
        """A call that was let through has ended. If ``success`` is None, the call does not count."""
        with self._lock:
            probe = self._probe is call
            if probe:
                self._probe = None
            stale, call.round = call.round != self._round, -1  # so that it counts only once
            if stale or success is None:
                return
            self._time.follow(call.clock)
            if probe and success:
                state = self._change(None)
            elif probe or self._counts.add(partial(self._time.now, call.clock), failed=not success):
                state = self._change(self._time.now(call.clock) + self._open_for)
            else:
                return
        self._report(state)

    def counts(self, error: object) -> bool | None:
        """Returns True if a call with this error counts as a success, and False if it counts as a failure.

        Returns None if it does not count.
        """
        if isinstance(error, NEVER_RETRIED) or of_another_loop(error):
            return None
        return not matches(self._on, error)

    # --- called by users ----------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """``"closed"``, ``"open"``, or ``"half_open"``. It is half open as soon as a probe would be let through."""
        with self._lock:
            if self._until is None:
                return "closed"
            return "open" if self._time.now() < self._until else "half_open"

    def open(self, *, hold: bool = False) -> None:
        """Open it now, for ``open_for``. With ``hold`` it stays open until ``close()``."""
        clock = clock_here()  # of the code that opens it: the clock of the last call may be another, or have ended
        with self._lock:
            state = self._change(math.inf if hold else self._time.now(clock) + self._open_for)
        self._report(state)

    def close(self) -> None:
        """Close it now, and forget the counts."""
        with self._lock:
            state = self._change(None)
        self._report(state)

    # --- its description ----------------------------------------------------------------------------------------

    def to_dict(self) -> Data:
        """As ``Policy.to_dict``."""
        opens = {"open_for_ms": ms(self._open_for), "on": errors(self._on), "name": self._name or None}
        return {"kind": "breaker", **self._counts.to_dict(), **opens}

    def facts(self) -> Facts:
        """As ``Policy.facts``."""
        return _FACTS

    # --- inside -------------------------------------------------------------------------------------------------

    def _change(self, until: float | None) -> State | None:
        self._round += 1
        self._until = until
        self._probe = None
        self._counts.clear()
        return self._new("closed" if until is None else "open")

    def _new(self, state: State) -> State | None:
        """The state, if it was not reported yet."""
        known, self._reported = self._reported, state
        return None if known == state else state

    def _report(self, state: State | None) -> None:
        """Report a new state to observers. The lock must be free."""
        if state is not None:
            breaker_changed(self._name or self.builder_call, state)

    def _renew(self) -> None:
        """In a forked child: keep the state, and forget the calls in progress, which belong to the parent."""
        self._lock = renewed(self._lock)
        self._round += 1
        self._probe = None
        self._counts.mend()

    def _refusal(self, left: float) -> CircuitOpen:
        if left == math.inf:
            why = "held open until close() is called"
        elif left > 0:
            why = f"open for another {format_duration(left)}"
        else:
            why = "half open, and its one probe is running"
        error = CircuitOpen(f"the breaker{self._name and ' ' + self._name} is {why}")
        error.retry_after = left if 0 < left < math.inf else None
        return error

    def __repr__(self) -> str:
        state = self.state
        with self._lock:
            until, probe, counts = self._until, self._probe, str(self._counts)
            left = 0.0 if until is None else until - self._time.now()
        if state == "open":
            counts = "until close() is called" if left == math.inf else f"for another {format_duration(left)}"
        elif state == "half_open":
            counts = "a probe is running" if probe is not None else "the next call is a probe"
        return f"<Breaker {self._name and self._name + ' '}{state}: {counts}>"

    def __str__(self) -> str:
        on = "" if self._on is Exception else f", on {names(self._on)}"
        return (
            f"breaker{self._name and ' ' + self._name}, {self._counts.rule} open "
            f"it for {format_duration(self._open_for)}{on}"
        )


class _Pass(Permit):
    """A call that a breaker let through."""

    __slots__ = ("breaker", "clock", "round")

    def __init__(self, breaker: Breaker, clock: Clock, number: int) -> None:
        self.breaker = breaker
        self.clock = clock
        self.round = number

    def succeeded(self, value: Any, /) -> None:  # noqa: ARG002 - of the protocol
        """As ``Permit.succeeded``."""
        self.breaker.ended(self, success=True)

    def failed(self, error: Any, /) -> None:
        """As ``Permit.failed``."""
        self.breaker.ended(self, success=self.breaker.counts(error))

    def dropped(self) -> None:
        """As ``Permit.dropped``."""
        self.breaker.ended(self, success=None)


class _InARow:
    """Counts failures with no success between them."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.failures = 0
        self.rule = f"{most} failures in a row"

    def add(self, now: Clock, *, failed: bool) -> bool:  # noqa: ARG002 - as _Rolling
        """Count a call. Returns whether the breaker must open."""
        self.failures = self.failures + 1 if failed else 0
        return self.failures >= self.most

    def to_dict(self) -> Data:
        """The rule as plain data."""
        return {"failures": number(self.most)}

    def clear(self) -> None:
        """Forget the counts."""
        self.failures = 0

    def mend(self) -> None:
        """Repair the count after a fork: a failure may have been counted without opening the breaker."""
        self.failures = min(self.failures, self.most - 1)

    def __str__(self) -> str:
        return f"{self.failures} of {self.most} failures in a row"


class _Rolling:
    """Counts calls and failures in slices of the last ``window``."""

    def __init__(self, ratio: float, window: float, min_calls: int) -> None:
        self.ratio = ratio
        self.window = window
        self.width = window / _SLICES
        self.min_calls = min_calls
        self.slices: deque[list[int]] = deque()  # number, calls, failures
        self.calls = self.failures = 0
        self.rule = f"{exact_number(ratio * 100)} % failures of {min_calls} or more calls in {format_duration(window)}"

    def add(self, now: Clock, *, failed: bool) -> bool:
        """Count a call. Returns whether the breaker must open."""
        number = math.floor(now() / self.width)
        while self.slices and self.slices[0][0] <= number - _SLICES:
            _, calls, failures = self.slices.popleft()
            self.calls -= calls
            self.failures -= failures
        if not self.slices or self.slices[-1][0] != number:
            self.slices.append([number, 0, 0])
        self.slices[-1][1] += 1
        self.slices[-1][2] += failed
        self.calls += 1
        self.failures += failed
        return failed and self.calls >= self.min_calls and self.failures >= self.ratio * self.calls

    def to_dict(self) -> Data:
        """The rule as plain data."""
        return {"ratio": self.ratio, "window_ms": ms(self.window), "min_calls": number(self.min_calls)}

    def clear(self) -> None:
        """Forget the counts."""
        self.slices.clear()
        self.calls = self.failures = 0

    def mend(self) -> None:
        """Repair the totals after a fork.

        If the parent was counting a call at the fork, a slice may have that call while the totals do not. So the totals
        are computed from the slices again.
        """
        self.calls = sum(calls for _, calls, _ in self.slices)
        self.failures = sum(failures for _, _, failures in self.slices)

    def __str__(self) -> str:
        return f"{self.failures} of {self.calls} calls failed; {self.rule} open it"
