"""Numbers as source code that gives exactly the same number when it is evaluated."""

from __future__ import annotations

import math


def exact_number(value: float) -> str:
    """The shortest text that is exactly this number: ``2``, ``1.5``. Zero has no sign."""
    value += 0.0  # makes -0.0 to 0.0
    short = f"{value:.10g}"
    return short if float(short) == value else repr(value)


def exact_ms(seconds: float) -> str:
    """The shortest number of milliseconds, as source, that gives exactly these seconds.

    About one in fifty durations from a ``timedelta`` has no such number of milliseconds. It is written as a
    ``timedelta``.
    """
    near = seconds * 1000 + 0.0  # as above
    texts = [f"{near:.10g}", *(repr(x) for x in (near, math.nextafter(near, 0), math.nextafter(near, math.inf)))]
    found = next((text for text in texts if float(text) / 1000 == seconds), None)
    if found is not None:
        return found
    over, under = seconds.as_integer_ratio()  # a float times a million is rounded
    return f"timedelta(microseconds={(over * 1_000_000 + under // 2) // under})"
