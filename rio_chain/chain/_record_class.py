"""``fan_out(Page, user=a, shops=b)``: checks that the class takes these values, and makes the bridge that calls it."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Literal, NotRequired, Union, cast, get_args, get_origin, get_type_hints, is_typeddict

from attrs import frozen
from returns.result import Failure, Result, Success

from rio_chain._core.signatures import signature_of
from rio_chain._core.source_text import Wrapper, name_of
from rio_chain._core.units import escape_nonprintable, short_repr
from rio_chain.chain._functions import Filled, Reduce, Star, is_async, python_function
from rio_chain.chain._nodes import (
    Bridge,
    Choose,
    Constant,
    Each,
    FanOutNode,
    Handler,
    Kept,
    Named,
    Node,
    OrElse,
    RaceNode,
    Scope,
    Seq,
    TaskNode,
    Then,
    parts,
)
from rio_chain.chain._request import Request
from rio_chain.errors import ChainDefinitionError

MADE_BY_PYTHON = 1 << 9
"""The flag of a class made by a class statement, unlike ``int``, ``dict`` or ``Exception``."""
NUMBERS = ((int, float), (int, complex), (float, complex))
"""Pairs of number types of which type checkers accept the first in place of the second."""
RULE = "`fan_out` makes an object of a dataclass, a NamedTuple, a TypedDict or another class with named fields"


@frozen(repr=False)
class Record(Wrapper):
    """A class as a bridge: it takes the dict of a fan-out and makes an object."""

    fn: Callable[..., Any]

    def __call__(self, values: dict[str, Any], /) -> Any:
        """Make the object."""
        return self.fn(**values)


def record_bridge(cls: type[Any], branches: Sequence[tuple[str, Node]]) -> Bridge:
    """The bridge that makes an object of the class.

    Raises:
        ChainDefinitionError: a key is not a field of the class, a field without a default gets no value, or a branch
            returns a type that does not fit the annotation of its field.
    """
    name = name_of(cls)
    if not branches:
        raise ChainDefinitionError(f"`fan_out({name})` needs a branch for each field, as in fan_out({name}, user=user)")
    keys = [key for key, _ in branches]
    needed, known = _fields(cls)
    for key in keys:
        if known is not None and key not in known:
            raise ChainDefinitionError(
                f"`{name}` has no field {short_repr(key)}; its fields are {', '.join(map(escape_nonprintable, known))}"
            )
    missing = [field for field in needed if field not in keys]
    if missing:
        words = ", ".join(f"{escape_nonprintable(field)}=..." for field in missing)
        raise ChainDefinitionError(f"`fan_out({name}, ...)` gives no value to a field that needs one; add {words}")
    hints = _hints(cls)
    for key, node in branches:
        for given in _given(node):
            if key in hints and not _may_fit(given, hints[key]):
                raise ChainDefinitionError(
                    f"`{name}.{escape_nonprintable(key)}` is annotated {_text(hints[key])}, and its branch returns "
                    f"{_text(given)}"
                )
    return Bridge(Record(cls), name, is_async=False)


def is_record(node: Node) -> bool:
    """Whether it is the bridge of a ``fan_out(Page, ...)``."""
    return isinstance(node, Bridge) and isinstance(node.fn, Record)


def _fields(cls: type[Any]) -> tuple[list[str], list[str] | None]:
    """The fields that need a value, and all fields; None instead of the latter: any keyword is allowed."""
    if is_typeddict(cls):
        return _typed_dict_fields(cls)
    signature = signature_of(cls)
    if signature is None or not cls.__flags__ & MADE_BY_PYTHON:
        raise ChainDefinitionError(f"{RULE}; got {short_repr(cls)}")
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    fields = [one for one in signature.parameters.values() if one.kind in by_name]
    needed = [one.name for one in fields if one.default is one.empty]
    if any(one.kind is one.VAR_KEYWORD for one in signature.parameters.values()):
        return needed, None
    return needed, [one.name for one in fields]


def _typed_dict_fields(cls: Any) -> tuple[list[str], list[str]]:
    """The fields of a TypedDict. Python misses ``NotRequired`` in annotations that are strings, so it is read here."""
    hints = _evaluated(cls, include_extras=True)
    known = [*dict.fromkeys((*hints, *cls.__required_keys__, *cls.__optional_keys__))]
    marks = {key: get_origin(hints.get(key)) for key in known}
    needed = [key for key in known if marks[key] is not NotRequired and key in cls.__required_keys__]
    return needed if hints else [], known


# --- annotations --------------------------------------------------------------------------------------------------


def _hints(thing: object) -> dict[str, Any]:
    """The annotations that can be evaluated. Of a class those of its fields and of ``__init__``."""
    if isinstance(thing, type):
        return _evaluated(getattr(thing, "__init__", None)) | _evaluated(thing)
    return _evaluated(thing)


def _evaluated(thing: Any, *, include_extras: bool = False) -> dict[str, Any]:
    try:
        return get_type_hints(thing, include_extras=include_extras)
    except Exception:  # noqa: BLE001 - an annotation may raise anything
        return {}


def _given(node: Node) -> Iterator[Any]:
    """The types that the branch may return, if annotations say so; nothing if they don't."""
    if isinstance(node, (Scope, Named, Kept, RaceNode, Choose)):
        for part in parts(node):
            yield from _given(part)
    elif isinstance(node, (Then, Seq)):
        yield from _given(parts(node)[-1])
    elif isinstance(node, OrElse):
        yield from _given(node.primary)
        if isinstance(node.fallback, Constant):
            yield type(node.fallback.value)
        elif not isinstance(node.fallback, Handler):
            yield from _given(node.fallback)
    elif isinstance(node, Each):
        yield list
    elif isinstance(node, FanOutNode):
        yield tuple if node.keys is None else dict
    elif isinstance(node, (TaskNode, Bridge)):
        yield from _returned(node.fn)


def _returned(fn: object) -> Iterator[Any]:
    while isinstance(fn, (Filled, Star)):
        fn = fn.fn
    if isinstance(fn, Record):
        yield fn.fn
    elif isinstance(fn, type):
        yield fn
    elif not isinstance(fn, Reduce):
        function = python_function(fn)
        annotated = {} if function is None else _hints(function)
        if "return" in annotated:
            yield from _flattened(annotated["return"], awaited=is_async(cast("Any", fn)))


def _flattened(given: Any, *, awaited: bool) -> Iterator[Any]:
    """The type without a Result or Request around it, which a chain removes."""
    origin = get_origin(given) or given
    if not awaited and isinstance(origin, type) and hasattr(origin, "__await__") and origin is not Request:
        return  # a plain function that returns an awaitable
    if origin in (Result, Success, Request) and get_args(given):
        yield get_args(given)[0]
    elif origin not in (Result, Success, Failure, Request):
        yield given


def _may_fit(given: Any, wanted: Any) -> bool:
    """Whether a value of the type ``given`` may be one of the type ``wanted``. False only if it surely is not."""
    given, wanted = _plain(given), _plain(wanted)
    if get_origin(given) in (Union, types.UnionType):
        return all(_may_fit(one, wanted) for one in get_args(given))
    if get_origin(wanted) in (Union, types.UnionType):
        return any(_may_fit(given, one) for one in get_args(wanted))
    left, right = _class_of(given), _class_of(wanted)
    if left is None or right is None:
        return True
    try:
        fits = issubclass(left, right) or issubclass(right, left)  # a function may return more than it says
    except TypeError:  # a Protocol without runtime_checkable
        return True
    inner, asked = get_args(given), get_args(wanted)
    if fits and left is right and len(inner) == len(asked) and ... not in (*inner, *asked):
        return all(_may_fit(*both) for both in zip(inner, asked, strict=True))
    return fits or (left, right) in NUMBERS


def _class_of(annotation: Any) -> type[Any] | None:
    """The class behind an annotation; None if it may be anything."""
    origin: Any = dict if is_typeddict(annotation) else get_origin(annotation) or annotation
    return origin if isinstance(origin, type) and origin is not Any else None


def _plain(annotation: Any) -> Any:
    """An annotation without wrappers such as Annotated; a Literal becomes the union of its types."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif get_origin(annotation) is Literal:
            kinds: list[Any] = [type(value) for value in get_args(annotation)]
            return Union[tuple(kinds)]  # noqa: UP007 - of a tuple
        elif hasattr(annotation, "__supertype__"):
            annotation = annotation.__supertype__
        else:
            return type(None) if annotation is None else annotation


def _text(annotation: Any) -> str:
    return escape_nonprintable(
        annotation.__name__ if type(annotation) is type else repr(annotation).replace("typing.", "")
    )
