"""Reads how long a server asks to wait: ``Retry-After`` in all its forms."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from numbers import Real

RetryAfter = float | timedelta | datetime | str | None
"""Seconds, a date, or the text of a Retry-After header, which holds one of these."""


def retry_after_of(error: object) -> object:
    """The ``retry_after`` of an error; None if it has none, or if reading it raises."""
    try:
        return getattr(error, "retry_after", None)
    except Exception:  # noqa: BLE001 - a property of the user's class; the backoff is used instead
        return None


def parse_retry_after(value: object, today: datetime | None = None) -> float | None:
    """Seconds to wait, 0 or more; None if ``value`` can't be read. A date in the past gives 0.

    Args:
        value: seconds, a ``timedelta``, a ``datetime`` (without a zone: local time), or the text of a header.
        today: what a date is compared with; default is now.

    Example:
        >>> parse_retry_after(2), parse_retry_after("120"), parse_retry_after(-1), parse_retry_after("soon")
        (2.0, 120.0, None, None)
    """
    try:
        seconds = _seconds(value, today)
    except Exception:  # noqa: BLE001 - it comes from a server or from the user's class: it may raise anything
        return None
    return seconds if seconds is not None and 0 <= seconds < math.inf else None


def _seconds(value: object, today: datetime | None) -> float | None:
    if isinstance(value, str):
        value = _header(value)
    if isinstance(value, datetime):
        now = today or datetime.now(UTC)
        return max(0.0, value.timestamp() - now.timestamp())
    if isinstance(value, timedelta):
        return value.total_seconds()
    return None if isinstance(value, bool) or not isinstance(value, Real) else float(value)


def _header(text: str) -> float | datetime:
    try:
        return float(text)
    except ValueError:
        pass
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - slow to import, and rarely needed

    date = parsedate_to_datetime(text)
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)
