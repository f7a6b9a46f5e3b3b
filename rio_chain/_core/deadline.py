"""Deadline: an instant on a clock. Runs pass it to the runs inside them, and services to the services they call."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, cast, overload

from attrs import field, frozen

from rio_chain._core import hooks
from rio_chain._core.units import Duration, format_duration, milliseconds, seconds, short_repr
from rio_chain.errors import ChainDefinitionError, DeadlineHeaderError

Pairs = Iterable[tuple[str | bytes, str | bytes]]


class HasItems(Protocol):
    """The headers of Starlette, Django, aiohttp, werkzeug, httpx and ``http.server`` have this method."""

    def items(self) -> Iterable[tuple[str, Any]]:
        """Each name with its value."""
        ...


Headers = Mapping[str, Any] | HasItems | Pairs
"""The headers of a request: a framework's object, pairs as in ASGI, or the environment of WSGI."""

GRPC = "grpc-timeout"
ENVOY = "x-envoy-expected-rq-timeout-ms"
OWN = "x-deadline-ms"
_WSGI = "HTTP_"
AN_HOUR = 3600.0
"""Seconds. An instant longer ago than this may be a number of milliseconds given by mistake."""
_GRPC_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_GRPC_DIGITS = 8
_MS_DIGITS = 15  # as many as a float holds exactly
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # a header's name (RFC 9110)


def _instant(value: float) -> float:
    if math.isnan(value):
        raise ChainDefinitionError("`at` must be an instant in seconds; got nan")
    return value


@frozen(repr=False)
class Deadline:
    """The instant ``at`` (seconds) of ``clock``. Every executor has its own clock, so an instant needs a clock.

    For "so many milliseconds from now" write ``Deadline.after(ms)``.

    Example:
        >>> from rio_chain import Deadline
        >>> 0 < Deadline.after(300).remaining() <= 300
        True
    """

    at: float = field(converter=_instant)
    clock: Callable[[], float] = field(default=time.monotonic)

    @classmethod
    def after(cls, ms: Duration) -> Deadline:
        """The instant ``ms`` milliseconds (or a ``timedelta``) from now. 0 gives a deadline that has passed."""
        return cls(time.monotonic() + seconds(ms, "ms", zero=True))

    @classmethod
    def current(cls) -> Deadline:
        """The earliest deadline or timeout around the function that calls this. A run that begins there inherits it.

        Outside of a run there is no deadline: ``remaining()`` is ``inf`` and ``headers()`` is empty. So you can also
        call such a function directly. In an abandoned call the deadline has passed.

        Example:
            >>> from rio_chain import Deadline, Task
            >>> def fetch() -> dict[str, str]:
            ...     return Deadline.current().headers()  # for the request to the next service
            >>> sorted(Task(fetch).timeout(100)().run().unwrap())
            ['grpc-timeout', 'x-deadline-ms', 'x-envoy-expected-rq-timeout-ms']
        """
        return hooks.facade.inherited_deadline() or cls(math.inf)

    @overload
    @classmethod
    def from_headers(
        cls, headers: Headers, *, default: Duration, cap: Duration | None = None, name: str = OWN
    ) -> Deadline: ...

    @overload
    @classmethod
    def from_headers(
        cls, headers: Headers, *, default: None = None, cap: Duration | None = None, name: str = OWN
    ) -> Deadline | None: ...

    @classmethod
    def from_headers(
        cls, headers: Headers, *, default: Duration | None = None, cap: Duration | None = None, name: str = OWN
    ) -> Deadline | None:
        """The deadline that a caller sent in the headers of its request.

        If several headers have one, the earliest counts.

        It reads ``grpc-timeout`` (up to 8 digits and one of ``H M S m u n``), Envoy's
        ``x-envoy-expected-rq-timeout-ms``, and the header ``name``, which holds milliseconds as Envoy's does. These
        headers give the time left, not the instant of the end. So call this as soon as the request arrives.

        Args:
            headers: of the incoming request: the object of your framework, pairs of names and values, or the
                environment of WSGI (``request.META`` of Django).
            default: the time for a caller that sent no deadline, in milliseconds or as a ``timedelta``. With None, the
                default, the result is None for such a caller.
            cap: the most time that a caller gets, in milliseconds or as a ``timedelta``. Default: as much as the caller
                asks for.
            name: a header of your own. Default ``x-deadline-ms``.

        Raises:
            DeadlineHeaderError: one of these headers is malformed, or was sent more than once. It is a ``ValueError``.
                Answer with status 400.
            ChainDefinitionError: ``headers``, ``default``, ``cap`` or ``name`` is not valid, or ``default`` is more
                than ``cap``.

        Example:
            >>> from rio_chain import Deadline
            >>> Deadline.from_headers({"Grpc-Timeout": "9S"}, default=1_000, cap=5_000).remaining() <= 5_000
            True
        """
        now = time.monotonic()
        most = math.inf if cap is None else seconds(cap, "cap")
        usual = None if default is None else seconds(default, "default")
        if usual is not None and usual > most:
            raise ChainDefinitionError(
                f"`default` must be at most `cap`, which is {format_duration(most)}; got {format_duration(usual)}"
            )
        sent = seconds_sent(headers, (name, ENVOY, GRPC))
        last = usual if sent is None else sent
        return None if last is None else cls(now + min(last, most))

    def headers(self, *, name: str = OWN) -> dict[str, str]:
        """The time left, as headers for a request to the next service: ``name``, Envoy's and gRPC's.

        The dict is empty if there is no deadline.

        Args:
            name: a header of your own, in milliseconds. Default ``x-deadline-ms``.
        """
        _named(name)
        remaining = self.remaining()
        if remaining == math.inf:
            return {}
        left = max(0, math.floor(max(0.0, remaining)))
        longest = 10**_GRPC_DIGITS - 1
        grpc = f"{left}m" if left <= longest else f"{min(left // 1000, longest)}S"
        return {name: str(left), ENVOY: str(left), GRPC: grpc}

    def remaining(self) -> float:
        """Milliseconds left. Negative if the deadline has passed, ``inf`` if there is none."""
        return math.inf if self.at == math.inf else milliseconds(self.at - self.clock())

    def on(self, clock: Callable[[], float]) -> float:
        """The same instant in seconds of another clock."""
        return self.at if clock == self.clock else clock() + (self.at - self.clock())

    def __repr__(self) -> str:
        try:
            left = self.remaining() / 1000
        except Exception:  # noqa: BLE001 - the clock belongs to a loop that has ended, or to the user
            return f"Deadline(at={self.at})"
        if left == math.inf:
            return "Deadline(no limit)"
        text = format_duration(round(abs(left), 4))
        if left > 0:
            return f"Deadline({text} left)"
        hint = (
            f"; write Deadline.after({self.at:g}) for {self.at:g} ms from now"
            if self.at >= 0 and left < -AN_HOUR
            else ""
        )
        return f"Deadline(passed {text} ago{hint})"


def _named(name: object) -> str:
    if not isinstance(name, str) or not _TOKEN.fullmatch(name):
        raise ChainDefinitionError(f"`name` must be the name of a header; got {short_repr(name)}")
    return name


def seconds_sent(headers: object, names: Iterable[object]) -> float | None:
    """The shortest remaining time in these headers, in seconds. None if none of them was sent.

    Raises:
        DeadlineHeaderError: one of them can't be read, or was sent more than once.
        ChainDefinitionError: ``headers`` are not headers, or a name is not the name of a header.
    """
    readers = {key: _READERS.get(key, _of_milliseconds) for key in (_named(name).lower() for name in names)}
    return min((readers[key](key, value) for key, value in _sent(headers, readers).items()), default=None)


def _sent(headers: object, wanted: Iterable[str]) -> dict[str, Any]:
    """The values of these headers, each by its name in lower case."""
    names, found = frozenset(wanted), dict[str, Any]()
    try:
        items: Any = getattr(headers, "items", None)
        each: Any = items() if callable(items) else headers
        pairs = [(_header_name(key), value) for key, value in each]
    except (TypeError, ValueError, AttributeError):
        raise ChainDefinitionError(
            f"`headers` must be the headers of a request: a mapping, or pairs of name and value; "
            f"got {short_repr(headers)}"
        ) from None
    for key, several in pairs:
        if key not in names:
            continue
        values = cast("Iterable[Any]", several if isinstance(several, (list, tuple)) else (several,))
        for value in values:
            if key in found or (isinstance(value, (str, bytes)) and "," in _text(value)):
                # a server or proxy joins several values with a comma
                raise DeadlineHeaderError(key, "must be sent at most once", short_repr(value))
            found[key] = value
    return found


def _header_name(key: str | bytes) -> str:
    """The name in lower case. A name of WSGI, such as ``HTTP_X_DEADLINE_MS``, becomes the name that was sent."""
    name = _text(key)
    return (name.removeprefix(_WSGI).replace("_", "-") if name.startswith(_WSGI) else name).lower()


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _stripped(value: object) -> str:
    """Remove the blanks around the value of a header, but no line breaks: these could be an injected header."""
    return _text(value).strip(" \t") if isinstance(value, (str, bytes)) else ""


def _digits(value: str, most: int) -> bool:
    return value.isascii() and value.isdigit() and len(value) <= most


def _of_grpc(name: str, value: object) -> float:
    text = _stripped(value)
    if text[-1:] not in _GRPC_UNITS or not _digits(text[:-1], _GRPC_DIGITS):
        raise DeadlineHeaderError(name, "must be up to 8 digits and one of H M S m u n", short_repr(value))
    return int(text[:-1]) * _GRPC_UNITS[text[-1]]


def _of_milliseconds(name: str, value: object) -> float:
    text = _stripped(value)
    if not _digits(text, _MS_DIGITS):
        raise DeadlineHeaderError(name, "must be a whole number of milliseconds", short_repr(value))
    return int(text) / 1000


_READERS = {GRPC: _of_grpc}


def deadline_of(value: Deadline | Duration | None, clock: Callable[[], float] = time.monotonic) -> Deadline | None:
    """Read ``deadline=``: a Deadline, or milliseconds (a ``timedelta``) from now on ``clock``."""
    if value is None or isinstance(value, Deadline):
        return value
    return Deadline(clock() + seconds(value, "deadline", zero=True), clock)
