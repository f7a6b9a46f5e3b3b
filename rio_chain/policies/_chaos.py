"""Chaos: injects faults on purpose, to test the policies around a call."""

from __future__ import annotations

import math
import random
import threading
from typing import Any

from rio_chain._core.forks import after_fork, renewed
from rio_chain._core.units import Duration, escape_nonprintable, flag, format_duration, number, seconds, short_repr
from rio_chain.errors import ChainDefinitionError
from rio_chain.policies._number_format import exact_number
from rio_chain.policies._permit import Call, InjectedFault
from rio_chain.policies._plain_data import ms, qualified
from rio_chain.policies._plain_data import number as plain_number
from rio_chain.policies._policy import Facts, Label, Policy, PolicyBounds
from rio_chain.policies._shared_state import Shared

Error = Exception | type[Exception]


NO_FAULT = InjectedFault()


_FACTS = Facts(injects_faults=True)


class Chaos(Shared, Policy):
    """Delays a share of the calls, or makes them fail without a call. All chains that use the object share it.

    Which calls get a fault depends only on the seed and the number of the call. So the same run has the same faults.

    Args:
        rate: the share of the calls that get a fault, 0 to 1.
        latency: how long those calls are delayed, in milliseconds or as a ``timedelta``.
        error: the error that those calls fail with, after the latency: an exception, or its class, which is called
            without arguments.
        seed: any whole number. Default 0.
        on: whether there are faults from the start. Default True.

    Attributes:
        latency: in seconds; 0 if there is none.

    Raises:
        ChainDefinitionError: an argument is out of its range, or there is neither ``latency`` nor ``error``.

    Example:
        >>> chaos = Chaos(0.1, latency=200)
        >>> chaos.off()
        >>> chaos
        <Chaos off: 10 % of calls 200 ms late, hit 0 of 0>
    """

    builder_call = "chaos"

    def __init__(
        self,
        rate: float,
        *,
        latency: Duration | None = None,
        error: Error | None = None,
        seed: int = 0,
        on: bool = True,
    ) -> None:
        self._rate = number(rate, "rate", least=0)
        if self._rate > 1:
            raise ChainDefinitionError(f"`rate` must be a share of the calls, 0 to 1; got {short_repr(rate)}")
        if latency is None and error is None:
            raise ChainDefinitionError("Chaos needs `latency` or `error`, such as Chaos(0.1, latency=200)")
        self.latency = 0.0 if latency is None else seconds(latency, "latency", zero=True)
        self._error = _error(error)
        self._seed = _whole(seed)
        self._on = flag(on, "on")
        self._lock = threading.RLock()
        self._calls = self._hits = 0
        after_fork(self._renew)

    @property
    def on(self) -> bool:
        """Whether it is on. You may set it."""
        return self._on

    @on.setter
    def on(self, value: bool) -> None:
        self._on = flag(value, "on")

    def off(self) -> None:
        """Turn it off. Calls are not numbered until it is on again."""
        self._on = False

    def enter(self, _call: Call, /) -> InjectedFault:
        """As ``next``."""
        return self.next()

    def next(self) -> InjectedFault:
        """The fault for the next call."""
        if not self._on:
            return NO_FAULT
        with self._lock:
            call = self._calls
            self._calls += 1
        if random.Random(f"{self._seed}:{call}").random() >= self._rate:  # noqa: S311 - no secret
            return NO_FAULT
        with self._lock:
            self._hits += 1
        error = self._error
        if isinstance(error, Exception):  # it may be raised many times, and each would add frames to its traceback
            BaseException.with_traceback(error, None)
            return InjectedFault(self.latency, error)
        return InjectedFault(self.latency, None if error is None else error())

    def _renew(self) -> None:
        """In a forked child: continue with the numbers of the calls."""
        self._lock = renewed(self._lock)

    # --- its description ----------------------------------------------------------------------------------------

    def label(self) -> Label:
        """As ``Policy.label``."""
        return Label("chaos", "chaos")

    def to_dict(self) -> dict[str, Any]:
        """As ``Policy.to_dict``."""
        error = self._error
        kind = None if error is None else qualified(error if isinstance(error, type) else type(error))
        rate, seed = plain_number(self._rate), plain_number(self._seed)
        return {"kind": "chaos", "rate": rate, "latency_ms": ms(self.latency), "error": kind, "seed": seed}

    def bounds(self, inner: float, _limit: float = math.inf, /) -> PolicyBounds:
        """As ``Policy.bounds``."""
        return PolicyBounds(inner + self.latency)

    def facts(self) -> Facts:
        """As ``Policy.facts``."""
        return _FACTS

    def fresh(self) -> Chaos:
        """A new object with the same settings, on or off as this one is now."""
        new = super().fresh()
        new.on = self.on
        return new

    def __repr__(self) -> str:
        return f"<Chaos {'on' if self._on else 'off'}: {self._rule()}, hit {self._hits} of {self._calls}>"

    def __str__(self) -> str:
        return f"chaos, {self._rule()}"

    def _rule(self) -> str:
        late = f" {format_duration(self.latency)} late" if self.latency else ""
        kind = self._error if isinstance(self._error, type) else type(self._error)
        fails = "" if self._error is None else f" fail with {escape_nonprintable(kind.__name__)}"
        return f"{exact_number(self._rate * 100)} % of calls" + " and".join(text for text in (late, fails) if text)


def _error(value: object) -> Error | None:
    given = value
    if value is None or isinstance(value, Exception) or (isinstance(value, type) and issubclass(value, Exception)):
        return value
    raise ChainDefinitionError(f"`error` must be an Exception, its class, or None; got {short_repr(given)}")


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ChainDefinitionError(f"`seed` must be a whole number; got {short_repr(value)}")
    return value
