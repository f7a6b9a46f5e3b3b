"""The signature of a function, also of one whose annotations can't be evaluated.

Python 3.14 evaluates annotations when somebody asks for them, as ``inspect.signature`` does. That raises whatever the
annotation raises: a NameError for a name that is imported for type checkers only. A signature is needed here for its
parameters alone, so the annotations are then left out.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from types import FunctionType, MethodType
from typing import Any


def signature_of(fn: Callable[..., Any], *, follow_wrapped: bool = False) -> inspect.Signature | None:
    """The signature of the call itself, or None where Python knows none (some builtins).

    Args:
        fn: a function, a class, or another object that can be called.
        follow_wrapped: whether to give that of the function that a decorator has wrapped.

    Example:
        >>> def fetch(user_id, verbose=False): ...
        >>> str(signature_of(fetch))
        '(user_id, verbose=False)'
    """
    try:
        return inspect.signature(fn, follow_wrapped=follow_wrapped)
    except Exception:  # noqa: BLE001 - an annotation may raise anything
        bare = without_annotations(fn)
    if bare is None:
        return None
    try:
        return inspect.signature(bare)
    except (ValueError, TypeError):  # a method without parameters
        return None


def without_annotations(fn: object) -> Callable[..., Any] | None:
    """A function with the same parameters and no annotations; None where ``fn`` does not call Python code."""
    if isinstance(fn, FunctionType):
        bare = FunctionType(fn.__code__, fn.__globals__, fn.__name__, fn.__defaults__, fn.__closure__)
        bare.__kwdefaults__ = fn.__kwdefaults__
        return bare
    if isinstance(fn, partial):
        inner = without_annotations(fn.func)
        return None if inner is None else partial(inner, *fn.args, **fn.keywords)
    called: object
    bound: object = fn
    if isinstance(fn, MethodType):
        called, bound = fn.__func__, fn.__self__
    elif isinstance(fn, type):
        called = getattr(fn, "__init__", None)
    else:
        called = getattr(type(fn), "__call__", None)  # noqa: B004 - what runs when it is called
    inner = without_annotations(called) if isinstance(called, FunctionType) else None
    return None if inner is None else MethodType(inner, bound)
