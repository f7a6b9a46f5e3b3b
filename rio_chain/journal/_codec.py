"""How values become text in a journal, and what the digest of an input is."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from hashlib import blake2b
from typing import Any, Protocol
from uuid import UUID
from zoneinfo import ZoneInfo

from returns.result import Failure, Success

from rio_chain._core.pickling import loads, plain_dumps
from rio_chain.engine._runtime_protocol import kind_of
from rio_chain.policies._plain_data import qualified

DIGEST_BYTES = 16
PLAIN = frozenset({type(None), bool, int, float, str})
_WRITE: dict[type[Any], Callable[[Any], str]] = {  # what ``json.dumps`` does, without its detours
    type(None): lambda _: "null",
    bool: lambda value: "true" if value else "false",
    int: int.__repr__,
    str: json.encoder.encode_basestring_ascii,
    float: json.dumps,
}


class Unstorable(TypeError):
    """A value that can't be written. Its text says why."""


class Serializer(Protocol):
    """How a journal writes and reads values. An object with these two methods may be given in place of ``JSON``."""

    def dumps(self, value: Any, /) -> str | bytes:
        """The value as text or bytes. Raises if that can't be done."""
        ...

    def loads(self, data: Any, /) -> Any:
        """The value again, from what ``dumps`` has returned."""
        ...


class JSON:
    """Writes values as JSON: None, bool, int, float, str, lists and dicts.

    Tuples, sets, bytes, dates, times, ``Decimal``, ``UUID``, dicts with other keys, and ``Success`` are written as JSON
    objects with a key that begins with ``$``, and come back as what they were. Any other type is refused.

    Example:
        >>> from rio_chain.journal import JSON
        >>> JSON().dumps({"size": (3, 4)})
        '{"size": {"$tuple": [3, 4]}}'
        >>> JSON().loads('{"size": {"$tuple": [3, 4]}}')
        {'size': (3, 4)}
    """

    def dumps(self, value: Any, /) -> str:
        """The value as text."""
        write = _WRITE.get(kind_of(value))
        return json.dumps(prepared(value)) if write is None else write(value)

    def loads(self, data: str, /) -> Any:
        """The value again."""
        return json.loads(data, object_hook=_restored)


class Pickle:
    """Writes values with ``pickle``. Whoever can write the file can then run code in your process: give it only for a
    file that nobody else can write.
    """

    stable = False
    """Equal values may have other bytes, so they are of no use for a digest."""

    def dumps(self, value: Any, /) -> bytes:
        """The value as bytes."""
        return plain_dumps(value)

    def loads(self, data: bytes, /) -> Any:
        """The value again."""
        return loads(data)


def prepared(value: Any) -> Any:
    """The value as what JSON can hold.

    Raises:
        Unstorable: a type that would not come back as it was.
    """
    try:
        return _prepared(value)
    except RecursionError:
        raise Unstorable("it is nested too deeply, or contains itself") from None


def _prepared(value: Any) -> Any:
    kind = kind_of(value)
    if kind in PLAIN:
        return value
    if kind is list:
        return [one if type(one) in PLAIN else _prepared(one) for one in value]
    if kind is dict:
        if all(type(key) is str and key[:1] != "$" for key in value):
            return {key: one if type(one) in PLAIN else _prepared(one) for key, one in value.items()}
        return {"$dict": [[_prepared(key), _prepared(one)] for key, one in value.items()]}
    known = _KINDS.get(kind)
    if known is None:
        raise Unstorable(f"JSON has no type for {qualified(kind)}")  # without the value, which may be secret
    tag, write, _ = known
    return {tag: write(value)}


def _several(values: Any) -> list[Any]:
    return [_prepared(one) for one in values]


def _unordered(values: Any) -> list[Any]:
    """The order of a set differs from process to process."""
    return sorted(_several(values), key=lambda one: json.dumps(one, sort_keys=True))


def _bytes(value: bytes | bytearray) -> str:
    return base64.b64encode(value).decode("ascii")


def _moment(value: datetime | time) -> str | list[Any]:
    """A zone with rules is written by its name, as the offset alone would be another zone after an addition."""
    zone = value.tzinfo
    if zone is None or type(zone) is timezone:
        return [value.isoformat(), 1, None] if value.fold else value.isoformat()
    if type(zone) is ZoneInfo and zone.key:
        return [value.replace(tzinfo=None).isoformat(), value.fold, zone.key]
    raise Unstorable(f"JSON has no type for the time zone {qualified(kind_of(zone))}")


def _reads_moment(kind: type[datetime | time]) -> Callable[[Any], Any]:
    def read(written: str | list[Any]) -> Any:
        if isinstance(written, str):
            return kind.fromisoformat(written)
        text, fold, zone = written
        found = kind.fromisoformat(text).replace(fold=fold)
        return found if zone is None else found.replace(tzinfo=ZoneInfo(zone))

    return read


_KINDS: dict[type[Any], tuple[str, Callable[[Any], Any], Callable[[Any], Any]]] = {
    tuple: ("$tuple", _several, tuple),
    set: ("$set", _unordered, set),
    frozenset: ("$frozenset", _unordered, frozenset),
    bytes: ("$bytes", _bytes, base64.b64decode),
    bytearray: ("$bytearray", _bytes, lambda text: bytearray(base64.b64decode(text))),
    datetime: ("$datetime", _moment, _reads_moment(datetime)),
    date: ("$date", date.isoformat, date.fromisoformat),
    time: ("$time", _moment, _reads_moment(time)),
    timedelta: ("$timedelta", lambda t: [t.days, t.seconds, t.microseconds], lambda t: timedelta(*t)),
    Decimal: ("$decimal", str, Decimal),
    UUID: ("$uuid", str, UUID),
    Success: ("$success", lambda one: _prepared(one.unwrap()), Success),
}
_READ: dict[str, Callable[[Any], Any]] = {tag: read for tag, _, read in _KINDS.values()} | {"$dict": dict}


def _restored(found: dict[str, Any]) -> Any:
    if len(found) == 1:
        [(tag, content)] = found.items()
        read = _READ.get(tag)
        if read is not None:
            return read(content)
    return found


def is_iterator(value: Any) -> bool:
    """Whether it can be read only once. Then it is made again, and what is made of its items is recalled."""
    kind = kind_of(value)
    return kind not in PLAIN and (hasattr(kind, "__next__") or hasattr(kind, "__anext__") or hasattr(kind, "__aiter__"))


# --- digests ----------------------------------------------------------------------------------------------------------


def digest_of(inputs: tuple[Any, ...], serializer: Serializer) -> bytes | None:
    """What an input is recognised by; None if it can't be serialized."""
    write = _WRITE.get(kind_of(inputs[0])) if len(inputs) == 1 else None
    try:
        text = json.dumps(_Inputs(serializer).prepared(inputs), sort_keys=True) if write is None else write(inputs[0])
    except Exception:  # noqa: BLE001 - of the user's serializer, of an object in it, or an int of 5,000 digits
        return None
    return blake2b(text.encode(), digest_size=DIGEST_BYTES).digest()


class _Inputs:
    """As ``prepared``, also for what is an input and never stored: errors, and types of the user's serializer."""

    def __init__(self, serializer: Serializer) -> None:
        self.serializer = serializer

    def prepared(self, value: Any) -> Any:  # noqa: PLR0911 - one for each kind
        kind = kind_of(value)
        if kind in {list, tuple}:
            return {f"${kind.__name__}": [self.prepared(one) for one in value]}
        if kind is dict:
            return {"$dict": sorted(([self.prepared(key), self.prepared(one)] for key, one in value.items()), key=repr)}
        if kind is Success:
            return {"$success": self.prepared(value.unwrap())}
        if kind is Failure:
            return {"$failure": self.prepared(value.failure())}
        if isinstance(value, BaseException):
            return {"$error": [qualified(kind), self.prepared(value.args)]}
        try:
            return prepared(value)
        except Unstorable:
            if not getattr(self.serializer, "stable", True):
                raise
            data = self.serializer.dumps(value)
            return {"$own": data if isinstance(data, str) else _bytes(data)}
