"""What can be known of a user's function before it is called: its kind, its name, how many arguments it takes."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Iterable
from enum import Enum
from types import CodeType, FunctionType, MethodType
from typing import Any, ClassVar, cast

from attrs import field, frozen

from rio_chain._core.chain_base import not_a_chain
from rio_chain._core.copied_constants import fresh
from rio_chain._core.signatures import signature_of
from rio_chain._core.source_text import Wrapper, constant_source, name_of, wrapped
from rio_chain._core.units import escape_nonprintable, short_repr
from rio_chain.chain._nodes import Bridge, Handler, Head, TaskNode
from rio_chain.errors import ChainDefinitionError

_COROUTINE = inspect.CO_COROUTINE | inspect.CO_ITERABLE_COROUTINE
_GENERATOR = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR


@frozen(repr=False)
class Star(Wrapper):
    """``star(fn)``: one tuple in, spread over the arguments of ``fn``."""

    form: ClassVar[str] = "star({})"

    fn: Callable[..., Any] = field(hash=False)

    def __call__(self, values: Any, /) -> Any:
        """Call the function with the values."""
        return self.fn(*values)

    def __repr__(self) -> str:
        return f"star({name_of(self.fn)})"


@frozen(repr=False)
class Filled(Wrapper):
    """A function some of whose parameters are filled by ``.using``: one value in, for the first that is left."""

    fn: Callable[..., Any] = field(hash=False)
    first: str | None  # the parameter that gets the value, by name; "": the first of all; None: none is left

    def __call__(self, value: Any, /, **used: Any) -> Any:
        """Call the function with the value and what was used."""
        if self.first is None:
            return self.fn(**used)
        return self.fn(value, **used) if not self.first else self.fn(**{self.first: value}, **used)


@frozen(repr=False)
class StandIn(Wrapper):
    """A function in the place of another one: called, named and checked as that is."""

    fn: Callable[..., Any] = field(hash=False)
    original: Callable[..., Any] = field(hash=False)

    @property
    def named_after(self) -> object:
        """That of the other one."""
        return self.original

    @property
    def __signature__(self) -> inspect.Signature | None:
        """That of the other one."""
        return signature_of(self.original)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return self.fn(*args, **kwargs)


class Missing(Enum):
    """Stands for what was not given; there is one of it, also after pickling."""

    MISSING = "nothing"


MISSING: Any = Missing.MISSING


@frozen(repr=False)
class Reduce(Wrapper):
    """``reduce(fn, initial)``: folds what is handed on, from the first to the last, into one value."""

    form: ClassVar[str] = "reduce({})"

    fn: Callable[[Any, Any], Any] = field(hash=False)
    initial: Any = field(default=MISSING, hash=False)

    def source(self, name: str) -> str:
        """The source of it, given the name of the function."""
        return (
            super().source(name)
            if self.initial is MISSING
            else f"reduce({name}, initial={constant_source(self.initial)})"
        )

    def start(self) -> Any:
        """What the folding begins with."""
        return fresh(self.initial)

    def fold(self, total: Any, value: Any) -> Any:
        """The total with one value more."""
        return value if total is MISSING else self.fn(total, value)

    def result(self, total: Any) -> Any:
        """The total of all.

        Raises:
            TypeError: there was nothing to fold, and nothing to begin with.
        """
        if total is MISSING:
            raise TypeError("reduce() of no values, without an initial one")
        return total

    def __call__(self, values: Any, /) -> Any:
        """Fold the values; of a dict those that its keys stand for."""
        total = self.start()
        several: Iterable[Any] = values.values() if isinstance(cast("object", values), dict) else values
        for value in several:
            total = self.fold(total, value)
        return self.result(total)

    def __repr__(self) -> str:
        return f"reduce({name_of(self.fn)})"


def is_async(fn: Callable[..., Any]) -> bool:
    """Whether calling it gives something to await: an ``async def``, or an object whose ``__call__`` is one."""
    code = code_of(fn)
    if code is not None and code.co_flags & _COROUTINE:
        return True
    # what asyncio.iscoroutinefunction would see (an AsyncMock, say), without importing asyncio
    marker = getattr(sys.modules.get("asyncio.coroutines"), "_is_coroutine", None)
    return marker is not None and getattr(fn, "_is_coroutine", None) is marker


def python_function(fn: object) -> FunctionType | None:
    """The Python function that runs when it is called, as far as that can be found without a guess."""
    while (inner := fn.__func__ if isinstance(fn, MethodType) else wrapped(fn)) is not None:
        fn = inner
    if not isinstance(fn, (FunctionType, type)):
        fn = getattr(type(fn), "__call__", None)  # noqa: B004 - its code is wanted, not whether there is one
    return fn if isinstance(fn, FunctionType) else None


def code_of(fn: object) -> CodeType | None:
    """The code that runs when it is called, as far as that is Python code that can be found without a guess."""
    found = python_function(fn)
    return None if found is None else found.__code__


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
    if isinstance(fn, (Star, Filled, Reduce)):
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


def written(fn: Callable[..., Any]) -> str:
    """``fetch_user(user_id, verbose=False)``: name and parameters, for messages."""
    signature = signature_of(fn.fn if isinstance(fn, Filled) else fn)
    if signature is None:
        return f"{name_of(fn)}(...)"
    bare = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    text = escape_nonprintable(str(inspect.Signature(bare)))
    return name_of(fn) + (text if len(text) <= 100 else "(...)")  # noqa: PLR2004 - a line


@frozen
class ChainSignature:
    """How a chain is called: what its first functions take, all of which get the same arguments."""

    heads: tuple[Head, ...]
    least: int
    most: float
    keywords: bool

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Check arguments as the call itself would.

        Raises:
            ChainDefinitionError: they don't fit; the text names the function and its parameters.
        """
        for head in self.heads:
            if isinstance(head, Handler):
                self._bind_handler(head, args, kwargs)
                continue
            if not isinstance(head, (TaskNode, Bridge)):
                if len(args) != 1 or kwargs:
                    got = f"{len(args)} positional" + "".join(f", {escape_nonprintable(key)}=" for key in kwargs)
                    raise ChainDefinitionError(
                        f"`{begins(head)}` is where this chain begins: it takes one value; got {got}"
                    )
                continue
            signature = signature_of(head.fn)
            if signature is None:
                continue
            try:
                signature.bind(*args, **kwargs)
            except TypeError as error:
                got = f"{len(args)} positional" + "".join(f", {escape_nonprintable(key)}=" for key in kwargs)
                raise ChainDefinitionError(
                    f"`{written(head.fn)}` is where this chain begins, and it can't be called like that: "
                    f"{escape_nonprintable(str(error))}; got {got}"
                ) from None

    def _bind_handler(self, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        signature = signature_of(handler.fn)
        try:
            if signature is not None:
                signature.bind(None, *args, **kwargs)  # None: the error
        except TypeError as error:
            got = f"{len(args)} positional" + "".join(f", {escape_nonprintable(key)}=" for key in kwargs)
            raise ChainDefinitionError(
                f"`or_else` hands `{written(handler.fn)}` the error and the arguments of the chain, and it can't be "
                f"called with these: {escape_nonprintable(str(error))}; got {got}"
            ) from None

    def signature(self) -> inspect.Signature | None:
        """How it is called, for who looks before calling; None where Python knows no signature."""
        several = [_signature_of_head(head) for head in self.heads]
        first = several[0]
        if first is None:
            return None
        if all(other is not None and [*other.parameters] == [*first.parameters] for other in several):
            return first
        # branches that call the value by different names: only its place counts
        return first.replace(parameters=[_by_place(parameter) for parameter in first.parameters.values()])


def _signature_of_head(head: Head) -> inspect.Signature | None:
    if isinstance(head, (TaskNode, Bridge)):
        return signature_of(head.fn)
    if isinstance(head, Handler):
        found = signature_of(head.fn)
        after_the_error = [] if found is None else [*found.parameters.values()][1:]
        return None if found is None else found.replace(parameters=after_the_error)
    return inspect.Signature([inspect.Parameter("value", inspect.Parameter.POSITIONAL_ONLY)])


def _by_place(parameter: inspect.Parameter) -> inspect.Parameter:
    named = parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    return parameter.replace(kind=parameter.POSITIONAL_ONLY) if named else parameter


def begins(head: Head) -> str:
    """What a chain begins with, and what that takes, for messages."""
    return written(head.fn) if isinstance(head, (TaskNode, Bridge, Handler)) else f"{type(head).__name__.lower()}(...)"


def signature_of_heads(found: tuple[Head, ...]) -> ChainSignature:
    """The ChainSignature of a chain that begins with these."""
    all_of = [_arity_of_head(head) for head in found]
    least, most = max(a.least for a in all_of), min(a.most for a in all_of)
    return ChainSignature(found, least, most, any(a.keywords for a in all_of))


def _arity_of_head(head: Head) -> Arity:
    if isinstance(head, Handler):
        accepts = arity(head.fn)
        return Arity(max(0, accepts.least - 1), accepts.most - 1, accepts.keywords)
    return arity(head.fn) if isinstance(head, (TaskNode, Bridge)) else ONE


def gets_input(fn: Callable[..., Any], primary: ChainSignature) -> bool:
    """Whether a fallback needs more than the error: what the primary is called with, after the error.

    Raises:
        ChainDefinitionError: it can't be called with the error alone, nor with both.
    """
    accepts = arity(fn)
    if accepts.takes(1):
        return False
    least, most = max(primary.least, accepts.least - 1, 1), min(primary.most, accepts.most - 1)
    if primary.keywords or (least <= most and not accepts.keywords):
        return True
    name = name_of(fn) if name_of(fn).isidentifier() and name_of(fn) != "lambda" else "instead"
    raise ChainDefinitionError(
        f"`or_else` hands a function the error, and `{written(fn)}` can't be called with that alone, nor with the "
        f"error and the input: write def {name}(error) or def {name}(error, value)"
    )


def filled(fn: Callable[..., Any], used: tuple[str, ...]) -> Filled:
    """The function with these parameters filled by keyword.

    Raises:
        ChainDefinitionError: it has no parameter of that name, or what is left can't be called with one value.
    """
    if isinstance(fn, (Star, Reduce)):
        raise ChainDefinitionError(
            f"`.using` names parameters, and `{name_of(fn)}` gets all its arguments from one value; write a function "
            f"of that value and of the keywords: def {name_of(fn)}(values, *, user)"
        )
    signature = signature_of(fn)
    if signature is None:
        return Filled(fn, "")
    free = [p for p in signature.parameters.values() if p.name not in used]
    if not any(p.kind is p.VAR_KEYWORD for p in free):
        by_name = [p.name for p in signature.parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        for name in used:
            if name not in by_name:
                raise ChainDefinitionError(f"`.using({name}=...)` names no parameter of `{written(fn)}`")
    needed = [p for p in free if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    positional = [p for p in free if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL)]
    if len(needed) > 1 or (needed and needed[0] not in positional[:1]):
        left = ", ".join(p.name for p in needed)
        raise ChainDefinitionError(
            f"`>>` hands on one value, and `{written(fn)}` needs more besides what `.using` gives it: {left}"
        )
    if not positional:
        return Filled(fn, None)
    begins_with = next(iter(signature.parameters.values()))
    first = positional[0]
    return Filled(fn, "" if first is begins_with or first.kind is not first.POSITIONAL_OR_KEYWORD else first.name)


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


def function(value: object, rule: str, *, generators: bool = False) -> Callable[..., Any]:
    """The value, if it is a function that a chain can call; else an error that begins with ``rule``.

    Raises:
        ChainDefinitionError: it is a coroutine, something to await, not callable, or a generator function.
    """
    if not callable(value):
        raise ChainDefinitionError(f"{rule}; got {not_a_function(value)}")
    not_a_chain(value, rule)
    if not generators and is_generator(value):
        raise ChainDefinitionError(
            f"{rule}; got the generator function `{name_of(value)}`: it yields many values and a chain hands on one; "
            f"return a list instead"
        )
    return value


def is_generator(fn: object) -> bool:
    """Whether calling it gives a generator, plain or async."""
    code = code_of(fn)
    return code is not None and bool(code.co_flags & _GENERATOR)


def not_a_function(value: object) -> str:
    """What it is, and for the common slips what to write instead. A coroutine is closed, as nobody will await it."""
    if inspect.iscoroutine(value):
        name = escape_nonprintable(value.__name__)
        value.close()
        return f"a coroutine, as `{name}` was called: write Task({name}), not Task({name}(...))"
    if inspect.isgenerator(value) or inspect.isasyncgen(value):
        return (
            f"a generator, as `{escape_nonprintable(value.__name__)}` was called: "
            "a chain calls functions that return one value"
        )
    if inspect.isawaitable(value):
        return f"{short_repr(value)}, which is something to await: give the function itself, without calling it"
    return short_repr(value)
