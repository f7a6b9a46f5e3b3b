"""Task: a function as the smallest chain. Only a Task has ``.using``, ``.inline``, ``.lane`` and ``.resources``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Concatenate, ParamSpec, TypeVar, overload

from attrs import evolve, frozen
from returns.result import Result

from rio_chain.chain import _compose, _validation
from rio_chain.chain._compose import made
from rio_chain.chain._methods import check_not_in_class
from rio_chain.chain._nodes import TaskNode
from rio_chain.chain._request import Request
from rio_chain.chain._resources import with_resources
from rio_chain.chain._validation import NO_NAMES
from rio_chain.dsl._chain import Chain
from rio_chain.errors import ChainDefinitionError

P = ParamSpec("P")
Q = ParamSpec("Q")
Out = TypeVar("Out", covariant=True)
A = TypeVar("A")
X = TypeVar("X")


@frozen(init=False, repr=False, eq=False)
class Task(Chain[P, Out]):
    """A function and its policies: the smallest chain.

    The function may be sync or async. It may return a value, a ``Result`` (which is unwrapped) or a ``Request`` (which
    is run, and its value used). If the function raises or returns a ``Failure``, the attempt has failed.

    Args:
        fn: the function, not called: ``Task(fetch)``. You can also use ``Task`` as a decorator.

    Raises:
        ChainDefinitionError: ``fn`` is not a function that a chain can call, or it is a method in the body of its
            class.

    Example:
        >>> from rio_chain import Task
        >>> @Task
        ... def double(x: int) -> int:
        ...     return 2 * x
        >>> double.timeout(100).retry(2)
        Task(double).timeout(100).retry(2)
    """

    @overload
    def __init__(self: Task[Q, A], fn: Callable[Q, Request[A]], /) -> None: ...
    @overload
    def __init__(self: Task[Q, A], fn: Callable[Q, Awaitable[Request[A]]], /) -> None: ...
    @overload
    def __init__(self: Task[Q, A], fn: Callable[Q, Awaitable[Result[A, Any]]], /) -> None: ...
    @overload
    def __init__(self: Task[Q, A], fn: Callable[Q, Result[A, Any]], /) -> None: ...
    @overload
    def __init__(self: Task[Q, A], fn: Callable[Q, Awaitable[A]], /) -> None: ...
    @overload
    def __init__(self: Task[Q, A], fn: Callable[Q, A], /) -> None: ...
    def __init__(self, fn: Any, /) -> None:
        if isinstance(fn, Chain):
            raise ChainDefinitionError("`Task` takes a function; got a Task or Chain, which is used as it is: `a >> b`")
        call = _compose.call(fn, "`Task` takes a function")
        check_not_in_class(fn)
        _compose.fill(self, call, NO_NAMES)

    def named(self, name: str, /) -> Task[P, Out]:
        """The same task with a name. Its Response has that name too. No other task of a chain may have it.

        If a task occurs twice in a chain, its occurrences are called ``name#1`` and ``name#2``.

        Raises:
            ChainDefinitionError: the name is not a string, or is empty.
        """
        name = _validation.name(name)
        node = evolve(_call(self), name=name, explicit=True)
        named: Task[P, Out] = made(Task, node, {name: node})
        return named

    def inline(self) -> Task[P, Out]:
        """Run the sync function on the thread of the chain itself, not on a worker thread. For quick, pure functions.

        The function can't be interrupted: if a timeout expires meanwhile, it takes effect when the function returns.
        The function must only compute, and not call a backend: ``bounds`` counts no time for it, and ``simulate`` and
        ``advise`` call the real function.

        Raises:
            ChainDefinitionError: the function is async, or runs in a lane.
        """
        call = _call(self)
        if call.is_async:
            raise ChainDefinitionError(f"`.inline()` is for sync functions; `{call.name}` is async and needs no thread")
        if call.lane is not None:
            raise ChainDefinitionError(f"`{call.name}` runs in lane {call.lane!r}; it can't run in place as well")
        inline: Task[P, Out] = made(Task, evolve(call, inline=True), self._names)
        return inline

    def lane(self, name: str, /) -> Task[P, Out]:
        """Run the sync function in one of the processes of that name, for work that keeps a core busy.

        Only ``Balancer(lanes={name: n})`` can run such a chain. When a timeout expires, the process is killed and
        replaced. Arguments, the answer and errors are pickled. A function of ``__main__`` or a notebook, and a lambda,
        need the extra ``rio-chain[lanes]``. Context variables, ``remaining()`` and ``current_attempt()`` are not
        available in the process.

        Raises:
            ChainDefinitionError: the name is not valid; the function is async, ``.inline()``, or can't be pickled.

        Example:
            >>> import math
            >>> from rio_chain import Balancer, Task
            >>> factorial = Task(math.factorial).lane("cpu")
            >>> with Balancer(lanes={"cpu": 1}) as balancer:
            ...     balancer.run(factorial(5)).unwrap()
            120
        """
        lane: Task[P, Out] = made(Task, _compose.lane(_call(self), name), self._names)
        return lane

    def resources(self, **amounts: float | str) -> Task[P, Out]:
        """What a worker of a cluster must have to run the task. On other executors than Dask it has no effect.

        A worker says what it has: ``dask worker ... --resources "gpu=1"``. Dask runs no more tasks on it at once than
        it has room for. If no worker has so much, the task fails with ``WorkerLost``.

        Args:
            amounts: a number for each name, or a size such as ``"2GiB"``, which is its number of bytes.

        Raises:
            ChainDefinitionError: no amount is given, or an amount is not above 0.

        Example:
            >>> from rio_chain import Task
            >>> Task(len).resources(gpu=1, memory="2kB")
            Task(len).resources(gpu=1, memory=2000)
        """
        needs: Task[P, Out] = made(Task, with_resources(_call(self), amounts), self._names)
        return needs

    # the keywords can't be removed from a ParamSpec: the parameter that is left is for the value that `>>` passes
    @overload
    def using(
        self: Callable[Concatenate[X, ...], Request[A]],  # pyright: ignore[reportGeneralTypeIssues]
        /,
        **sources: Callable[..., Request[Any]],
    ) -> Task[[X], A]: ...
    @overload
    def using(  # pyright: ignore[reportOverlappingOverload]
        self: Callable[..., Request[A]],  # pyright: ignore[reportGeneralTypeIssues]
        /,
        **sources: Callable[..., Request[Any]],
    ) -> Task[[object], A]: ...
    def using(self: Any, /, **sources: Any) -> Any:
        """Pass values of earlier parts of the chain to the function as keywords, besides the value that ``>>`` passes.

        Name a part by the Task or the longer chain itself, with or without its policies. That part must occur upstream,
        and must have succeeded on every path to this task. The value that ``>>`` passes goes to the first parameter
        that is left. If no parameter is left, the function does not get that value.

        Args:
            sources: for each keyword the Task or Chain that gives the value.

        Raises:
            ChainDefinitionError: the function has no such parameter, or more than one parameter has no value. When the
                whole chain is called or planned: a source is not upstream, occurs twice, or may have failed.

        Example:
            >>> from rio_chain import Task
            >>> def fetch_user(user_id: int) -> str:
            ...     return f"user {user_id}"
            >>> def greet(word: str, user: str) -> str:
            ...     return f"{word}, {user}"
            >>> user = Task(fetch_user)
            >>> chain = user >> (lambda user: "hello") >> Task(greet).using(user=user)
            >>> chain(42).run().unwrap()
            'hello, user 42'
        """
        return made(Task, _compose.using(_call(self), sources), self._names)


def _call(task: Task[..., Any]) -> TaskNode:
    assert isinstance(task.node, TaskNode)  # noqa: S101 - the node of a Task is always one
    return task.node
