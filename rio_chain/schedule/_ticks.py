"""The ticks of a schedule: the text of a cron line in a time zone, or a period. All instants are float seconds.

A cron line counts on the clock of the world (seconds since 1970). A period counts from a given instant, on any clock.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from attrs import field, frozen

from rio_chain._core.units import format_duration, seconds, short_repr
from rio_chain.errors import ChainDefinitionError

SHORTEST = 0.001
"""The shortest period, in seconds."""
LONGEST_TEXT = 256
NAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
"""The names of some crons for whole lines, and what to write here."""


class Ticks(Protocol):
    """The instants of a schedule."""

    @property
    def on_world_clock(self) -> bool:
        """Whether the instants are seconds since 1970, and not of the clock of an executor."""
        ...

    def after(self, instant: float) -> float:
        """The first tick that is later than this instant. ``inf``: there is none."""
        ...


@frozen
class Period:
    """A tick every ``period`` seconds, counted from ``start``."""

    period: float
    start: float = 0.0
    on_world_clock: bool = False

    def after(self, instant: float) -> float:
        """As ``Ticks.after``."""
        number = math.floor((instant - self.start) / self.period)
        tick = self.start + number * self.period
        while tick <= instant:  # once, or twice where the division was rounded
            number += 1
            tick = self.start + number * self.period
        return tick

    def __str__(self) -> str:
        return f"every {format_duration(self.period)}"


@frozen
class Cron:
    """A tick at each minute (or second) that a cron line names, in a time zone."""

    text: str
    zone: tzinfo
    on_world_clock: bool = field(default=True, init=False)

    def after(self, instant: float) -> float:
        """As ``Ticks.after``."""
        from cronsim import CronSim  # noqa: PLC0415 - an extra

        try:
            for tick in CronSim(self.text, datetime.fromtimestamp(math.floor(instant), self.zone)):
                at = tick.timestamp()
                if at > instant:  # else it is in an hour that the clocks repeat: its first pass is over
                    return at
        except (OverflowError, ValueError):  # after the year 9999
            pass
        return math.inf

    def __str__(self) -> str:
        return f"{self.text!r} in {zone_name(self.zone)}"


def zone_name(zone: tzinfo) -> str:
    """How a time zone is written."""
    return str(zone)


def checked_zone(tz: object) -> tzinfo:
    """Check the name of a time zone, such as ``"Europe/Berlin"``, or a ``tzinfo``."""
    if isinstance(tz, tzinfo):
        return tz
    if tz == "UTC":
        return UTC  # needs no data base
    if isinstance(tz, str) and tz:
        try:
            return ZoneInfo(tz)
        except (LookupError, ValueError, OSError):
            pass
    raise ChainDefinitionError(
        f'`tz` must be the name of a time zone that Python\'s `zoneinfo` knows, such as "Europe/Berlin" or "UTC"; '
        f"got {short_repr(tz)}"
    )


def checked_when(when: object, tz: object, start: float) -> Ticks:
    """The ticks that a user wrote: a cron line, or a period that counts from ``start``.

    Raises:
        ChainDefinitionError: it is neither, or it never ticks.
        ImportError: it is a cron line, and cronsim is not installed.
    """
    zone = checked_zone(tz)
    if isinstance(when, str):
        return _checked_cron(when, zone)
    if isinstance(when, bool) or not isinstance(when, (int, float, timedelta)):
        raise ChainDefinitionError(
            '`when` must be a cron line such as "0 3 * * *", a timedelta, or a number of milliseconds; '
            f"got {short_repr(when)}"
        )
    period = seconds(when, "when")
    if period < SHORTEST:
        raise ChainDefinitionError(f"`when` must be at least {format_duration(SHORTEST)}; got {short_repr(when)}")
    return Period(period, start)


def _checked_cron(text: str, zone: tzinfo) -> Cron:
    try:
        import cronsim  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ImportError(
            "`every` with a cron line needs cronsim: `pip install 'rio-chain[cron]'`; a timedelta needs nothing",
            name="cronsim",
        ) from error
    hint = NAMES.get(text.strip().lower())
    if hint is not None:
        raise ChainDefinitionError(f'`when` has five fields, so write "{hint}"; got {short_repr(text)}')
    reason: Any = "it is too long"
    if len(text) <= LONGEST_TEXT:
        line = Cron(" ".join(text.split()), zone)
        try:
            cronsim.CronSim(line.text, datetime(2000, 1, 1, tzinfo=UTC))
        except (cronsim.CronSimError, ValueError, TypeError, AssertionError) as error:
            reason = str(error).lower() or "it can't be read"
        else:
            if line.after(0.0) < math.inf:
                return line
            reason = "no day matches it"
    raise ChainDefinitionError(
        '`when` must be a cron line: minute, hour, day, month and weekday, as in "30 2 * * mon" '
        f"(with six fields, the first is the second); got {short_repr(text)}: {reason}"
    )
