"""What a durable queue stores as JSON: the arguments of a request, and how a run has ended."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, cast

from returns.result import Failure, Result, Success

from rio_chain._core.units import short_repr
from rio_chain._journal_errors import NotStorable
from rio_chain.contrib._queue_errors import RunFailed
from rio_chain.errors import ChainDefinitionError, TicketCancelled, describe_error

CANCELLED = "rio_chain.TicketCancelled"
DEEPEST = 200
"""How deep a value may be nested: well below what JSON readers allow."""
BITS = 10_000
"""Python reads and writes no much longer numbers."""


def foreign_part(value: object, place: str = "", depth: int = 0) -> str | None:
    """The first part that JSON would not give back as it is, with its place; None if there is none."""
    items: list[tuple[object, object]] = []
    found: str | None = None
    if value is None or type(value) in (bool, str) or (type(value) is float and math.isfinite(value)):
        pass
    elif type(value) is int:
        found = f"an int of more than {BITS} bits{place}" if value.bit_length() > BITS else None
    elif depth >= DEEPEST:
        found = f"a value that is nested more than {DEEPEST} deep"
    elif type(value) is list:
        items = list(enumerate(cast("list[object]", value)))
    elif type(value) is dict:
        items = list(cast("dict[object, object]", value).items())
        found = next((f"the key {short_repr(key)}{place}" for key, _ in items if type(key) is not str), None)
    else:
        found = f"{short_repr(value)}{place}"
    for key, item in items if found is None else ():
        inside = f"{place or ' at '}[{short_repr(key)}]"
        found = found or foreign_part(item, inside, depth + 1)
    return found


def arguments_text(chain: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """The arguments of a request, in one spelling.

    Raises:
        ChainDefinitionError: they are more than JSON can hold.
    """
    given = [list(args), dict(kwargs)]
    found = foreign_part(given[0]) or foreign_part(given[1])
    if found is not None:
        raise ChainDefinitionError(
            f"the arguments of {chain!r} must be what JSON gives back as it is: None, bool, int, str, finite floats, "
            f"lists, and dicts with str keys; got {found}"
        )
    return json.dumps(given, sort_keys=True)


def arguments_of(text: str) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a request."""
    args, kwargs = json.loads(text)
    return args, kwargs


def success_text(value: object, chain: str) -> tuple[str, str]:
    """The status and the stored end of a run that gave this value. A value that JSON can't hold is a failure."""
    found = foreign_part(value)
    if found is None:
        return "succeeded", json.dumps({"value": value})
    text = f"the answer of {chain!r} can't be stored as JSON, which has no place for {found}"
    return "failed", json.dumps({"error": ["rio_chain.NotStorable", text]})


def failure_text(error: object) -> tuple[str, str]:
    """The status and the stored end of a run that failed with this error."""
    if isinstance(error, TicketCancelled):
        return "cancelled", cancelled_text(error.reason)
    kind = type(error)
    public = {"builtins": "", NotStorable.__module__: "rio_chain."}
    module = public.get(kind.__module__, f"{kind.__module__}.")
    return "failed", json.dumps({"error": [f"{module}{kind.__qualname__}", describe_error(error, str)]})


def cancelled_text(reason: str) -> str:
    """The stored end of a run that was cancelled."""
    return json.dumps({"error": [CANCELLED, reason]})


def result_of(text: str) -> Result[Any, Exception]:
    """How a run has ended."""
    stored = json.loads(text)
    if "value" in stored:
        return Success(stored["value"])
    kind, message = stored["error"]
    return Failure(TicketCancelled(message) if kind == CANCELLED else RunFailed(kind, message))
