"""Deadline: an instant on some clock. The one thing about time that travels from run to run."""

from __future__ import annotations

import time
from collections.abc import Callable

from attrs import field, frozen

from rio_chain.units import Duration, milliseconds, seconds


@frozen
class Deadline:
    """The instant ``at`` (seconds) of ``clock``. Every executor has its own clock, so an instant needs to name one.

    Example:
        >>> from rio_chain import Deadline
        >>> 0 < Deadline.after(300).remaining() <= 300
        True
    """

    at: float
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)

    @classmethod
    def after(cls, ms: Duration) -> Deadline:
        """The instant that lies ``ms`` milliseconds (or a ``timedelta``) ahead; 0 is already over."""
        return cls(time.monotonic() + seconds(ms, "ms", zero=True))

    def remaining(self) -> float:
        """Milliseconds left; negative when it is over."""
        return milliseconds(self.at - self.clock())

    def on(self, clock: Callable[[], float]) -> float:
        """The same instant in seconds of another clock."""
        return self.at if clock == self.clock else clock() + (self.at - self.clock())


def deadline_of(value: Deadline | Duration | None) -> Deadline | None:
    """What a user may write for ``deadline=``: an instant, or milliseconds (a ``timedelta``) from now."""
    if value is None or isinstance(value, Deadline):
        return value
    return Deadline(time.monotonic() + seconds(value, "deadline", zero=True))
