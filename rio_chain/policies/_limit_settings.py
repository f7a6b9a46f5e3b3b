"""The settings of a Limit: their checks and their text."""

from __future__ import annotations

import math
from typing import Literal

from attrs import frozen

from rio_chain._core.units import Duration, count, format_duration, number, seconds, short_repr
from rio_chain.errors import ChainDefinitionError
from rio_chain.policies._checks import checked_aging
from rio_chain.policies._number_format import exact_number
from rio_chain.policies._token_bucket import Rate

WindowKind = Literal["bucket", "sliding"]


@frozen(kw_only=True)
class LimitSettings:
    """The settings as the user gave them. Times are milliseconds or a ``timedelta``."""

    concurrency: int | None = None
    rate: float | None = None
    per: Duration = 1000
    burst: int | None = None
    wait: Duration | None = None
    queue: int | None = None
    aging: Duration | None = None


@frozen(kw_only=True)
class LimitRules:
    """The checked settings of a Limit. Times are seconds.

    Attributes:
        most: the greatest cost that a call may have.
        text: the rules in words.
    """

    places: int | None
    rate: Rate | None
    patience: float | None
    queue: int | None
    aging: float | None
    most: float
    text: str


def checked(given: LimitSettings, window: object, *, costs: bool) -> LimitRules:
    """Check the settings.

    Raises:
        ChainDefinitionError: an argument is out of its range, or does not fit the others.
    """
    concurrency, rate, burst = given.concurrency, given.rate, given.burst
    if concurrency is None and rate is None:
        raise ChainDefinitionError("a Limit needs `concurrency` or `rate`, such as Limit(10) or Limit(rate=100)")
    if burst is not None and rate is None:
        raise ChainDefinitionError(f"`burst` belongs to a `rate`, such as Limit(rate=100, burst=1); got {burst!r}")
    if window not in ("bucket", "sliding"):  # a tuple, as the argument may be unhashable
        raise ChainDefinitionError(f'`window` must be "bucket" or "sliding"; got {short_repr(window)}')
    rules = [] if concurrency is None else [f"{count(concurrency, 'concurrency', least=1)} at once"]
    length = seconds(given.per, "per")
    tokens: Rate | None = None
    if rate is None:
        if window == "sliding":
            raise ChainDefinitionError('`window="sliding"` belongs to a `rate`, such as Limit(rate=100, per=1000)')
    elif window == "sliding":
        rate = number(rate, "rate", above=0)
        if burst is not None:
            raise ChainDefinitionError(f'`burst` belongs to window="bucket"; a sliding window has none; got {burst!r}')
        if rate < 1 and not costs:
            more = f"Limit(rate=1, per={exact_number(length * 1000 / rate)}, window='sliding')"
            raise ChainDefinitionError(f"with a sliding window `rate` must be 1 or more: write {more}; got {rate!r}")
        tokens = Rate(length / rate, rate, length)
        rules.append(f"{exact_number(rate)} in any {format_duration(length)}")
    else:
        rate = number(rate, "rate", above=0)
        depth = max(1, int(rate)) if burst is None else count(burst, "burst", least=1)
        tokens = Rate(length / rate, depth)
        text = f"{exact_number(rate)} per {format_duration(length)}" + ("" if burst is None else f" (burst {burst})")
        rules.append(text)
    most = min(math.inf if concurrency is None else concurrency, math.inf if tokens is None else tokens.burst)
    return LimitRules(
        places=concurrency,
        rate=tokens,
        patience=None if given.wait is None else seconds(given.wait, "wait", zero=True),
        queue=None if given.queue is None else count(given.queue, "queue"),
        aging=checked_aging(given.aging),
        most=most,
        text=", ".join(rules),
    )
