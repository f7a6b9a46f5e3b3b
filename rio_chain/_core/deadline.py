"""Deadline: an instant on some clock. The one thing about time that travels from run to run, and between services."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from typing import cast

from attrs import field, frozen

from rio_chain._core.units import Duration, milliseconds, seconds, short_repr
from rio_chain.errors import ChainDefinitionError

Headers = Mapping[str, str] | Iterable[tuple[str | bytes, str | bytes]]
"""The headers of a request: a mapping, or pairs as ASGI has them. Names in any case."""

GRPC = "grpc-timeout"
ENVOY = "x-envoy-expected-rq-timeout-ms"
OWN = "x-deadline-ms"
_GRPC_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_GRPC_DIGITS = 8


def _instant(value: float) -> float:
    if math.isnan(value):
        raise ChainDefinitionError("`at` must be an instant in seconds; got nan")
    return value


@frozen
class Deadline:
    """The instant ``at`` (seconds) of ``clock``. Every executor has its own clock, so an instant needs to name one.

    Example:
        >>> from rio_chain import Deadline
        >>> 0 < Deadline.after(300).remaining() <= 300
        True
    """

    at: float = field(converter=_instant)
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)

    @classmethod
    def after(cls, ms: Duration) -> Deadline:
        """The instant that lies ``ms`` milliseconds (or a ``timedelta``) ahead; 0 is already over."""
        return cls(time.monotonic() + seconds(ms, "ms", zero=True))

    @classmethod
    def from_headers(cls, headers: Headers, *, name: str = OWN) -> Deadline | None:
        """The deadline that a caller sent along; None when there is none. Of several the earliest counts.

        It reads ``grpc-timeout`` (up to 8 digits and one of ``H M S m u n``), Envoy's
        ``x-envoy-expected-rq-timeout-ms``, and ``name``, which holds milliseconds as Envoy's does. They say how long
        is left, not when it ends, so call this as soon as the request is there.

        Args:
            headers: of the request that came in.
            name: a header of your own. Default ``x-deadline-ms``.

        Raises:
            ChainDefinitionError: one of them does not say what it must; it is a ``ValueError``.

        Example:
            >>> from rio_chain import Deadline
            >>> deadline = Deadline.from_headers({"Grpc-Timeout": "250m"})
            >>> deadline is not None and 0 < deadline.remaining() <= 250
            True
        """
        now = time.monotonic()
        pairs: Iterable[tuple[str | bytes, str | bytes]] = (
            cast("Mapping[str, str]", headers).items() if isinstance(headers, Mapping) else headers
        )
        found = {_text(key).lower(): _text(value).strip() for key, value in pairs}
        lasts = [_of_grpc(found[GRPC])] if GRPC in found else []
        lasts += [_of_milliseconds(key, found[key]) for key in {ENVOY, name.lower()} if key in found]
        return cls(now + min(lasts)) if lasts else None

    def headers(self, *, name: str = OWN) -> dict[str, str]:
        """What is left of it, as headers for a request to the next service: ``name``, Envoy's and gRPC's.

        Args:
            name: a header of your own, in milliseconds. Default ``x-deadline-ms``.
        """
        left = max(0, math.floor(self.remaining()))
        longest = 10**_GRPC_DIGITS - 1
        grpc = f"{left}m" if left <= longest else f"{min(left // 1000, longest)}S"
        return {name: str(left), ENVOY: str(left), GRPC: grpc}

    def remaining(self) -> float:
        """Milliseconds left; negative when it is over."""
        return milliseconds(self.at - self.clock())

    def on(self, clock: Callable[[], float]) -> float:
        """The same instant in seconds of another clock."""
        return self.at if clock == self.clock else clock() + (self.at - self.clock())


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _of_grpc(value: str) -> float:
    digits, unit = value[:-1], value[-1:]
    if unit not in _GRPC_UNITS or not (digits.isascii() and digits.isdigit()) or len(digits) > _GRPC_DIGITS:
        raise ChainDefinitionError(f"`{GRPC}` must be up to 8 digits and one of H M S m u n; got {short_repr(value)}")
    return int(digits) * _GRPC_UNITS[unit]


def _of_milliseconds(name: str, value: str) -> float:
    if not (value.isascii() and value.isdigit()) or len(value) > 15:  # noqa: PLR2004 - what a float holds exactly
        raise ChainDefinitionError(f"`{name}` must be a whole number of milliseconds; got {short_repr(value)}")
    return int(value) / 1000


def deadline_of(value: Deadline | Duration | None, clock: Callable[[], float] = time.monotonic) -> Deadline | None:
    """What a user may write for ``deadline=``: an instant, or milliseconds (a ``timedelta``) from now on ``clock``."""
    if value is None or isinstance(value, Deadline):
        return value
    return Deadline(clock() + seconds(value, "deadline", zero=True), clock)
