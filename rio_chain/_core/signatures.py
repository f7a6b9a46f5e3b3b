"""The signature of a function, and how many arguments it takes.

Python 3.14 evaluates annotations only when they are read, as ``inspect.signature`` does. That can raise any error, such
as a NameError for a name that is imported for type checkers only. rio_chain needs only the parameters, so it then reads
the signature without annotations.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import partial
from types import FunctionType, MethodType
from typing import Any

from attrs import frozen


@frozen
class Arity:
    """How many positional arguments a call takes, and whether it also needs keywords."""

    least: int = 0
    most: float = math.inf
    keywords: bool = False

    def takes(self, count: int) -> bool:
        """Whether it can be called with ``count`` positional arguments and nothing else."""
        return self.least <= count <= self.most and not self.keywords


ONE = Arity(1, 1)
ANYTHING = Arity()


def arity(fn: Callable[..., Any]) -> Arity:
    """How many arguments the callable itself takes, not a function that it wraps.

    If Python does not know, any number.
    """
    given = 0
    plain: object = fn
    if isinstance(fn, MethodType):
        plain, given = fn.__func__, 1
    if isinstance(plain, FunctionType):  # 20 times cheaper than inspect.signature
        code, needed = plain.__code__, plain.__code__.co_argcount - len(plain.__defaults__ or ())
        most = math.inf if code.co_flags & inspect.CO_VARARGS else code.co_argcount - given
        return Arity(max(0, needed - given), most, code.co_kwonlyargcount > len(plain.__kwdefaults__ or ()))
    signature = signature_of(fn)
    if signature is None:
        return ANYTHING
    positional = [p for p in signature.parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    endless = any(p.kind is p.VAR_POSITIONAL for p in signature.parameters.values())
    keywords = any(p.kind is p.KEYWORD_ONLY and p.default is p.empty for p in signature.parameters.values())
    least = sum(p.default is p.empty for p in positional)
    return Arity(least, math.inf if endless else len(positional), keywords)


def signature_of(fn: Callable[..., Any]) -> inspect.Signature | None:
    """The signature of the callable itself, or None if Python has none (some builtins).

    Args:
        fn: a function, a class, or another object that can be called.

    Example:
        >>> def fetch(user_id, verbose=False): ...
        >>> str(signature_of(fetch))
        '(user_id, verbose=False)'
    """
    try:
        return inspect.signature(fn, follow_wrapped=False)
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
        called = getattr(type(fn), "__call__", None)  # noqa: B004 - the function that a call runs
    inner = without_annotations(called) if isinstance(called, FunctionType) else None
    return None if inner is None else MethodType(inner, bound)
