"""Argument checks, and the conversion of milliseconds to seconds.

Every public number is in milliseconds; internally there are only float seconds. A check raises an error with the
parameter, the rule and the value. Otherwise it returns the value in its internal form.
"""

from __future__ import annotations

import math
import reprlib
import sys
from datetime import timedelta
from itertools import islice
from numbers import Real
from typing import Any

from rio_chain.errors import ChainDefinitionError

Duration = float | timedelta
"""The type of a duration that a user writes: milliseconds, or a ``timedelta``."""


class _Repr(reprlib.Repr):
    def repr_dict(self, x: dict[Any, Any], level: int) -> str:
        """As in ``Repr``, but without sorting the keys."""
        if not x:
            return "{}"
        if level <= 0:
            return "{...}"
        pairs = [f"{self.repr1(key, level - 1)}: {self.repr1(x[key], level - 1)}" for key in islice(x, self.maxdict)]
        return "{" + ", ".join([*pairs, *["..."] * (len(x) > self.maxdict)]) + "}"


_SHORT = _Repr()
_SHORT.maxstring = _SHORT.maxother = 60


def short_repr(value: object) -> str:
    """A short, one-line repr in printable ASCII of any value. Never raises."""
    try:
        text = _SHORT.repr(value)
    except Exception:  # noqa: BLE001 - a user's broken __repr__ must not hide the message that this is part of
        text = f"<{type(value).__name__}>"
    return escape_nonprintable(text)


def escape_nonprintable(text: str) -> str:
    """The text with all other than printable ASCII escaped, so that it can't move a cursor or break a line."""
    return "".join(c if " " <= c <= "~" else c.encode("unicode_escape").decode() for c in text)


def _number(value: object) -> float | None:
    """A real number as a float; None for anything else, also for a bool."""
    if isinstance(value, bool) or not isinstance(value, (int, float, Real)):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf


def seconds(value: object, name: str, *, zero: bool = False) -> float:
    """Convert milliseconds or a ``timedelta`` to float seconds. It must be more than 0, or with ``zero`` 0 or more."""
    rule = "a finite number of milliseconds (or a timedelta), " + ("0 or more" if zero else "more than 0")
    plain = _number(value)
    got = value.total_seconds() if isinstance(value, timedelta) else math.nan if plain is None else plain / 1000
    if not math.isfinite(got) or got < 0 or (got == 0 and not zero):
        raise ChainDefinitionError(f"`{name}` must be {rule}; got {short_repr(value)}")
    return got


def milliseconds(value: float) -> float:
    """Convert seconds to milliseconds, for users."""
    return value * 1000


def format_duration(value: float) -> str:
    """Seconds as text in milliseconds: ``100 ms``, ``0.05 ms``, ``30000 ms``."""
    return f"{value * 1000:.10g} ms"


def flag(value: object, name: str) -> bool:
    """Check for True or False; other values that only count as true or false are refused."""
    if not isinstance(value, bool):
        raise ChainDefinitionError(f"`{name}` must be True or False; got {short_repr(value)}")
    return value


def count(value: object, name: str, *, least: int = 0, most: float = sys.maxsize) -> int:
    """Check for a whole number from ``least`` to ``most``. By default, no more than a collection can have."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ChainDefinitionError(f"`{name}` must be a whole number, {least} or more; got {short_repr(value)}")
    if value > most:
        raise ChainDefinitionError(f"`{name}` must be a whole number, {most} or less; got {short_repr(value)}")
    return value


def number(value: object, name: str, *, least: float = -math.inf, above: float = -math.inf) -> float:
    """Check for a finite number that is at least ``least`` and more than ``above``."""
    got = _number(value)
    if got is None or not math.isfinite(got) or got < least or got <= above:
        rule = f", {least:g} or more" if least > -math.inf else f", more than {above:g}" if above > -math.inf else ""
        raise ChainDefinitionError(f"`{name}` must be a finite number{rule}; got {short_repr(value)}")
    return got
