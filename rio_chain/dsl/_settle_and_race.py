"""settle and race: several chains with one input. settle returns failures as values, and race takes one answer."""

from __future__ import annotations

from typing import Any, TypeVar, overload

from returns.result import Result

from rio_chain._core.units import Duration, seconds
from rio_chain.chain._compose import branches as checked
from rio_chain.chain._compose import made, raced
from rio_chain.chain._nodes import FanOutNode, RaceNode
from rio_chain.chain._validation import FIRST
from rio_chain.chain._validation import pick as checked_pick
from rio_chain.dsl._chain import Chain
from rio_chain.dsl._fan_out import Branch
from rio_chain.policies import Chooser

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


@overload
def settle(
    a: Branch[X, A],
    /,
    *,
    time_limit: Duration | None = ...,
) -> Chain[[X], tuple[Result[A, Any]]]: ...
@overload
def settle(
    a: Branch[X, A],
    b: Branch[X, B],
    /,
    *,
    time_limit: Duration | None = ...,
) -> Chain[[X], tuple[Result[A, Any], Result[B, Any]]]: ...
@overload
def settle(
    a: Branch[X, A],
    b: Branch[X, B],
    c: Branch[X, C],
    /,
    *,
    time_limit: Duration | None = ...,
) -> Chain[[X], tuple[Result[A, Any], Result[B, Any], Result[C, Any]]]: ...
@overload
def settle(
    a: Branch[X, A],
    b: Branch[X, B],
    c: Branch[X, C],
    d: Branch[X, D],
    /,
    *,
    time_limit: Duration | None = ...,
) -> Chain[[X], tuple[Result[A, Any], Result[B, Any], Result[C, Any], Result[D, Any]]]: ...
@overload
def settle(
    a: Branch[X, A],
    b: Branch[X, B],
    c: Branch[X, C],
    d: Branch[X, D],
    e: Branch[X, E],
    /,
    *,
    time_limit: Duration | None = ...,
) -> Chain[[X], tuple[Result[A, Any], Result[B, Any], Result[C, Any], Result[D, Any], Result[E, Any]]]: ...
@overload
def settle(
    a: Branch[X, A],
    b: Branch[X, B],
    c: Branch[X, C],
    d: Branch[X, D],
    e: Branch[X, E],
    f: Branch[X, F],
    /,
    *,
    time_limit: Duration | None = ...,
) -> Chain[
    [X], tuple[Result[A, Any], Result[B, Any], Result[C, Any], Result[D, Any], Result[E, Any], Result[F, Any]]
]: ...
@overload
def settle(
    a: Branch[X, A],
    b: Branch[X, B],
    c: Branch[X, C],
    d: Branch[X, D],
    e: Branch[X, E],
    f: Branch[X, F],
    g: Branch[X, G],
    /,
    *,
    time_limit: Duration | None = ...,
) -> Chain[
    [X],
    tuple[
        Result[A, Any], Result[B, Any], Result[C, Any], Result[D, Any], Result[E, Any], Result[F, Any], Result[G, Any]
    ],
]: ...
@overload
def settle(
    a: Branch[X, A],
    b: Branch[X, B],
    c: Branch[X, C],
    d: Branch[X, D],
    e: Branch[X, E],
    f: Branch[X, F],
    g: Branch[X, G],
    h: Branch[X, H],
    /,
    *,
    time_limit: Duration | None = ...,
) -> Chain[
    [X],
    tuple[
        Result[A, Any],
        Result[B, Any],
        Result[C, Any],
        Result[D, Any],
        Result[E, Any],
        Result[F, Any],
        Result[G, Any],
        Result[H, Any],
    ],
]: ...
@overload
def settle(
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
    *,
    time_limit: Duration | None = ...,
) -> Chain[
    [X],
    tuple[
        Result[A, Any],
        Result[B, Any],
        Result[C, Any],
        Result[D, Any],
        Result[E, Any],
        Result[F, Any],
        Result[G, Any],
        Result[H, Any],
        Result[K, Any],
    ],
]: ...
@overload
def settle(
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
    *,
    time_limit: Duration | None = ...,
) -> Chain[
    [X],
    tuple[
        Result[A, Any],
        Result[B, Any],
        Result[C, Any],
        Result[D, Any],
        Result[E, Any],
        Result[F, Any],
        Result[G, Any],
        Result[H, Any],
        Result[K, Any],
        Result[L, Any],
    ],
]: ...
@overload
def settle(
    *branches: Branch[X, A],
    time_limit: Duration | None = ...,
) -> Chain[[X], tuple[Result[A, Any], ...]]: ...
def settle(*branches: Any, time_limit: Any = None) -> Any:
    """As ``&``, but wait for all branches and return a tuple of their Results. A failure does not stop other branches.

    Args:
        branches: Tasks and Chains, at most 1,000.
        time_limit: milliseconds or a ``timedelta``. Branches that have not ended by then are cancelled, and their
            Result is a ``Failure`` with ``TaskTimedOut``. Default None: wait for all.

    Raises:
        ChainDefinitionError: there is no branch, or one that is not a Task or Chain; ``time_limit`` is not a duration.

    Example:
        >>> from rio_chain import Task, settle
        >>> settle(Task(len), Task(int))
        settle(Task(len), Task(int))
    """
    nodes, names = checked(branches, "`settle`")
    limit = None if time_limit is None else seconds(time_limit, "time_limit")
    return made(Chain, FanOutNode(nodes, settle=True, time_limit=limit), names)


@overload
def race(a: Branch[X, A], /, *, pick: Chooser = ...) -> Chain[[X], A]: ...
@overload
def race(a: Branch[X, A], b: Branch[X, B], /, *, pick: Chooser = ...) -> Chain[[X], A | B]: ...
@overload
def race(a: Branch[X, A], b: Branch[X, B], c: Branch[X, C], /, *, pick: Chooser = ...) -> Chain[[X], A | B | C]: ...
@overload
def race(
    a: Branch[X, A], b: Branch[X, B], c: Branch[X, C], d: Branch[X, D], /, *, pick: Chooser = ...
) -> Chain[[X], A | B | C | D]: ...
@overload
def race(
    a: Branch[X, A], b: Branch[X, B], c: Branch[X, C], d: Branch[X, D], e: Branch[X, E], /, *, pick: Chooser = ...
) -> Chain[[X], A | B | C | D | E]: ...
@overload
def race(
    a: Branch[X, A],
    b: Branch[X, B],
    c: Branch[X, C],
    d: Branch[X, D],
    e: Branch[X, E],
    f: Branch[X, F],
    /,
    *,
    pick: Chooser = ...,
) -> Chain[[X], A | B | C | D | E | F]: ...
@overload
def race(
    a: Branch[X, A],
    b: Branch[X, B],
    c: Branch[X, C],
    d: Branch[X, D],
    e: Branch[X, E],
    f: Branch[X, F],
    g: Branch[X, G],
    /,
    *,
    pick: Chooser = ...,
) -> Chain[[X], A | B | C | D | E | F | G]: ...
@overload
def race(
    a: Branch[X, A],
    b: Branch[X, B],
    c: Branch[X, C],
    d: Branch[X, D],
    e: Branch[X, E],
    f: Branch[X, F],
    g: Branch[X, G],
    h: Branch[X, H],
    /,
    *,
    pick: Chooser = ...,
) -> Chain[[X], A | B | C | D | E | F | G | H]: ...
@overload
def race(
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
    *,
    pick: Chooser = ...,
) -> Chain[[X], A | B | C | D | E | F | G | H | K]: ...
@overload
def race(
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
    *,
    pick: Chooser = ...,
) -> Chain[[X], A | B | C | D | E | F | G | H | K | L]: ...
@overload
def race(*branches: Branch[X, A], pick: Chooser = ...) -> Chain[[X], A]: ...
def race(*branches: Any, pick: Any = FIRST) -> Any:
    """Give every branch the same input, run all branches together, and return one answer.

    Branches that are not needed any more are cancelled and awaited; sync functions are abandoned. If all fail, the
    failure is that of the first branch. To call one chain several times see ``.replica``.

    Args:
        branches: Tasks and Chains, at most 1,000.
        pick: which answer wins: ``first()``, ``best(score, within=ms)``, ``quorum(k)`` or a Chooser of your own.

    Raises:
        ChainDefinitionError: there is no branch, or more than 1,000; a branch is not a Task or Chain; there are fewer
            branches than ``pick`` needs.

    Example:
        >>> from rio_chain import Task, race
        >>> race(Task(len), Task(int))
        race(Task(len), Task(int))
    """
    nodes, names = checked(branches, "`race`")
    return raced(Chain, RaceNode(nodes, len(nodes), 0.0, checked_pick(pick), hedge=False), names)
