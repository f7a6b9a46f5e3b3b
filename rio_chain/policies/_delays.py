"""Delays of a hedge that differ from call to call: a list, or a function of the number of the call."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

from attrs import field, frozen

from rio_chain._core.source_text import fn_source
from rio_chain._core.units import Duration, format_duration, seconds, short_repr
from rio_chain.errors import ChainDefinitionError
from rio_chain.policies._checks import callback, title
from rio_chain.policies._number_format import exact_ms
from rio_chain.policies._plain_data import Data, function, ms
from rio_chain.policies._quantile import Quantile

_Several = list[Duration | None] | tuple[Duration | None, ...]  # not Sequence, as a str is one
After = Duration | Quantile | _Several | Callable[[int], Duration | None] | None
"""When the next call of a hedge begins."""

_RULE = "a finite number of milliseconds (or a timedelta), 0 or more, a Quantile(0.95), or None for one call at a time"


class HedgeDelays(Protocol):
    """The delays of one hedge that runs."""

    def delay(self, number: int = 1, /) -> float | None:
        """Seconds from the latest start until call ``number`` is due. None if it does not begin because one is late."""
        ...

    def learn(self, seconds: float, /) -> None:
        """The answer that has won took so long."""
        ...


@frozen
class DelayList:
    """A delay for each call after the first, in seconds. The last one counts for all further calls.

    Infinity: that call begins only when one has failed.
    """

    given: tuple[float, ...]

    def delay(self, number: int = 1, /) -> float | None:
        """As ``HedgeDelays.delay``."""
        value = self.given[min(number, len(self.given)) - 1]
        return None if value == math.inf else value

    def learn(self, seconds: float, /) -> None:
        """As ``HedgeDelays.learn``. It learns nothing."""

    def source(self) -> str:
        """As source code."""
        return "[" + ", ".join("None" if value == math.inf else exact_ms(value) for value in self.given) + "]"

    def to_dict(self) -> Data:
        """As plain data. None: when one has failed."""
        return {"kind": "delays", "ms": [ms(value) for value in self.given]}

    def __str__(self) -> str:
        return ", then ".join("a failure" if value == math.inf else format_duration(value) for value in self.given)


@frozen
class DelayFunction:
    """A function of the number of the call: 1 for the first call beside the first, and so on."""

    fn: Callable[[int], Duration | None] = field(hash=False)

    def delays(self, count: int) -> DelayList:
        """The delays of up to ``count`` calls.

        Raises:
            TypeError: the function returned something else than a delay.
        """
        return DelayList(tuple([self._delay(number) for number in range(1, max(2, count))]))

    def _delay(self, number: int) -> float:
        got = self.fn(number)
        try:
            return math.inf if got is None else seconds(got, "after", zero=True)
        except ChainDefinitionError:
            rule = "must return a finite number of milliseconds (or a timedelta), 0 or more, or None"
            raise TypeError(f"{title(self.fn)} {rule}; got {short_repr(got)}") from None

    def source(self) -> str:
        """As source code."""
        return fn_source(self.fn)

    def to_dict(self) -> Data:
        """As plain data."""
        return {"kind": "function", "function": function(self.fn)}

    def __str__(self) -> str:
        return f"as long as {fn_source(self.fn)} says"


@frozen
class KeyedDelays:
    """The delays by a ``Quantile`` that has a key, for the key of one call."""

    quantile: Quantile
    key: Any
    clock: Callable[[], float]

    def delay(self, _number: int = 1, /) -> float | None:
        """As ``HedgeDelays.delay``."""
        return self.quantile.value(key=self.key, clock=self.clock)

    def learn(self, seconds: float, /) -> None:
        """As ``HedgeDelays.learn``."""
        self.quantile.add(seconds, key=self.key, clock=self.clock)


Delay = float | Quantile | DelayList | DelayFunction
"""``after`` in a chain: seconds, infinity for None."""


def after_of(value: object, calls: int | None = None) -> Delay:
    """Read ``after=``. If the number of calls is given, a list must not be longer than that."""
    if value is None:
        return math.inf
    if isinstance(value, Quantile):
        return value
    if isinstance(value, (list, tuple)):
        return DelayList(_listed(cast("Sequence[object]", value), calls))
    if callable(value) and not isinstance(value, type):
        return DelayFunction(callback(value, "after", "a function of the number of the call, or " + _RULE))
    try:
        return seconds(value, "after", zero=True)
    except ChainDefinitionError:
        raise ChainDefinitionError(f"`after` must be {_RULE}; got {short_repr(value)}") from None


def _listed(given: Sequence[object], calls: int | None) -> tuple[float, ...]:
    if not given:
        raise ChainDefinitionError("a list of `after` needs at least one delay; got an empty one")
    if calls is not None and len(given) > max(1, calls - 1):
        raise ChainDefinitionError(
            f"`after` must have at most {max(1, calls - 1)} delays, one for each call after the first; got {len(given)}"
        )
    return tuple(math.inf if one is None else seconds(one, "after", zero=True) for one in given)
