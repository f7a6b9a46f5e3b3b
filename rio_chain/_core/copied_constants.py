"""Constants of a chain, such as that of an ``or_else``: fresh at each use, so no run changes what the next one gets."""

from __future__ import annotations

import copy
from typing import Any, cast

from rio_chain._core.units import escape_nonprintable, short_repr
from rio_chain.errors import ChainDefinitionError


def fresh(constant: Any) -> Any:
    """A deep copy. What can't change is handed on as it is, and so are markers such as ``MISSING = object()``."""
    memo: dict[int, Any] = {}
    made = copy.deepcopy(constant, memo)
    copied: list[Any] = memo.get(id(memo), [])  # `deepcopy` keeps the originals of all that it copies in there
    markers = {id(one): one for one in copied if _is_marker(one)}
    return copy.deepcopy(constant, markers) if markers else made


def _is_marker(one: object) -> bool:
    """Whether it has no state and compares by identity: all that there is to it is which object it is."""
    kind = cast("Any", type(one))
    if kind.__eq__ is not object.__eq__ or kind.__reduce_ex__ is not object.__reduce_ex__:
        return False
    return bool(one.__reduce_ex__(4)[1:] == ((kind,), None, None, None))


def is_container(answer: object) -> bool:
    """Whether a backend of a test answers with a copy of it; any other object may be one that the test looks at."""
    return isinstance(answer, (list, dict, set, bytearray))


def fresh_answer(answer: Any) -> Any:
    """What a backend of a test answers: a list, dict, set or bytearray is a new one for each call."""
    return fresh(answer) if is_container(answer) else answer


def copyable(constant: Any, rule: str, instead: str) -> Any:
    """The constant, if it can be copied.

    Args:
        constant: any object.
        rule: what is made of it, as the beginning of an error.
        instead: the right code, as its end.

    Raises:
        ChainDefinitionError: it can't be copied.
    """
    try:
        fresh(constant)
    except Exception as error:
        why = escape_nonprintable(str(error)) or type(error).__name__
        raise ChainDefinitionError(f"{rule}, and {short_repr(constant)} can't be copied ({why}); {instead}") from error
    return constant
