"""each, expand and reduce: as many calls as there are items, which is known only when the chain runs."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Hashable, Iterable
from typing import Any, Literal, TypeVar, cast, overload

from returns.result import Result

from rio_chain._core.copied_constants import copyable
from rio_chain._core.signatures import arity
from rio_chain._core.source_text import name_of
from rio_chain._core.units import count, flag, short_repr
from rio_chain.chain._bridge_checks import function, takes_one
from rio_chain.chain._compose import branches, made, one_value
from rio_chain.chain._functions import MISSING, Reduce, is_async, written
from rio_chain.chain._nodes import Each, Expand, OnError
from rio_chain.chain._request import Request
from rio_chain.dsl._chain import Chain
from rio_chain.errors import ChainDefinitionError
from rio_chain.policies import AtLeast
from rio_chain.policies._keys import key_of

A = TypeVar("A")
B = TypeVar("B")
X = TypeVar("X")

Tolerant = Literal["raise", "drop"] | AtLeast


@overload
def each(
    chain: Callable[[X], Request[A]], /, *, limit: int = ..., ordered: bool = ..., on_error: Tolerant = ...
) -> Chain[[Iterable[X] | AsyncIterable[X]], list[A]]: ...
@overload
def each(
    chain: Callable[[X], Request[A]], /, *, limit: int = ..., ordered: bool = ..., on_error: Literal["keep"]
) -> Chain[[Iterable[X] | AsyncIterable[X]], list[Result[A, Any]]]: ...
def each(chain: Any, /, *, limit: Any = 10, ordered: Any = True, on_error: Any = "raise") -> Any:
    """Run a chain for every item of the value, several at once, and hand on a list of what came out.

    The value may be a list or any other iterable, an iterator, an async iterator; left of ``each`` a task may be a
    generator function, plain or async. Items are taken only as there is room for them, so that an iterator may be
    endless up to the point where a limit or a failure ends it. A generator behaves as in a ``for`` loop: a sync one
    runs on one thread and in one context, an async one in one task, and it is closed before the Outcome is there. What
    an iterator raises is the failure of the task that made it.

    Each task inside has one Response for all items: ``.counts`` says how many ended how, and ``.items`` has one
    Response for each of the first 1,000 items and of the failures.

    Args:
        chain: a Task or Chain of one item.
        limit: how many items are under way at once; 1 or more. Default 10. Of what has no length, such as a generator,
            never more than 1,000.
        ordered: whether the list is in the order of the items (the default), or as they come in.
        on_error: what an item's failure means. ``"raise"``, the default: it stops the others and is the failure of the
            whole. ``"keep"``: nothing is lost, and the list holds Results. ``"drop"``: only what succeeded is handed
            on. ``at_least(n)``: the same, but with fewer than ``n`` it fails with ``NotEnoughSuccesses``.

    Raises:
        ChainDefinitionError: not a Task or Chain of one item, or an option out of its range.

    Example:
        >>> from rio_chain import Task, each
        >>> chain = Task(str.split) >> each(Task(len), limit=5)
        >>> chain("how long are these").run().unwrap()
        [3, 4, 3, 5]
    """
    nodes, names = branches((one_value(chain, "`each`"),), "`each`")
    node = Each(nodes[0], count(limit, "limit", least=1), flag(ordered, "ordered"), _on_error(on_error))
    return made(Chain, node, names)


@overload
def expand(
    chain: Callable[[X], Request[A]],
    /,
    *,
    limit: int = ...,
    depth: int | None = ...,
    total: int = ...,
    more: Callable[[A], Iterable[X] | None] | None = ...,
    key: Callable[[X], Hashable] | None = ...,
    on_error: Tolerant = ...,
    on_limit: Literal["raise", "stop"] = ...,
) -> Chain[[X], list[A]]: ...
@overload
def expand(
    chain: Callable[[X], Request[A]],
    /,
    *,
    limit: int = ...,
    depth: int | None = ...,
    total: int = ...,
    more: Callable[[A], Iterable[X] | None] | None = ...,
    key: Callable[[X], Hashable] | None = ...,
    on_error: Literal["keep"],
    on_limit: Literal["raise", "stop"] = ...,
) -> Chain[[X], list[Result[A, Any]]]: ...
def expand(
    chain: Any,
    /,
    *,
    limit: Any = 10,
    depth: Any = None,
    total: Any = 10_000,
    more: Any = None,
    key: Any = None,
    on_error: Any = "raise",
    on_limit: Any = "raise",
) -> Any:
    """Run a chain for a value, for all that its result asks for, and so on until nothing is left: crawls, trees.

    The list that is handed on has the results level by level: that of the first value, of what it asked for in its
    order, of what these asked for. Work with a key that was seen before is not run again. Responses are as for
    ``each``.

    Args:
        chain: a Task or Chain of one piece of work.
        limit: how many are under way at once; 1 or more, and never more than 1,000. Default 10.
        depth: how many levels below the first value may be run; 0 or more. Default None: any.
        total: how many pieces of work may be run in all; 1 or more. Default 10,000.
        more: a function of a result that gives the work it asks for: an iterable, or None for none. Default: the
            result itself is that. It may be endless: it is read a little at a time, and not beyond ``total``.
        key: a function of a piece of work that gives what it is known by. Default: the work itself.
        on_error: what a failure means, as for ``each``.
        on_limit: what it means that there is work beyond ``depth`` or ``total``. ``"raise"``, the default: the failure
            ``LimitExceeded``, which says which. ``"stop"``: that work is not run.

    Raises:
        ChainDefinitionError: not a Task or Chain of one value, or an option out of its range.

    Example:
        >>> from rio_chain import Task, expand
        >>> folders = {"/": ["/a", "/b"], "/a": ["/a/c"], "/b": [], "/a/c": []}
        >>> expand(Task(folders.__getitem__))("/").run().unwrap()
        [['/a', '/b'], ['/a/c'], [], []]
    """
    nodes, names = branches((one_value(chain, "`expand`"),), "`expand`")
    if on_limit not in ("raise", "stop"):
        raise ChainDefinitionError(f'`on_limit` must be "raise" or "stop"; got {short_repr(on_limit)}')
    node = Expand(
        nodes[0],
        count(limit, "limit", least=1),
        None if depth is None else count(depth, "depth"),
        count(total, "total", least=1),
        None if more is None else _finder(more),
        key_of(key),
        _on_error(on_error),
        on_limit,
    )
    return made(Chain, node, names)


@overload
def reduce(fn: Callable[[A, A], A], /) -> Callable[[Iterable[A]], A]: ...
@overload  # of its own, as no checker infers what a lambda adds to the total where that may be of any type
def reduce(fn: Callable[[A, A], A], /, initial: A) -> Callable[[Iterable[A]], A]: ...
@overload
def reduce(fn: Callable[[A, B], A], /, initial: A) -> Callable[[Iterable[B]], A]: ...
def reduce(fn: Any, /, initial: Any = MISSING) -> Any:
    """A bridge that folds the values of a fan-out or an ``each`` into one, from the first to the last.

    Right after an ``each`` it takes every value as soon as its turn has come, and the list is never made.

    Args:
        fn: a plain function of the total so far and one value more.
        initial: what the total begins with; it is copied for each run, also inside. Default: the first value; then
            nothing to fold is a failure.

    Raises:
        ChainDefinitionError: not a plain function of two values, or ``initial`` can't be copied.

    Example:
        >>> from operator import add
        >>> from rio_chain import Task, each, reduce
        >>> chain = Task(str.split) >> each(Task(len)) >> reduce(add, initial=0)
        >>> chain("how long is it all").run().unwrap()
        14
    """
    rule = "`reduce` takes a function of the total and a value"
    function(fn, rule)
    if is_async(fn):
        raise ChainDefinitionError(f"{rule}; got the async function `{name_of(fn)}`, whose answer would need an await")
    if not arity(fn).takes(2):
        raise ChainDefinitionError(f"{rule}, and `{written(fn)}` can't be called with just two arguments")
    instead = "write a bridge that makes it: lambda values: functools.reduce(fn, values, make())"
    return Reduce(fn, copyable(initial, "`reduce` copies `initial` for each run", instead))


def _on_error(value: object) -> OnError:
    given: Any = value
    if isinstance(value, AtLeast) or given in ("raise", "keep", "drop"):
        return cast("OnError", given)
    raise ChainDefinitionError(f'`on_error` must be "raise", "keep", "drop" or at_least(n); got {short_repr(value)}')


def _finder(value: object) -> Callable[[Any], Any]:
    rule = "`more` must be a function of a result that gives the work it asks for"
    fn = function(value, rule, generators=True)
    if is_async(fn):
        raise ChainDefinitionError(f"{rule}; got the async function `{name_of(fn)}`, whose answer would need an await")
    takes_one(fn, rule)
    return fn
