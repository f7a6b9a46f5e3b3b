"""each, expand and reduce: calls for items whose number is known only when the chain runs."""

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
    """Run a chain for every item of the value, several at once. The result is a list of their values.

    The value may be a list or another iterable, an iterator or an async iterator. The task to the left of ``each`` may
    be a generator function, sync or async. Items are taken only when there is room for them. So an iterator may be
    endless, if a timeout or a failure ends the run. A generator behaves as in a ``for`` statement: a sync one runs on
    one thread and in one context, an async one in one task, and it is closed before the Outcome is ready. If an
    iterator raises an error, the task that made the iterator fails with it.

    Each task inside has one Response for all items: ``.counts`` is the number of items by status, and ``.items`` has
    one Response for each of the first 1,000 items and for the failures.

    Args:
        chain: a Task or Chain of one item.
        limit: how many items may run at once; 1 or more. Default 10. If the value has no length, as a generator, never
            more than 1,000.
        ordered: whether the list is in the order of the items (True, the default) or in the order in which they end.
        on_error: what happens when an item fails. With ``"raise"``, the default, the other items are stopped, and the
            whole ``each`` fails with that error. With ``"keep"``, the list has a Result for each item. With
            ``"drop"``, the list has only the values of items that succeeded. ``at_least(n)`` does the same, but with
            fewer than ``n`` values the ``each`` fails with ``NotEnoughSuccesses``.

    Raises:
        ChainDefinitionError: ``chain`` is not a Task or Chain of one item, or an option is out of its range.

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
    """Run a chain for a value, then for each item in its result, and so on until there are no more. For crawls, trees.

    The results are in one list, level by level: first the result for the value, then the results for its items in their
    order, then the results for the items of these, and so on. If two items have the same key, only the first one is
    run. Responses are as for ``each``.

    Args:
        chain: a Task or Chain of one item.
        limit: how many items may run at once; 1 or more, and never more than 1,000. Default 10.
        depth: how many levels below the first value may run; 0 or more. Default None: no limit.
        total: how many items may run in all; 1 or more. Default 10,000.
        more: a function of a result that returns the next items: an iterable, or None for no items. Default: the
            result itself is that iterable. It may be endless: it is read a little at a time, and not beyond ``total``.
        key: a function of an item that returns its key. Default: the item itself is the key.
        on_error: what a failure does, as for ``each``.
        on_limit: what to do with items beyond ``depth`` or ``total``. With ``"raise"``, the default, the ``expand``
            fails with ``LimitExceeded``, which names the parameter. With ``"stop"``, these items are not run.

    Raises:
        ChainDefinitionError: ``chain`` is not a Task or Chain of one value, or an option is out of its range.

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
@overload  # separate, because no checker infers the type of a lambda's argument if the total may be of any type
def reduce(fn: Callable[[A, A], A], /, initial: A) -> Callable[[Iterable[A]], A]: ...
@overload
def reduce(fn: Callable[[A, B], A], /, initial: A) -> Callable[[Iterable[B]], A]: ...
def reduce(fn: Any, /, initial: Any = MISSING) -> Any:
    """A bridge that folds the values of a fan-out or an ``each`` into one, from the first to the last.

    Directly after an ``each``, the bridge takes each value as soon as it is next in order, so no list of all values is
    made.

    Args:
        fn: a sync function of the total so far and the next value.
        initial: the total at the start. It is copied deeply for each run. The default is the first value. Then the
            bridge fails if there are no values.

    Raises:
        ChainDefinitionError: ``fn`` is not a sync function of two values, or ``initial`` can't be copied.

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
        raise ChainDefinitionError(f"{rule}; got the async function `{name_of(fn)}`, which nothing awaits here")
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
    rule = "`more` must be a function of a result that returns the next items"
    fn = function(value, rule, generators=True)
    if is_async(fn):
        raise ChainDefinitionError(f"{rule}; got the async function `{name_of(fn)}`, which nothing awaits here")
    takes_one(fn, rule)
    return fn
