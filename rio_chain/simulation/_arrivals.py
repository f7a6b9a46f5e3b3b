"""Arrivals: when requests arrive. Rates are per second, as usual; instants are milliseconds, as everywhere here."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from attrs import frozen

from rio_chain._core.units import number, seconds, short_repr
from rio_chain.errors import ChainDefinitionError
from rio_chain.policies._number_format import exact_number

Instants = Callable[[random.Random], Iterator[float]]


@frozen(eq=False, repr=False)
class Arrivals:
    """When the requests of a simulation arrive. Made by ``poisson``, ``regular`` or ``trace``.

    Attributes:
        per_second: the rate of a steady stream; None for a trace.
        limit: how many requests there are; None: any number.
    """

    per_second: float | None
    limit: int | None
    _written: str
    _instants: Instants

    def instants(self, requests: int, seed: int) -> Iterator[float]:
        """The first instants, in seconds from the beginning. The same seed gives the same instants."""
        return islice(self._instants(random.Random(f"{seed}/arrivals")), requests)  # noqa: S311 - no secret

    def __repr__(self) -> str:
        return self._written


def poisson(per_second: float) -> Arrivals:
    """Requests of many independent users: they arrive at random.

    Args:
        per_second: the mean rate; more than 0.

    Raises:
        ChainDefinitionError: ``per_second`` is not a finite number above 0.

    Example:
        >>> from rio_chain.simulation import poisson
        >>> poisson(50)
        poisson(50)
    """
    rate = number(per_second, "per_second", above=0)

    def instants(draws: random.Random) -> Iterator[float]:
        at = 0.0
        while True:
            at += draws.expovariate(rate)
            yield at

    return Arrivals(rate, None, f"poisson({exact_number(rate)})", instants)


def regular(per_second: float) -> Arrivals:
    """Requests at equal intervals, as from a timer or a load generator.

    Args:
        per_second: the rate; more than 0.

    Raises:
        ChainDefinitionError: ``per_second`` is not a finite number above 0.

    Example:
        >>> from rio_chain.simulation import regular
        >>> regular(20)
        regular(20)
    """
    rate = number(per_second, "per_second", above=0)

    def instants(_: random.Random) -> Iterator[float]:
        at = 0
        while True:
            yield at / rate
            at += 1

    return Arrivals(rate, None, f"regular({exact_number(rate)})", instants)


def trace(instants: Iterable[float]) -> Arrivals:
    """Requests at recorded or invented instants: a burst, a ramp, a day of production.

    Args:
        instants: milliseconds, in order. The first one is the beginning, so only the distances matter.

    Raises:
        ChainDefinitionError: there is no instant, or one is not a finite number, or is earlier than the one before it.

    Example:
        >>> from rio_chain.simulation import trace
        >>> trace([0, 0, 0, 500])
        trace of 4 requests in 500 ms
    """
    given: Any = instants
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        raise ChainDefinitionError(
            f"`trace` takes the instants in milliseconds, as in trace([0, 20]); got {short_repr(given)}"
        )
    at = [_instant(value) for value in instants]
    if not at:
        raise ChainDefinitionError("`trace` needs at least one instant; got none")
    for index in range(1, len(at)):
        if at[index] < at[index - 1]:
            raise ChainDefinitionError(
                f"`trace` must be in order of time; number {index} is {exact_number(at[index] * 1000)} ms, after "
                f"{exact_number(at[index - 1] * 1000)} ms: write trace(sorted(...))"
            )
    begin = at[0]
    length = f"{exact_number((at[-1] - begin) * 1000)} ms"
    return Arrivals(None, len(at), f"trace of {len(at)} requests in {length}", lambda _: (x - begin for x in at))


def _instant(value: float) -> float:
    try:
        return number(value, "instant") / 1000
    except ChainDefinitionError:
        return seconds(value, "instant", zero=True)  # a timedelta


def rate_of(arrivals: Arrivals | None) -> float:
    """Requests per second of a steady stream; 0 for a trace, or without arrivals."""
    return 0.0 if arrivals is None or arrivals.per_second is None else arrivals.per_second


def checked(value: object) -> Arrivals | None:
    """Check the argument ``arrivals``."""
    if value is None or isinstance(value, Arrivals):
        return value
    got = short_repr(value)
    hint = f"; write poisson({got})" if isinstance(value, (int, float)) and math.isfinite(value) else ""
    raise ChainDefinitionError(
        f"`arrivals` must be poisson(per_second), regular(per_second) or trace([ms]){hint}; got {got}"
    )
