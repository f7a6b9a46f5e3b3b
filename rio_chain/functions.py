"""What can be known of a user's function before it is called: its kind, its name, how many arguments it takes."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable
from functools import partial
from types import CodeType, FunctionType, MethodType
from typing import Any

from attrs import field, frozen

from rio_chain.errors import ChainDefinitionError
from rio_chain.nodes import Bridge, Call
from rio_chain.units import inert, shown

_COROUTINE = inspect.CO_COROUTINE | inspect.CO_ITERABLE_COROUTINE
_GENERATOR = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR


@frozen(repr=False)
class Star:
    """``star(fn)``: one tuple in, spread over the arguments of ``fn``."""

    fn: Callable[..., Any] = field(hash=False)

    def __call__(self, values: Any, /) -> Any:
        """Call the function with the values."""
        return self.fn(*values)

    def __repr__(self) -> str:
        return f"star({name_of(self.fn)})"


def name_of(fn: object) -> str:
    """The name a function shows under: its own, that of what a ``partial`` wraps, of a callable object its type's."""
    while isinstance(fn, (partial, Star)):
        fn = fn.func if isinstance(fn, partial) else fn.fn
    name = getattr(fn, "__name__", None)
    if not isinstance(name, str) or not name:
        name = type(fn).__name__
    return "lambda" if name == "<lambda>" else inert(name)


def is_async(fn: Callable[..., Any]) -> bool:
    """Whether calling it gives something to await: an ``async def``, or an object whose ``__call__`` is one."""
    code = _code(fn)
    if code is not None and code.co_flags & _COROUTINE:
        return True
    # what asyncio.iscoroutinefunction would see (an AsyncMock, say), without importing asyncio
    marker = getattr(sys.modules.get("asyncio.coroutines"), "_is_coroutine", None)
    return marker is not None and getattr(fn, "_is_coroutine", None) is marker


def _code(fn: object) -> CodeType | None:
    """The code that runs when it is called, as far as that is Python code that can be found without a guess."""
    while isinstance(fn, (partial, Star, MethodType)):
        fn = fn.func if isinstance(fn, partial) else fn.fn if isinstance(fn, Star) else fn.__func__
    if not isinstance(fn, (FunctionType, type)):
        fn = getattr(type(fn), "__call__", None)  # noqa: B004 - its code is wanted, not whether there is one
    return fn.__code__ if isinstance(fn, FunctionType) else None


# --- arguments --------------------------------------------------------------------------------------------------


@frozen
class Arity:
    """How many positional arguments a call takes, and whether it also needs keywords."""

    least: int = 0
    most: float = math.inf
    keywords: bool = False

    def takes(self, count: int) -> bool:
        """Whether that many positional arguments, and nothing else, make a call."""
        return self.least <= count <= self.most and not self.keywords


ONE = Arity(1, 1)
ANYTHING = Arity()


def arity(fn: Callable[..., Any]) -> Arity:
    """Judged by what is really called, not by what it wraps. A builtin that tells nothing takes anything."""
    if isinstance(fn, Star):
        return ONE
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
    """The signature of the call itself, or None where Python knows none (some builtins)."""
    try:
        return inspect.signature(fn, follow_wrapped=False)
    except (ValueError, TypeError):
        return None


def written(fn: Callable[..., Any]) -> str:
    """``fetch_user(user_id, verbose=False)``: name and parameters, for messages."""
    signature = signature_of(fn)
    if signature is None:
        return f"{name_of(fn)}(...)"
    bare = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    text = inert(str(inspect.Signature(bare)))
    return name_of(fn) + (text if len(text) <= 100 else "(...)")  # noqa: PLR2004 - a line


@frozen
class Entry:
    """How a chain is called: what its first functions take, all of which get the same arguments."""

    heads: tuple[Call | Bridge, ...]
    least: int
    most: float
    keywords: bool

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Check arguments as the call itself would.

        Raises:
            ChainDefinitionError: they don't fit; the text names the function and its parameters.
        """
        for head in self.heads:
            signature = signature_of(head.fn)
            if signature is None:
                continue
            try:
                signature.bind(*args, **kwargs)
            except TypeError as error:
                got = f"{len(args)} positional" + "".join(f", {inert(key)}=" for key in kwargs)
                raise ChainDefinitionError(
                    f"`{written(head.fn)}` is where this chain begins, and it can't be called like that: "
                    f"{inert(str(error))}; got {got}"
                ) from None


def entry_of(found: tuple[Call | Bridge, ...]) -> Entry:
    """The Entry of a chain that begins with these."""
    all_of = [arity(head.fn) for head in found]
    least, most = max(a.least for a in all_of), min(a.most for a in all_of)
    return Entry(found, least, most, any(a.keywords for a in all_of))


def takes_one(fn: Callable[..., Any], rule: str) -> None:
    """Refuse a function that can't be called with exactly one positional argument."""
    accepts = arity(fn)
    if accepts.takes(1):
        return
    hint = ""
    if accepts.least > 1 and not accepts.keywords:
        hint = f"; to spread a tuple over its arguments write star({name_of(fn)})"
    raise ChainDefinitionError(f"{rule}, and `{written(fn)}` can't be called with just one argument{hint}")


# --- what may stand where a function is wanted ------------------------------------------------------------------


def function(value: object, rule: str) -> Callable[..., Any]:
    """The value, if it is a function that a chain can call; else an error that begins with ``rule``.

    Raises:
        ChainDefinitionError: it is a coroutine, something to await, not callable, or a generator function.
    """
    if not callable(value):
        raise ChainDefinitionError(f"{rule}; got {not_a_function(value)}")
    code = _code(value)
    if code is not None and code.co_flags & _GENERATOR:
        raise ChainDefinitionError(
            f"{rule}; got the generator function `{name_of(value)}`: it yields many values and a chain hands on one; "
            f"return a list instead"
        )
    return value


def not_a_function(value: object) -> str:
    """What it is, and for the common slips what to write instead. A coroutine is closed, as nobody will await it."""
    if inspect.iscoroutine(value):
        name = inert(value.__name__)
        value.close()
        return f"a coroutine, as `{name}` was called: write Task({name}), not Task({name}(...))"
    if inspect.isgenerator(value) or inspect.isasyncgen(value):
        return f"a generator, as `{inert(value.__name__)}` was called: a chain calls functions that return one value"
    if inspect.isawaitable(value):
        return f"{shown(value)}, which is something to await: give the function itself, without calling it"
    return shown(value)
