"""fan_out, settle, race and star: several chains on one input, and one function on several values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, TypeVarTuple, overload

from returns.result import Result

from rio_chain._core.units import count
from rio_chain.chain._bridge_checks import function
from rio_chain.chain._compose import branches as checked
from rio_chain.chain._compose import made, raced
from rio_chain.chain._functions import Star
from rio_chain.chain._nodes import FanOutNode, RaceNode
from rio_chain.chain._request import Request
from rio_chain.chain._validation import FIRST
from rio_chain.chain._validation import pick as checked_pick
from rio_chain.dsl._chain import Chain, FanOut
from rio_chain.errors import ChainDefinitionError
from rio_chain.policies import Chooser

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
X = TypeVar("X")
Ts = TypeVarTuple("Ts")


@overload
def fan_out(a: Callable[[X], Request[A]], /) -> FanOut[[X], A]: ...
@overload
def fan_out(a: Callable[[X], Request[A]], b: Callable[[X], Request[B]], /) -> FanOut[[X], A, B]: ...
@overload
def fan_out(
    a: Callable[[X], Request[A]], b: Callable[[X], Request[B]], c: Callable[[X], Request[C]], /
) -> FanOut[[X], A, B, C]: ...
@overload
def fan_out(
    a: Callable[[X], Request[A]],
    b: Callable[[X], Request[B]],
    c: Callable[[X], Request[C]],
    d: Callable[[X], Request[D]],
    /,
) -> FanOut[[X], A, B, C, D]: ...
@overload
def fan_out(
    a: Callable[[X], Request[A]],
    b: Callable[[X], Request[B]],
    c: Callable[[X], Request[C]],
    d: Callable[[X], Request[D]],
    e: Callable[[X], Request[E]],
    /,
) -> FanOut[[X], A, B, C, D, E]: ...
@overload
def fan_out(*branches: Callable[[X], Request[A]]) -> Chain[[X], tuple[A, ...]]: ...
@overload
def fan_out(**branches: Callable[[X], Request[A]]) -> Chain[[X], dict[str, A]]: ...
@overload
def fan_out(*branches: Callable[[X], Request[A]], need: int) -> Chain[[X], tuple[A, ...]]: ...
@overload
def fan_out(*, need: int, **branches: Callable[[X], Request[A]]) -> Chain[[X], dict[str, A]]: ...
def fan_out(*branches: Any, need: Any = None, **named: Any) -> Any:
    """Give every branch the same input, run them together, and hand on all their values.

    ``fan_out(a, b)`` is ``a & b`` and hands on a tuple; ``fan_out(user=a, shops=b)`` hands on a dict. The first
    failure stops the other branches and is the failure of the whole; to lose nothing see ``settle``.

    Args:
        branches: Tasks and Chains, all with a key or all without.
        need: how many values are enough; default all. The first ``need`` that come are handed on, in the order of the
            branches; the rest is cancelled and awaited. When too many have failed, the first failure is that of the
            whole.
        named: branches with a key.

    Raises:
        ChainDefinitionError: no branch, one that is not a Task or Chain, branches with and without a key, or a
            ``need`` that is no whole number from 1 to the number of branches.

    Example:
        >>> from rio_chain import Task, fan_out
        >>> fan_out(size=Task(len), text=Task(str))
        fan_out(size=Task(len), text=Task(str))
    """
    if branches and named:
        raise ChainDefinitionError(
            "`fan_out` takes branches either all with a key (a dict) or all without (a tuple); got both"
        )
    nodes, names = checked(branches or tuple(named.values()), "`fan_out`")
    enough = None if need is None else _enough(need, len(nodes))
    if named or enough is not None:
        return made(Chain, FanOutNode(nodes, tuple(named) or None, need=enough), names)
    return made(FanOut, FanOutNode(nodes), names)


def _enough(need: object, width: int) -> int | None:
    if isinstance(need, Chain):
        raise ChainDefinitionError("`need` is how many branches are enough, and can't be the key of one; got a Chain")
    enough = count(need, "need", least=1)
    if enough > width:
        raise ChainDefinitionError(f"`need` must be at most {width}, as there are no more branches; got {enough}")
    return None if enough == width else enough


@overload
def settle(a: Callable[[X], Request[A]], /) -> Chain[[X], tuple[Result[A, Any]]]: ...
@overload
def settle(
    a: Callable[[X], Request[A]], b: Callable[[X], Request[B]], /
) -> Chain[[X], tuple[Result[A, Any], Result[B, Any]]]: ...
@overload
def settle(
    a: Callable[[X], Request[A]], b: Callable[[X], Request[B]], c: Callable[[X], Request[C]], /
) -> Chain[[X], tuple[Result[A, Any], Result[B, Any], Result[C, Any]]]: ...
@overload
def settle(
    a: Callable[[X], Request[A]],
    b: Callable[[X], Request[B]],
    c: Callable[[X], Request[C]],
    d: Callable[[X], Request[D]],
    /,
) -> Chain[[X], tuple[Result[A, Any], Result[B, Any], Result[C, Any], Result[D, Any]]]: ...
@overload
def settle(
    a: Callable[[X], Request[A]],
    b: Callable[[X], Request[B]],
    c: Callable[[X], Request[C]],
    d: Callable[[X], Request[D]],
    e: Callable[[X], Request[E]],
    /,
) -> Chain[[X], tuple[Result[A, Any], Result[B, Any], Result[C, Any], Result[D, Any], Result[E, Any]]]: ...
@overload
def settle(*branches: Callable[[X], Request[A]]) -> Chain[[X], tuple[Result[A, Any], ...]]: ...
def settle(*branches: Any) -> Any:
    """As ``&``, but wait for all branches and hand on their Results, so that a failure stops nobody and is not lost.

    Raises:
        ChainDefinitionError: no branch, or one that is not a Task or Chain.

    Example:
        >>> from rio_chain import Task, settle
        >>> settle(Task(len), Task(int))
        settle(Task(len), Task(int))
    """
    nodes, names = checked(branches, "`settle`")
    return made(Chain, FanOutNode(nodes, settle=True), names)


@overload
def race(a: Callable[[X], Request[A]], /, *, pick: Chooser = ...) -> Chain[[X], A]: ...
@overload
def race(
    a: Callable[[X], Request[A]], b: Callable[[X], Request[B]], /, *, pick: Chooser = ...
) -> Chain[[X], A | B]: ...
@overload
def race(
    a: Callable[[X], Request[A]], b: Callable[[X], Request[B]], c: Callable[[X], Request[C]], /, *, pick: Chooser = ...
) -> Chain[[X], A | B | C]: ...
@overload
def race(
    a: Callable[[X], Request[A]],
    b: Callable[[X], Request[B]],
    c: Callable[[X], Request[C]],
    d: Callable[[X], Request[D]],
    /,
    *,
    pick: Chooser = ...,
) -> Chain[[X], A | B | C | D]: ...
@overload
def race(
    a: Callable[[X], Request[A]],
    b: Callable[[X], Request[B]],
    c: Callable[[X], Request[C]],
    d: Callable[[X], Request[D]],
    e: Callable[[X], Request[E]],
    /,
    *,
    pick: Chooser = ...,
) -> Chain[[X], A | B | C | D | E]: ...
@overload
def race(*branches: Callable[[X], Request[A]], pick: Chooser = ...) -> Chain[[X], A]: ...
def race(*branches: Any, pick: Any = FIRST) -> Any:
    """Give every branch the same input, run them together, and hand on one answer.

    Branches that are not needed any more are cancelled and awaited; sync functions are abandoned. When all fail, the
    failure is that of the first branch. To call one chain several times see ``.replica``.

    Args:
        branches: Tasks and Chains.
        pick: which answer wins: ``first()``, ``best(score, within=ms)``, ``quorum(k)`` or a Chooser of your own.

    Raises:
        ChainDefinitionError: no branch, one that is not a Task or Chain, or fewer than ``pick`` needs.

    Example:
        >>> from rio_chain import Task, race
        >>> race(Task(len), Task(int))
        race(Task(len), Task(int))
    """
    nodes, names = checked(branches, "`race`")
    return raced(Chain, RaceNode(nodes, len(nodes), 0.0, checked_pick(pick), hedge=False), names)


def star(fn: Callable[[*Ts], B], /) -> Callable[[tuple[*Ts]], B]:
    """A function of several arguments as a function of one tuple, to stand right of a fan-out.

    It keeps the name of ``fn``, is async where that is, and can be pickled where that can.

    Raises:
        ChainDefinitionError: not a function that a chain can call.

    Example:
        >>> from rio_chain import Task, star
        >>> (Task(len) & Task(str)) >> star(max)
        (Task(len) & Task(str)) >> star(max)
    """
    return Star(function(fn, "`star` takes a function"))
