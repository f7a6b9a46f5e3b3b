"""Breaker: stops calls to a backend that keeps failing. After some time, a few calls test the backend again."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Generator, Hashable, Mapping
from functools import partial
from typing import Any, ClassVar

from rio_chain._core.forks import after_fork, renewed
from rio_chain._core.policy_changes import breaker_changed
from rio_chain._core.units import Duration, count, format_duration, milliseconds, seconds
from rio_chain.errors import ChainDefinitionError, CircuitOpen
from rio_chain.policies._breaker_settings import BreakerSettings, OpenFor
from rio_chain.policies._circuit import BreakerStats, Circuit, State
from rio_chain.policies._keyed_states import KeyedStates
from rio_chain.policies._keys import Key, hashed, key_of
from rio_chain.policies._match_errors import Match
from rio_chain.policies._permit import AskingPermit, Call, Clock, Permit, UserQuestion
from rio_chain.policies._plain_data import Data
from rio_chain.policies._plain_data import key as plain_key
from rio_chain.policies._policy import Facts, Policy
from rio_chain.policies._shared_clock import Timeline, clock_here
from rio_chain.policies._shared_state import Shared

_FACTS = Facts(counts_failures=True)
_NO_KEY: Any = object()


class Breaker(Shared, BreakerSettings, Policy):
    """A circuit breaker, shared by all chains that use the object.

    A closed breaker lets every call through and counts failures. An open breaker refuses calls with ``CircuitOpen`` for
    ``open_for``. Then it is half open: it lets ``successes`` calls at once through as probes. If so many probes
    succeed, the breaker closes; if one fails, the breaker opens again. If a probe is cancelled, the next call is a
    probe. Calls that began before the state changed do not count any more.

    Only errors that match ``on`` and not ``exclude`` are failures; any other answer of the backend is a success. Errors
    that are no answer of a backend (a refused or skipped call, a failed bridge) and cancelled calls do not count.

    What opened the breaker is the ``__cause__`` of each ``CircuitOpen``, so the breaker keeps that error until it
    closes.

    Args:
        failures: this many failures in a row open it. Default 5. Not used with ``ratio``.
        ratio: more than 0, up to 1: open when this share of the calls in the last ``window`` has failed.
        window: milliseconds or a ``timedelta``; default 10,000. The window moves in ten steps, so old calls are
            forgotten a tenth of the window at a time.
        min_calls: with fewer calls than this in the window, the ratio is not used. Default 10, or ``last`` if that is
            less.
        within: milliseconds or a ``timedelta``: ``failures`` in this time open it, with or without successes between
            them. Not together with ``ratio`` or ``last``.
        last: the calls that count are the last n: ``failures`` of them, or the ``ratio``, open it.
        open_for: milliseconds or a ``timedelta``; default 30,000. Or a function that returns one of these, for example
            ``lambda error, times: 1_000 * 2**times``. It gets what opened the breaker (None by hand), and how often it
            has opened since it was closed last, 1 at first. If the function fails, it is open for 30,000.
        successes: this many probes close it, and at most so many run at once. Default 1.
        on: an exception class, a tuple of them, or a function of the error. Default: every error, also the value of a
            returned ``Failure``.
        exclude: errors that are not failures although they match ``on``: a class, a tuple of them, or a function.
        key: a function of the input. Calls with different keys, such as hosts, have a state each. Default: all calls
            have one.
        keys: with ``key``, at most this many states are kept; the least recently used is forgotten, but if possible
            not that of an open one. Default 1,000.
        idle: with ``key``, a state that was not used for this long is forgotten when new keys come. Milliseconds or a
            ``timedelta``; default 600,000.
        name: shown in its repr and its errors.

    Raises:
        ChainDefinitionError: an argument is out of its range, or two arguments contradict each other.

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
        min_calls: int | None = None,
        within: Duration | None = None,
        last: int | None = None,
        open_for: OpenFor = 30_000,
        successes: int = 1,
        on: Match = Exception,
        exclude: Match = (),
        key: Callable[..., Hashable] | None = None,
        keys: int = 1_000,
        idle: Duration = 600_000,
        name: str | None = None,
    ) -> None:
        self._set(
            failures,
            ratio=ratio,
            window=window,
            min_calls=min_calls,
            within=within,
            last=last,
            open_for=open_for,
            successes=successes,
            on=on,
            exclude=exclude,
            name=name,
        )
        self.key: Key | None = None if key is None else key_of(key)
        self._keys, self._idle = count(keys, "keys", least=1), seconds(idle, "idle")
        self._lock = threading.RLock()
        self._time = Timeline()
        self._alone = Circuit(self._new_counts())
        self._circuits = KeyedStates(
            lambda: Circuit(self._new_counts()), self._keys, self._idle, lambda circuit: circuit.until is not None
        )
        after_fork(self._renew)

    # --- called by the engine -----------------------------------------------------------------------------------

    def enter(self, call: Call) -> Permit | CircuitOpen:
        """Let a call through, or refuse it. ``retry_after`` of the error is the seconds left, or None if unknown."""
        clock = call.clock
        with self._lock:
            circuit = self._alone if self.key is None else self._circuits.get(hashed(call.key), self._time.now(clock))
            if circuit.until is None:
                return (_AskingPass if self._asks else _Pass)(self, circuit, clock, circuit.round)
            left = circuit.until - self._time.now(clock)
            if left > 0 or circuit.probes >= self._successes:
                return circuit.refusal(self._name and self._name + " ", left, self._successes)
            circuit.probes += 1
            probe = (_AskingPass if self._asks else _Pass)(self, circuit, clock, circuit.round)
            probe.probe, state = True, circuit.new("half_open")
        self._report(state)
        return probe

    def ended(self, call: _Pass, *, success: bool | None, error: Any = None) -> int:
        """A call that was let through has ended. If ``success`` is None, the call does not count.

        Returns how many times it has opened since it was closed last, if this call has opened it; else 0.
        """
        circuit = call.circuit
        with self._lock:
            stale, call.round = call.round != circuit.round, -1  # so that it counts only once
            if stale:
                return 0
            circuit.probes -= call.probe
            if success is None:
                return 0
            cause = circuit.cause  # its last reference is dropped after the lock, as that may run user code
            self._time.follow(call.clock)
            now = partial(self._time.now, call.clock)
            if call.probe and success:
                circuit.successes += 1
                if circuit.successes < self._successes:
                    return 0
                state = circuit.change("closed", None)
            elif call.probe or circuit.counts.add(now, failed=not success):
                state = circuit.change("open", now() + self._fixed, error if isinstance(error, BaseException) else None)
            else:
                return 0
            opened = circuit.opened
        del cause
        self._report(state)
        return opened

    def open_until(self, call: _Pass, number: int, opens: float) -> None:
        """The ``open_for`` function has answered for the change after ``number`` other changes."""
        with self._lock:
            if call.circuit.round == number:
                call.circuit.until = self._time.now(call.clock) + opens

    @property
    def open_for_function(self) -> Callable[[Any, int], float] | None:
        """The ``open_for`` function, with a check of its answer; it returns seconds. None if it is a fixed time."""
        return self._grows

    # --- called by users ----------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """``"closed"``, ``"open"``, or ``"half_open"``. It is half open as soon as a probe would be let through.

        Raises:
            ChainDefinitionError: it has a ``key``; use ``state_of``.
        """
        return self._find(_NO_KEY, "state_of(key)").state(self._time.now())

    def state_of(self, key: Hashable) -> State:
        """The state of a key. It is ``"closed"`` for a key that is unknown or forgotten.

        Raises:
            ChainDefinitionError: it has no ``key``; use ``state``.
        """
        return self.stats(key=key).state

    def stats(self, *, key: Hashable = _NO_KEY) -> BreakerStats:
        """Its counts at this instant; with a ``key``, those of that key.

        Example:
            >>> stats = Breaker(3).stats()
            >>> stats.state, stats.failures, stats.refused
            ('closed', 0, 0)
        """
        with self._lock:
            circuit, now = self._find(key, "stats(key=...)"), self._time.now()
            calls, failures = circuit.counts.total(self._time.now)
            state, until = circuit.state(now), circuit.until
            return BreakerStats(
                state=state,
                calls=calls,
                failures=failures,
                probes=circuit.probes,
                successes=circuit.successes,
                opened=circuit.opened,
                refused=circuit.refused,
                opens_for=milliseconds(until - now) if state == "open" and until is not None else 0.0,
            )

    def open(self, *, hold: bool = False, key: Hashable = _NO_KEY) -> None:
        """Open it now, for ``open_for``. With ``hold`` it stays open until ``close()``."""
        with self._lock:
            times = self._find(key, "open(key=...)").opened + 1
        # a function is called before anything changes, as it may fail
        lasts = math.inf if hold else self._fixed if self._grows is None else self._grows(None, times)
        self._by_hand(key, "open", lasts)

    def half_open(self, *, key: Hashable = _NO_KEY) -> None:
        """Make it half open now, so that the next calls are probes."""
        self._by_hand(key, "half_open", 0.0)

    def close(self, *, key: Hashable = _NO_KEY) -> None:
        """Close it now, and forget the counts."""
        self._by_hand(key, "closed", None)

    def _by_hand(self, key: Hashable, state: State, lasts: float | None) -> None:
        clock = clock_here()  # of the code that calls it: the clock of the last call may be another, or have ended
        with self._lock:
            now = None if lasts is None and self.key is None else self._time.now(clock)
            circuit = self._find(key, f"{'close' if state == 'closed' else state}(key=...)", now)
            cause = circuit.cause  # dropped after the lock
            new = circuit.change(state, None if lasts is None else self._time.now(clock) + lasts)
        del cause
        self._report(new)

    def _find(self, key: Hashable, right: str, now: float | None = None) -> Circuit:
        """The circuit of a key. If it is unknown, it is a new one, which is kept if ``now`` is given."""
        if (key is _NO_KEY) is (self.key is not None):
            if self.key is not None:
                raise ChainDefinitionError(f"this breaker has a `key`, so each key has a state of its own: use {right}")
            raise ChainDefinitionError(f"this breaker has no `key`, so it has one state for all calls; got {key!r}")
        if self.key is None:
            return self._alone
        known = hashed(key)
        with self._lock:
            if now is not None:
                return self._circuits.get(known, now)
            return self._circuits.find(known) or Circuit(self._new_counts())

    # --- its description ----------------------------------------------------------------------------------------

    def to_dict(self) -> Data:
        """As ``Policy.to_dict``."""
        return self._data() if self.key is None else {**self._data(), "key": plain_key(self.key)}

    def facts(self) -> Facts:
        """As ``Policy.facts``."""
        return _FACTS

    # --- inside -------------------------------------------------------------------------------------------------

    def _report(self, state: State | None) -> None:
        """Report a new state to observers. The lock must be free."""
        if state is not None:
            breaker_changed(self._name or self.builder_call, state)

    def _renew(self) -> None:
        """In a forked child: keep the states, and forget the calls in progress, which belong to the parent."""
        self._lock = renewed(self._lock)
        for circuit in (self._alone, *self._circuits):
            circuit.renew()

    def __repr__(self) -> str:
        name = self._name and self._name + " "
        with self._lock:
            if self.key is not None:
                now = self._time.now()
                is_open = sum(circuit.state(now) != "closed" for circuit in self._circuits)
                return f"<Breaker {name}for each {self.key!r}: {len(self._circuits)} keys, {is_open} not closed>"
            circuit, now = self._alone, self._time.now()
            state, until, probes = circuit.state(now), circuit.until, circuit.probes
            counts = circuit.counts.text(self._time.now)
        if until is not None and state == "open":
            left = until if until == math.inf else round(until - now, 4)
            counts = "until close() is called" if left == math.inf else f"for another {format_duration(left)}"
        elif state == "half_open":
            running = "a probe is running" if probes == 1 else f"{probes} probes are running"
            counts = running if probes else "the next call is a probe"
        return f"<Breaker {name}{state}: {counts}>"

    def __str__(self) -> str:
        return self._words() + ("" if self.key is None else f", for each {self.key!r}")


class _Pass(Permit):
    """A call that a breaker let through."""

    __slots__ = ("breaker", "circuit", "clock", "probe", "round")

    def __init__(self, breaker: Breaker, circuit: Circuit, clock: Clock, number: int) -> None:
        self.breaker = breaker
        self.circuit = circuit
        self.clock = clock
        self.round = number
        self.probe = False

    def succeeded(self, value: Any, /) -> None:  # noqa: ARG002 - of the protocol
        """As ``Permit.succeeded``."""
        self.breaker.ended(self, success=True)

    def failed(self, error: Any, /) -> None:
        """As ``Permit.failed``. Only an ``_AskingPass`` has a question."""
        try:
            next(self.breaker.counts(error))
        except StopIteration as answer:
            self.breaker.ended(self, success=answer.value, error=error)

    def dropped(self) -> None:
        """As ``Permit.dropped``."""
        self.breaker.ended(self, success=None)


class _AskingPass(_Pass, AskingPermit):
    """The same, for a breaker that has functions of the user."""

    __slots__ = ()

    def questions(self, error: Any, /) -> Generator[UserQuestion, Any, None]:
        """As ``AskingPermit.questions``."""
        number = self.round
        try:
            success = yield from self.breaker.counts(error)
            times = self.breaker.ended(self, success=success, error=error)
            open_for = self.breaker.open_for_function
            if times and open_for is not None:
                opens = yield UserQuestion("open_for", open_for, (error, times), truth=False)
                self.breaker.open_until(self, number + 1, opens)
        finally:
            self.dropped()

    def failed(self, error: Any, /) -> None:
        """As ``AskingPermit.failed``."""
        AskingPermit.failed(self, error)
