"""Copies the constants of a chain, such as that of an ``or_else``, for each use, so that runs do not share them."""

from __future__ import annotations

import copy
from typing import Any, cast

from rio_chain._core.units import escape_nonprintable, short_repr
from rio_chain.errors import ChainDefinitionError


def fresh(constant: Any) -> Any:
    """A deep copy. Immutable values and markers such as ``MISSING = object()`` are returned unchanged."""
    memo: dict[int, Any] = {}
    made = copy.deepcopy(constant, memo)
    copied: list[Any] = memo.get(id(memo), [])  # `deepcopy` keeps there the originals of all that it copies
    markers = {id(one): one for one in copied if _is_marker(one)}
    return copy.deepcopy(constant, markers) if markers else made


def _is_marker(one: object) -> bool:
    """Whether the object has no state and compares by identity, so that a copy of it would be another marker."""
    kind = cast("Any", type(one))
    if kind.__eq__ is not object.__eq__ or kind.__reduce_ex__ is not object.__reduce_ex__:
        return False
    return bool(one.__reduce_ex__(4)[1:] == ((kind,), None, None, None))


def is_container(answer: object) -> bool:
    """Whether a test backend answers with a copy of this. Any other object may be one that the test looks at."""
    return isinstance(answer, (list, dict, set, bytearray))


def fresh_answer(answer: Any) -> Any:
    """The answer of a test backend: for a list, dict, set or bytearray a copy for each call, else the object itself."""
    return fresh(answer) if is_container(answer) else answer


def copyable(constant: Any, rule: str, instead: str) -> Any:
    """Check that a constant can be copied, and return it.

    Args:
        constant: any object.
        rule: what copies the constant; the beginning of the error text.
        instead: the right code; the end of the error text.

    Raises:
        ChainDefinitionError: it can't be copied.
    """
    try:
        fresh(constant)
    except Exception as error:
        why = escape_nonprintable(str(error)) or type(error).__name__
        raise ChainDefinitionError(f"{rule}, and {short_repr(constant)} can't be copied ({why}); {instead}") from error
    return constant
