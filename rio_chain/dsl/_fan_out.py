"""fan_out and star: several chains with one input, and a function of several values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, TypeVarTuple, cast, overload

from rio_chain._core.source_text import name_of
from rio_chain._core.units import Duration, count, seconds, short_repr
from rio_chain.chain._bridge_checks import function
from rio_chain.chain._compose import branches as checked
from rio_chain.chain._compose import made
from rio_chain.chain._functions import Star
from rio_chain.chain._nodes import FanOutNode, Then
from rio_chain.chain._record_class import record_bridge
from rio_chain.chain._request import Request
from rio_chain.chain._validation import NO_NAMES
from rio_chain.dsl._chain import Chain, FanOut
from rio_chain.errors import ChainDefinitionError

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
F = TypeVar("F")
G = TypeVar("G")
H = TypeVar("H")
K = TypeVar("K")
L = TypeVar("L")
X = TypeVar("X")
Ts = TypeVarTuple("Ts")

Branch = Callable[[X], Request[A]]
"""A Task or Chain of one value."""


@overload
def fan_out(a: Branch[X, A], /) -> FanOut[[X], A]: ...
@overload
def fan_out(a: Branch[X, A], b: Branch[X, B], /) -> FanOut[[X], A, B]: ...
@overload
def fan_out(a: Branch[X, A], b: Branch[X, B], c: Branch[X, C], /) -> FanOut[[X], A, B, C]: ...
@overload
def fan_out(a: Branch[X, A], b: Branch[X, B], c: Branch[X, C], d: Branch[X, D], /) -> FanOut[[X], A, B, C, D]: ...
@overload
def fan_out(
    a: Branch[X, A], b: Branch[X, B], c: Branch[X, C], d: Branch[X, D], e: Branch[X, E], /
) -> FanOut[[X], A, B, C, D, E]: ...
@overload
def fan_out(
    a: Branch[X, A], b: Branch[X, B], c: Branch[X, C], d: Branch[X, D], e: Branch[X, E], f: Branch[X, F], /
) -> FanOut[[X], A, B, C, D, E, F]: ...
@overload
def fan_out(
    a: Branch[X, A],
    b: Branch[X, B],
    c: Branch[X, C],
    d: Branch[X, D],
    e: Branch[X, E],
    f: Branch[X, F],
    g: Branch[X, G],
    /,
) -> FanOut[[X], A, B, C, D, E, F, G]: ...
@overload
def fan_out(
    a: Branch[X, A],
    b: Branch[X, B],
    c: Branch[X, C],
    d: Branch[X, D],
    e: Branch[X, E],
    f: Branch[X, F],
    g: Branch[X, G],
    h: Branch[X, H],
    /,
) -> FanOut[[X], A, B, C, D, E, F, G, H]: ...
@overload
def fan_out(
    a: Branch[X, A],
    b: Branch[X, B],
    c: Branch[X, C],
    d: Branch[X, D],
    e: Branch[X, E],
    f: Branch[X, F],
    g: Branch[X, G],
    h: Branch[X, H],
    i: Branch[X, K],
    /,
) -> FanOut[[X], A, B, C, D, E, F, G, H, K]: ...
@overload
def fan_out(
    a: Branch[X, A],
    b: Branch[X, B],
    c: Branch[X, C],
    d: Branch[X, D],
    e: Branch[X, E],
    f: Branch[X, F],
    g: Branch[X, G],
    h: Branch[X, H],
    i: Branch[X, K],
    j: Branch[X, L],
    /,
) -> FanOut[[X], A, B, C, D, E, F, G, H, K, L]: ...
@overload
def fan_out(*branches: Branch[X, A]) -> Chain[[X], tuple[A, ...]]: ...
@overload
def fan_out(**branches: Branch[X, A]) -> Chain[[X], dict[str, A]]: ...
@overload
def fan_out(*branches: Branch[X, A], need: int, time_limit: Duration | None = ...) -> Chain[[X], tuple[A, ...]]: ...
@overload
def fan_out(*, need: int, time_limit: Duration | None = ..., **branches: Branch[X, A]) -> Chain[[X], dict[str, A]]: ...
@overload
def fan_out(into: type[A], /, **branches: Branch[X, Any]) -> Chain[[X], A]: ...
def fan_out(*branches: Any, need: Any = None, time_limit: Any = None, **named: Any) -> Any:
    """Give every branch the same input, run all branches together, and give all their values.

    ``fan_out(a, b)`` is ``a & b`` and gives a tuple. ``fan_out(user=a, shops=b)`` gives a dict.
    ``fan_out(Page, user=a, shops=b)`` gives a ``Page``: a dataclass, a NamedTuple, a TypedDict, or another class with
    fields of these names. When a branch fails, the other branches are stopped, and the whole fan-out fails with that
    error. To wait for all branches, use ``settle``.

    Type checkers know the types of up to ten branches; for more write ``a & b & ...``. They do not compare the branches
    with the fields of a class, but ``fan_out`` does so when you write the chain. In ``(a & b) >> star(Page)``, type
    checkers compare them too.

    Args:
        branches: Tasks and Chains, at most 1,000, either all with a key or all without. Or a class, followed by
            branches with keys.
        need: how many values are enough; default all. The result has the first ``need`` values, in the order of the
            branches; the other branches are cancelled and awaited. If too many fail, the whole fan-out fails with
            the first error.
        time_limit: milliseconds or a ``timedelta``; only with ``need``. Then it waits for all branches until this
            limit, and gives the values that have come: at least ``need``, else it fails with ``TaskTimedOut``. The
            branches that have not ended are cancelled. Default None.
        named: branches with a key.

    Raises:
        ChainDefinitionError: there is no branch, or more than 1,000; a branch is not a Task or Chain; branches are
            mixed with and without a key; ``need`` is not a whole number from 1 to the number of branches; the class has
            no field of such a name, needs another one, or has one of another type than its branch returns;
            ``time_limit`` is given without ``need``.

    Example:
        >>> from rio_chain import Task, fan_out
        >>> fan_out(size=Task(len), text=Task(str))
        fan_out(size=Task(len), text=Task(str))
    """
    if branches and isinstance(branches[0], type):
        return _record(cast("tuple[type[Any], ...]", branches), named, some=need is not None or time_limit is not None)
    if branches and named:
        raise ChainDefinitionError(
            "`fan_out` takes branches either all with a key (a dict) or all without (a tuple); got both"
        )
    nodes, names = checked(branches or tuple(named.values()), "`fan_out`")
    limit = None if time_limit is None else _time_limit(time_limit, need)
    enough = None if need is None else _enough(need, len(nodes), timed=limit is not None)
    if named or enough is not None:
        return made(Chain, FanOutNode(nodes, tuple(named) or None, need=enough, time_limit=limit), names)
    return made(FanOut, FanOutNode(nodes), names)


def _record(given: tuple[type[Any], ...], named: dict[str, object], *, some: bool) -> Any:
    """``fan_out(Page, user=a)``: the dict, followed by the bridge that makes a Page of it."""
    cls, name = given[0], name_of(given[0])
    if len(given) > 1:
        raise ChainDefinitionError(
            f"after a class `fan_out` takes branches by the names of its fields, as in fan_out({name}, user=user); "
            f"by their order write (a & b) >> star({name})"
        )
    if some:
        raise ChainDefinitionError(
            f"`need` and `time_limit` give only some of the values, and `{name}` needs all of them"
        )
    nodes, names = checked(tuple(named.values()), "`fan_out`") if named else ((), NO_NAMES)
    bridge = record_bridge(cls, list(zip(named, nodes, strict=True)))
    return made(Chain, Then(FanOutNode(nodes, tuple(named)), bridge), names)


def _time_limit(given: object, need: object) -> float:
    if isinstance(given, Chain):
        raise ChainDefinitionError("`time_limit` is a duration, and can't be a key; got a Chain")
    limit = seconds(given, "time_limit")
    if need is None:
        right = f"fan_out(..., need=1, time_limit={short_repr(given)})"
        raise ChainDefinitionError(
            f"`time_limit` gives the values that have come by then, and `need` says how many must have come: write "
            f"{right}; to fail when one is late write .timeout({short_repr(given)})"
        )
    return limit


def _enough(need: object, width: int, *, timed: bool) -> int | None:
    if isinstance(need, Chain):
        raise ChainDefinitionError("`need` is how many branches are enough, and can't be a key; got a Chain")
    enough = count(need, "need", least=1)
    if enough > width:
        raise ChainDefinitionError(f"`need` must be at most {width}, as there are no more branches; got {enough}")
    return None if enough == width and not timed else enough


def star(fn: Callable[[*Ts], B], /) -> Callable[[tuple[*Ts]], B]:
    """Turn a function of several arguments into a function of one tuple, for use after a fan-out.

    It has the name of ``fn``. It is async, and can be pickled, if ``fn`` is and can.

    Raises:
        ChainDefinitionError: ``fn`` is not a function that a chain can call.

    Example:
        >>> from rio_chain import Task, star
        >>> (Task(len) & Task(str)) >> star(max)
        (Task(len) & Task(str)) >> star(max)
    """
    return Star(function(fn, "`star` takes a function"))
