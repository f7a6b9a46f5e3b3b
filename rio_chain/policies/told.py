"""How long a server says to wait: ``Retry-After`` in all its spellings."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from numbers import Real

Told = float | timedelta | datetime | str | None
"""Seconds, a date, or the text of a Retry-After header, which holds one of the two."""


def told_by(error: object) -> object:
    """The ``retry_after`` of an error; None where it has none, or can't say."""
    try:
        return getattr(error, "retry_after", None)
    except Exception:  # noqa: BLE001 - a property of the user's class; without it there still is the backoff
        return None


def told_seconds(told: object, today: datetime | None = None) -> float | None:
    """Seconds to wait, 0 or more; None when ``told`` says nothing that can be meant. A date that is past is 0.

    Args:
        told: seconds, a ``timedelta``, a ``datetime`` (without a zone: local time), or a header's text.
        today: what dates are compared with; default is now.

    Example:
        >>> told_seconds(2), told_seconds("120"), told_seconds(-1), told_seconds("soon")
        (2.0, 120.0, None, None)
    """
    if isinstance(told, str):
        told = _header(told)
    if isinstance(told, datetime):
        return _until(told, today or datetime.now(UTC))
    if isinstance(told, timedelta):
        told = told.total_seconds()
    if isinstance(told, bool) or not isinstance(told, Real):
        return None
    try:
        seconds = float(told)
    except (OverflowError, ValueError):
        return None
    return seconds if 0 <= seconds < math.inf else None


def _until(date: datetime, today: datetime) -> float | None:
    try:
        return max(0.0, date.timestamp() - today.timestamp())
    except (ValueError, OverflowError, OSError):
        return None  # a year that the machine's calendar does not reach


def _header(text: str) -> float | datetime | None:
    try:
        return float(text)
    except ValueError:
        pass
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - slow to import, and rarely needed

    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)
