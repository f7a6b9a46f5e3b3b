"""each, expand and reduce: calls for items whose number is known only when the chain runs."""

from __future__ import annotations

import math
from collections.abc import AsyncIterable, Callable, Hashable, Iterable
from typing import Any, Literal, TypeVar, cast, overload

from returns.result import Result

from rio_chain._core.copied_constants import copyable
from rio_chain._core.signatures import arity
from rio_chain._core.source_text import name_of
from rio_chain._core.units import Duration, count, flag, seconds, short_repr
from rio_chain.chain._bridge_checks import function, takes_one
from rio_chain.chain._compose import branches, made, one_value
from rio_chain.chain._functions import MISSING, Reduce, is_async, written
from rio_chain.chain._nodes import Each, Expand, OnError
from rio_chain.chain._request import Request
from rio_chain.dsl._chain import Chain
from rio_chain.errors import ChainDefinitionError
from rio_chain.policies import AtLeast
from rio_chain.policies._checks import callback
from rio_chain.policies._keys import key_of
from rio_chain.policies._match_errors import Match, match_of

A = TypeVar("A")
B = TypeVar("B")
X = TypeVar("X")

Tolerant = Literal["raise", "drop"] | AtLeast
TolerantOfItems = Literal["raise", "drop", "stop"] | AtLeast


@overload
def each(
    chain: Callable[[X], Request[A]],
    /,
    *,
    limit: int = ...,
    ordered: bool = ...,
    on_error: TolerantOfItems = ...,
    time_limit: Duration | None = ...,
    on_timeout: Literal["raise", "keep"] = ...,
    drop: Match | None = ...,
    take: int | Callable[[A], bool] | None = ...,
    key: Callable[[X], str | int] | None = ...,
) -> Chain[[Iterable[X] | AsyncIterable[X]], list[A]]: ...
@overload
def each(
    chain: Callable[[X], Request[A]],
    /,
    *,
    limit: int = ...,
    ordered: bool = ...,
    on_error: Literal["keep"],
    time_limit: Duration | None = ...,
    on_timeout: Literal["raise", "keep"] = ...,
    drop: Match | None = ...,
    take: int | Callable[[Result[A, Any]], bool] | None = ...,
    key: Callable[[X], str | int] | None = ...,
) -> Chain[[Iterable[X] | AsyncIterable[X]], list[Result[A, Any]]]: ...
def each(
    chain: Any,
    /,
    *,
    limit: Any = 10,
    ordered: Any = True,
    on_error: Any = "raise",
    time_limit: Any = None,
    on_timeout: Any = "raise",
    drop: Any = None,
    take: Any = None,
    key: Any = None,
) -> Any:
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
            fewer than ``n`` values the ``each`` fails with ``NotEnoughSuccesses``. With ``"stop"``, the list has the
            values before the first item that failed, and no further item begins.
        drop: errors that only leave out their item, whatever ``on_error`` says: an exception class, a tuple of them, or
            a function of the error.
        take: a number: the list has so many values, and no more items begin than are needed for that. Or a function of
            a value: the list ends before the first value for which it returns False, and no further item begins.
        key: a function of an item that returns its name in a ``Journal``: a str or an int, another one for each item.
            The items may then come in another order in the next run. Default None: its index. Without a journal it is
            not called.
        time_limit: how long all items may take together, in milliseconds or as a ``timedelta``. Default None: no limit
            but those around the ``each``.
        on_timeout: what happens then. With ``"raise"``, the default, the ``each`` fails with ``TaskTimedOut``. With
            ``"keep"``, the list has what has come by then. The items that run are cancelled and count as
            ``timed_out``; those of a list that have not begun count as ``skipped``.

    Raises:
        ChainDefinitionError: ``chain`` is not a Task or Chain of one item, or an option is out of its range, or two
            options contradict each other.

    Example:
        >>> from rio_chain import Task, each
        >>> chain = Task(str.split) >> each(Task(len), limit=5)
        >>> chain("how long are these").run().unwrap()
        [3, 4, 3, 5]
    """
    nodes, names = branches((one_value(chain, "`each`"),), "`each`")
    if on_timeout not in ("raise", "keep"):
        raise ChainDefinitionError(f'`on_timeout` must be "raise" or "keep"; got {short_repr(on_timeout)}')
    if time_limit is None and on_timeout == "keep":
        raise ChainDefinitionError('`on_timeout` belongs to a `time_limit`, as in time_limit=300, on_timeout="keep"')
    node = Each(
        nodes[0],
        count(limit, "limit", least=1),
        flag(ordered, "ordered"),
        _on_error(on_error, stop=True),
        None if time_limit is None else seconds(time_limit, "time_limit"),
        on_timeout == "keep",
        _drop(drop, on_error),
        _take(take, on_error),
        None if key is None else callback(key, "key", "a function of an item that returns a str or an int"),
    )
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
    drop: Match | None = ...,
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
    drop: Match | None = ...,
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
    drop: Any = None,
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
        on_error: what a failure does: ``"raise"``, ``"keep"``, ``"drop"`` or ``at_least(n)``, as for ``each``.
        drop: errors that only leave out their item, as for ``each``.
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
        None if depth is None else count(depth, "depth", most=math.inf),
        count(total, "total", least=1, most=math.inf),
        None if more is None else _finder(more),
        key_of(key),
        _on_error(on_error),
        on_limit,
        _drop(drop, on_error),
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


def _on_error(value: object, *, stop: bool = False) -> OnError:
    given: Any = value
    if isinstance(value, AtLeast) or given in ("raise", "keep", "drop") or (stop and given == "stop"):
        return cast("OnError", given)
    names = '"raise", "keep", "drop", "stop" or at_least(n)' if stop else '"raise", "keep", "drop" or at_least(n)'
    raise ChainDefinitionError(f"`on_error` must be {names}; got {short_repr(value)}")


def _drop(value: object, on_error: object) -> Match | None:
    if value is None:
        return None
    if isinstance(on_error, AtLeast) or on_error == "drop":
        raise ChainDefinitionError(
            f"`drop` leaves out some failures, and on_error={on_error!r} leaves out all of them: give one of the two"
        )
    return match_of(value, "drop")


def _take(value: object, on_error: object) -> int | Callable[[Any], Any] | None:
    if value is None:
        return None
    if not callable(value):
        try:
            least = count(value, "take", least=1)
        except ChainDefinitionError:
            rule = "`take` must be a whole number, 1 or more, or a function of a value that returns True or False"
            raise ChainDefinitionError(f"{rule}; got {short_repr(value)}") from None
        if isinstance(on_error, AtLeast) and on_error.least > least:
            raise ChainDefinitionError(f"`take` ends it after {least} values, and {on_error!r} needs more")
        return least
    return callback(value, "take", "a whole number, or a function of a value that returns True or False")


def _finder(value: object) -> Callable[[Any], Any]:
    rule = "`more` must be a function of a result that returns the next items"
    fn = function(value, rule, generators=True)
    if is_async(fn):
        raise ChainDefinitionError(f"{rule}; got the async function `{name_of(fn)}`, which nothing awaits here")
    takes_one(fn, rule)
    return fn
