"""What is known about a user's function before it is called: its kind, its name, and the arguments it takes."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable
from enum import Enum
from types import CodeType, FunctionType, MethodType
from typing import Any, ClassVar, cast

from attrs import field, frozen

from rio_chain._core.copied_constants import fresh
from rio_chain._core.signatures import signature_of
from rio_chain._core.source_text import Wrapper, constant_source, name_of, wrapped
from rio_chain._core.units import escape_nonprintable
from rio_chain.errors import ChainDefinitionError

_COROUTINE = inspect.CO_COROUTINE | inspect.CO_ITERABLE_COROUTINE
_GENERATOR = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR


@frozen(repr=False)
class Star(Wrapper):
    """``star(fn)``: takes one tuple and spreads it over the arguments of ``fn``."""

    form: ClassVar[str] = "star({})"

    fn: Callable[..., Any] = field(hash=False)

    def __call__(self, values: Any, /) -> Any:
        """Call the function with the values."""
        return self.fn(*values)

    def __repr__(self) -> str:
        return f"star({name_of(self.fn)})"


@frozen(repr=False)
class Filled(Wrapper):
    """A function with some parameters filled by ``.using``.

    It takes one value, for the first parameter that is left.
    """

    fn: Callable[..., Any] = field(hash=False)
    first: str | None  # the name of the parameter for the value; "": the first parameter; None: no parameter is left

    def __call__(self, value: Any, /, **used: Any) -> Any:
        """Call the function with the value and the keyword inputs."""
        if self.first is None:
            return self.fn(**used)
        return self.fn(value, **used) if not self.first else self.fn(**{self.first: value}, **used)


@frozen(repr=False)
class StandIn(Wrapper):
    """A function that replaces another one, and has its name and signature."""

    fn: Callable[..., Any] = field(hash=False)
    original: Callable[..., Any] = field(hash=False)

    @property
    def named_after(self) -> object:
        """The replaced function."""
        return self.original

    @property
    def __signature__(self) -> inspect.Signature | None:
        """That of the replaced function."""
        return signature_of(self.original)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return self.fn(*args, **kwargs)


class Missing(Enum):
    """The marker for an argument that was not given. Pickling keeps its identity."""

    MISSING = "nothing"


MISSING: Any = Missing.MISSING


@frozen(repr=False)
class Reduce(Wrapper):
    """``reduce(fn, initial)``: folds several values into one, from the first to the last."""

    form: ClassVar[str] = "reduce({})"

    fn: Callable[[Any, Any], Any] = field(hash=False)
    initial: Any = field(default=MISSING, hash=False)

    def source(self, name: str) -> str:
        """Its source code, given the name of the function."""
        return (
            super().source(name)
            if self.initial is MISSING
            else f"reduce({name}, initial={constant_source(self.initial)})"
        )

    def start(self) -> Any:
        """The total before the first value."""
        return fresh(self.initial)

    def fold(self, total: Any, value: Any) -> Any:
        """The total after one more value."""
        return value if total is MISSING else self.fn(total, value)

    def result(self, total: Any) -> Any:
        """The final total.

        Raises:
            TypeError: there were no values, and no ``initial``.
        """
        if total is MISSING:
            raise TypeError("reduce() of no values, without an initial one")
        return total

    def __call__(self, values: Any, /) -> Any:
        """Fold the values. Of a dict it folds the values, not the keys."""
        total = self.start()
        several: Iterable[Any] = values.values() if isinstance(cast("object", values), dict) else values
        for value in several:
            total = self.fold(total, value)
        return self.result(total)

    def __repr__(self) -> str:
        return f"reduce({name_of(self.fn)})"


def is_async(fn: Callable[..., Any]) -> bool:
    """Whether a call of it returns an awaitable: it is an ``async def``, or an object whose ``__call__`` is one."""
    code = code_of(fn)
    if code is not None and code.co_flags & _COROUTINE:
        return True
    # finds what asyncio.iscoroutinefunction finds (such as an AsyncMock), without importing asyncio
    marker = getattr(sys.modules.get("asyncio.coroutines"), "_is_coroutine", None)
    return marker is not None and getattr(fn, "_is_coroutine", None) is marker


def python_function(fn: object) -> FunctionType | None:
    """The Python function that runs when it is called, if that can be known for sure."""
    while (inner := fn.__func__ if isinstance(fn, MethodType) else wrapped(fn)) is not None:
        fn = inner
    if not isinstance(fn, (FunctionType, type)):
        fn = getattr(type(fn), "__call__", None)  # noqa: B004 - to read its code, not to test whether it is callable
    return fn if isinstance(fn, FunctionType) else None


def code_of(fn: object) -> CodeType | None:
    """The code that runs when it is called, if that is Python code and can be known for sure."""
    found = python_function(fn)
    return None if found is None else found.__code__


# --- arguments --------------------------------------------------------------------------------------------------


def written(fn: Callable[..., Any]) -> str:
    """A function with its parameters, for messages: ``fetch_user(user_id, verbose=False)``."""
    signature = signature_of(fn.fn if isinstance(fn, Filled) else fn)
    if signature is None:
        return f"{name_of(fn)}(...)"
    bare = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    text = escape_nonprintable(str(inspect.Signature(bare)))
    return name_of(fn) + (text if len(text) <= 100 else "(...)")  # noqa: PLR2004 - a line


def filled(fn: Callable[..., Any], used: tuple[str, ...]) -> Filled:
    """The function with these parameters filled by keyword.

    Raises:
        ChainDefinitionError: it has no parameter of that name, or it can't be called with one value for the rest.
    """
    if isinstance(fn, (Star, Reduce)):
        raise ChainDefinitionError(
            f"`.using` fills parameters by name, and `{name_of(fn)}` gets all its arguments from one value; write a "
            f"function of that value and of the keywords: def {name_of(fn)}(values, *, user)"
        )
    signature = signature_of(fn)
    if signature is None:
        return Filled(fn, "")
    free = [p for p in signature.parameters.values() if p.name not in used]
    if not any(p.kind is p.VAR_KEYWORD for p in free):
        by_name = [p.name for p in signature.parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        for name in used:
            if name not in by_name:
                hint = _near_miss(name, [key for key in by_name if key not in used])
                raise ChainDefinitionError(
                    f"`{written(fn)}` takes no keyword argument `{name}`, which `.using({name}=...)` gives it{hint}"
                )
    needed = [p for p in free if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    positional = [p for p in free if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL)]
    if len(needed) > 1 or (needed and needed[0] not in positional[:1]):
        left = ", ".join(p.name for p in needed)
        raise ChainDefinitionError(
            f"`>>` passes one value, and `{written(fn)}` needs more than that and what `.using` gives: {left}"
        )
    if not positional:
        return Filled(fn, None)
    begins_with = next(iter(signature.parameters.values()))
    first = positional[0]
    return Filled(fn, "" if first is begins_with or first.kind is not first.POSITIONAL_OR_KEYWORD else first.name)


def _near_miss(name: str, names: list[str]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - only an error needs it

    near = get_close_matches(name, names, n=1)
    return f"; did you mean `.using({escape_nonprintable(near[0])}=...)`?" if near else ""


def is_generator(fn: object) -> bool:
    """Whether a call of it returns a generator, sync or async."""
    code = code_of(fn)
    return code is not None and bool(code.co_flags & _GENERATOR)
