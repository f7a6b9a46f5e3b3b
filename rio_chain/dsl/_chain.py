"""The language: Chain, FanOut and their operators. Task is in ``_task``. Writing a chain runs nothing.

Every call returns a new object. ``>>`` binds tighter than ``&``, and ``&`` tighter than ``|``, as Python has it:
``user >> a & b`` is ``(user >> a) & b``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Concatenate, Generic, NoReturn, ParamSpec, Self, TypeVar, TypeVarTuple, overload

from attrs import frozen
from returns.result import Result

from rio_chain.chain import _compose, _validation
from rio_chain.chain._bridge_checks import LEFT, LEFT_LAMBDA, RIGHT
from rio_chain.chain._chain_signature import begins
from rio_chain.chain._compose import Composed, made
from rio_chain.chain._methods import check_attribute
from rio_chain.chain._nodes import FanOutNode, Named, labelled
from rio_chain.chain._other_names import no_such_method
from rio_chain.chain._request import Request
from rio_chain.dsl._policy_methods import PolicyMethods, set_wrapped_class
from rio_chain.errors import ChainDefinitionError
from rio_chain.policies._match_errors import Match

if TYPE_CHECKING:
    from rio_chain.chain._supports import Support
    from rio_chain.inspect import Text
    from rio_chain.inspect._bounds import Bounds
    from rio_chain.inspect.lint import Finding
    from rio_chain.simulation._with_backends import Backend

P = ParamSpec("P")
Q = ParamSpec("Q")
Out = TypeVar("Out", covariant=True)
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
X = TypeVar("X")
Ts = TypeVarTuple("Ts")


@frozen(init=False, repr=False, eq=False)
class Chain(PolicyMethods[P, Out], Generic[P, Out]):
    """A composition of tasks, bridges, fan-outs and policies. Immutable; made by ``Task`` and the operators.

    Chains are equal when their plans are equal: parentheses in a sequence of ``>>`` make no difference.

    Example:
        >>> from rio_chain import Task
        >>> chain = Task(len) >> Task(str)
        >>> chain
        Task(len) >> Task(str)
        >>> chain("four")
        <Request of len >> str: await it, or call .run() or .arun()>
    """

    # --- looking ------------------------------------------------------------------------------------------------

    def explain(self, executor: str | None = None) -> Text:
        """The chain as an indented tree: each policy is above what it wraps, the outermost first. Times are in ms.

        Args:
            executor: ``"dask"`` also shows the pieces that run on the workers. Default: none.
        """
        from rio_chain.executors import checked_name  # noqa: PLC0415 - only imported when needed
        from rio_chain.inspect import explain, explain_pieces  # noqa: PLC0415 - as above

        cluster = executor is not None and checked_name(executor) == "dask"
        return explain_pieces(self.plan()) if cluster else explain(self.plan())

    def supports(self, executor: str) -> Support:
        """Which parts of the chain are kept on this executor, part by part. It is true if the chain can run there.

        In one process all is kept. On ``"dask"`` some policies are per worker, and lanes and generators are refused.

        Example:
            >>> from rio_chain import Breaker, Task
            >>> Task(len).timeout(100).breaker(Breaker(5)).supports("dask")
            .breaker(breaker) around len  per worker: each worker process has its own, made as this one was
            .timeout(100) around len      kept
            task len                      kept
        """
        from rio_chain.chain._supports import support  # noqa: PLC0415 - only imported when needed
        from rio_chain.executors import checked_name  # noqa: PLC0415 - as above

        return support(self.plan(), checked_name(executor))

    def mermaid(self) -> Text:
        """The chain as the text of a Mermaid flowchart. JupyterLab displays the value as a diagram."""
        from rio_chain.inspect import mermaid  # noqa: PLC0415 - only imported when needed

        return mermaid(self.plan())

    def bounds(self) -> Bounds:
        """The longest time of a run in ms, the most calls of each task, and what a timeout cuts off.

        Example:
            >>> from rio_chain import Task
            >>> Task(len).timeout(100).retry(1, backoff=None).bounds()
            at most 200 ms
            len: at most 2 calls
        """
        from rio_chain.inspect._bounds import bounds  # noqa: PLC0415 - only imported when needed

        return bounds(self.plan())

    def lint(self, *, workers: int | None = None) -> tuple[Finding, ...]:
        """Find policies that, in their present order, don't do what they seem to do. Each finding has the right code.

        Args:
            workers: those of the balancer that is to run it. Default: unknown, and nothing is said about that.

        Example:
            >>> from rio_chain import Task
            >>> for finding in Task(len).or_else(0).retry(3).lint():
            ...     print(finding)
            retry-never-runs at len: the fallback always answers, so the retry around it never runs
              better: Task(len).retry(3).or_else(0)
        """
        from rio_chain.inspect.lint import lint  # noqa: PLC0415 - only imported when needed

        return lint(self.plan(), workers)

    # --- one after the other ------------------------------------------------------------------------------------

    @overload
    def __rshift__(self, other: Callable[[Out], Request[B]], /) -> Chain[P, B]: ...
    @overload
    def __rshift__(self, other: Callable[[Out], Awaitable[Request[B]]], /) -> Chain[P, B]: ...
    @overload
    def __rshift__(self, other: Callable[[Out], Awaitable[Result[B, Any]]], /) -> Chain[P, B]: ...
    @overload
    def __rshift__(self, other: Callable[[Out], Result[B, Any]], /) -> Chain[P, B]: ...
    @overload
    def __rshift__(self, other: Callable[[Out], Awaitable[B]], /) -> Chain[P, B]: ...
    @overload
    def __rshift__(self, other: Callable[[Out], B], /) -> Chain[P, B]: ...
    def __rshift__(self, other: Any, /) -> Any:
        """``self >> other`` calls ``other`` with the value of ``self``.

        A Chain is used as it is. A sync or async function becomes a bridge.

        Raises:
            ChainDefinitionError: ``other`` is neither a chain nor a function, or it does not take one argument.
        """
        return _compose.then(Chain, self, _compose.step(other, RIGHT))

    @overload
    def __rrshift__(self: Callable[[A], Request[B]], other: Callable[Q, Request[A]], /) -> Chain[Q, B]: ...
    @overload
    def __rrshift__(self: Callable[[A], Request[B]], other: Callable[Q, Awaitable[Request[A]]], /) -> Chain[Q, B]: ...
    @overload
    def __rrshift__(
        self: Callable[[A], Request[B]], other: Callable[Q, Awaitable[Result[A, Any]]], /
    ) -> Chain[Q, B]: ...
    @overload
    def __rrshift__(self: Callable[[A], Request[B]], other: Callable[Q, Result[A, Any]], /) -> Chain[Q, B]: ...
    @overload
    def __rrshift__(self: Callable[[A], Request[B]], other: Callable[Q, Awaitable[A]], /) -> Chain[Q, B]: ...
    @overload
    def __rrshift__(self: Callable[[A], Request[B]], other: Callable[Q, A], /) -> Chain[Q, B]: ...
    def __rrshift__(self: Any, other: Any, /) -> Any:
        """``function >> self``: the function is a bridge, which gets the arguments of the chain."""
        left = _compose.step(other, LEFT, LEFT_LAMBDA)
        return _compose.then(Chain, left, self)

    then = __rshift__
    """``self >> other`` as a method.

    Type checkers then know the argument of a lambda: ``user.then(lambda u: u.id)``.
    """

    # --- together ------------------------------------------------------------------------------------------------

    # self is typed by how it is called: Chain[[X], A] would refuse a task with a default or a named argument
    def __and__(
        self: Callable[[X], Request[A]],  # pyright: ignore[reportGeneralTypeIssues]
        other: Callable[[X], Request[B]],
        /,
    ) -> FanOut[[X], A, B]:
        """``a & b & c`` runs all branches together with the same input. The result is one tuple of their values.

        When a branch fails, the other branches are stopped, and the whole fan-out fails with that error. See also
        ``fan_out`` and ``settle``.

        Raises:
            ChainDefinitionError: ``other`` is not a Task or Chain.
        """
        nodes, names = _compose.branches((self, other), "`&`")
        both: FanOut[[X], A, B] = made(FanOut, FanOutNode(nodes), names)
        return both

    # --- fallbacks -----------------------------------------------------------------------------------------------

    @overload
    def or_else(
        self: Callable[[X], Request[A]], other: Callable[[X], Request[B]], /, *, on: Match = ...
    ) -> Chain[[X], A | B]: ...
    @overload
    def or_else(self, other: Callable[[Any], Awaitable[Request[B]]], /, *, on: Match = ...) -> Chain[P, Out | B]: ...
    @overload
    def or_else(
        self, other: Callable[[Any], Awaitable[Result[B, Any]]], /, *, on: Match = ...
    ) -> Chain[P, Out | B]: ...
    @overload
    def or_else(self, other: Callable[[Any], Result[B, Any]], /, *, on: Match = ...) -> Chain[P, Out | B]: ...
    @overload
    def or_else(self, other: Callable[[Any], Awaitable[B]], /, *, on: Match = ...) -> Chain[P, Out | B]: ...
    @overload
    def or_else(self, other: Callable[[Any], B], /, *, on: Match = ...) -> Chain[P, Out | B]: ...
    @overload
    def or_else(
        self: Callable[[X], Request[A]], other: Callable[[Any, X], Request[B]], /, *, on: Match = ...
    ) -> Chain[[X], A | B]: ...
    @overload
    def or_else(
        self: Callable[[X], Request[A]], other: Callable[[Any, X], Awaitable[Request[B]]], /, *, on: Match = ...
    ) -> Chain[[X], A | B]: ...
    @overload
    def or_else(
        self: Callable[[X], Request[A]], other: Callable[[Any, X], Awaitable[Result[B, Any]]], /, *, on: Match = ...
    ) -> Chain[[X], A | B]: ...
    @overload
    def or_else(
        self: Callable[[X], Request[A]], other: Callable[[Any, X], Result[B, Any]], /, *, on: Match = ...
    ) -> Chain[[X], A | B]: ...
    @overload
    def or_else(
        self: Callable[[X], Request[A]], other: Callable[[Any, X], Awaitable[B]], /, *, on: Match = ...
    ) -> Chain[[X], A | B]: ...
    @overload
    def or_else(
        self: Callable[[X], Request[A]], other: Callable[[Any, X], B], /, *, on: Match = ...
    ) -> Chain[[X], A | B]: ...
    # of more than one argument; mypy compares these without their P, and thinks that they add nothing
    @overload
    def or_else(  # type: ignore[overload-cannot-match]
        self, other: Callable[Concatenate[Any, P], Awaitable[B]], /, *, on: Match = ...
    ) -> Chain[P, Out | B]: ...
    @overload
    def or_else(  # type: ignore[overload-cannot-match]
        self, other: Callable[Concatenate[Any, P], B], /, *, on: Match = ...
    ) -> Chain[P, Out | B]: ...
    # an empty list, dict or set has the type of the value that it replaces, if that is a list, dict or set
    @overload
    def or_else(self: Callable[Q, Request[list[A]]], other: list[A], /, *, on: Match = ...) -> Chain[Q, list[A]]: ...
    @overload
    def or_else(
        self: Callable[Q, Request[dict[A, B]]], other: dict[A, B], /, *, on: Match = ...
    ) -> Chain[Q, dict[A, B]]: ...
    @overload
    def or_else(self: Callable[Q, Request[set[A]]], other: set[A], /, *, on: Match = ...) -> Chain[Q, set[A]]: ...
    @overload
    def or_else(self, other: B, /, *, on: Match = ...) -> Chain[P, Out | B]: ...
    def or_else(self: Any, other: Any, /, *, on: Match = Exception) -> Any:
        """``a.or_else(b)``, or ``a | b``, uses ``b`` when everything to the left has failed.

        Args:
            other: a Task or Chain, which gets the same input. Or another callable, sync or async: it gets the error,
                or the error and the input if it can't be called with the error alone. If it raises, the whole chain
                fails with that error. Or a constant, which is copied deeply at each use, so a task can't change it for
                the next run. For an object that can't be copied, such as a client, write a function:
                ``or_else(lambda error: client)``.
            on: the errors for which the fallback is used: an exception class, a tuple of them, or a function of the
                error. The default is every error. With any other error, the whole chain fails.

        Raises:
            ChainDefinitionError: ``other`` is a coroutine, a Request, a constant that can't be copied, or a function
                that takes neither the error nor the error and the input; or ``on`` is not valid.

        Example:
            >>> from rio_chain import Task
            >>> Task(len).or_else(0, on=TypeError)
            Task(len).or_else(0, on=TypeError)
            >>> Task(int).or_else(lambda error, text: f"{text} is no number")("ten").run().unwrap()
            'ten is no number'
        """
        return _compose.or_else(Chain, self, other, on)

    __or__ = or_else

    # --- names ---------------------------------------------------------------------------------------------------

    def named(self, name: str, /) -> Chain[P, Out]:
        """The same chain with a name, for reprs, diagrams and errors. No other part of a chain may have that name.

        Raises:
            ChainDefinitionError: the name is not a string, is empty, or is used in this chain already.
        """
        name = _validation.name(name)
        node, names = self.node, self._names
        if isinstance(node, Named):
            names = {key: task for key, task in names.items() if key != node.name} if names is not None else None
        named: Chain[P, Out] = made(Chain, labelled(node, name), _validation.joined(names, {name: None}))
        return named

    # --- replaced functions --------------------------------------------------------------------------------------

    def with_backends(self, backends: Mapping[str, Backend], /, *, seed: int = 0, fresh: bool = True) -> Self:
        """The same chain with other functions, for tests and what-if questions.

        Only the functions of the named tasks are replaced. Names, policies, order, ``.using`` and the arguments of the
        chain stay as they are, and a new function gets the same arguments as the old one. A new function never runs in
        a lane. It runs without a worker thread only if it is sync and the task is ``.inline()``. Bridges, and chains
        that a function returns, are not replaced.

        Breakers, limits, caches and other policies with a state are replaced by new ones with the same settings. So one
        test does not affect the next, and no test affects the state of your own objects.

        Args:
            backends: a dict of the names of tasks and what to call instead: a ``Script``, a ``LatencyModel`` (which
                answers what ``returning`` sets), or any function, sync or async. If a function occurs twice in the
                chain, its name ``"f"`` replaces it at both places; ``"f#1"`` or ``"f#2"`` replaces it at one, and has
                priority.
            seed: for the random numbers of the models. Each model has a sequence of its own. Default 0.
            fresh: with False, the policies of this chain are used with their state. Default True. A ``Gate`` of your
                own is always shared.

        Raises:
            ChainDefinitionError: no task has one of these names, or a value can't be called with the arguments of its
                task.

        Example:
            >>> from rio_chain import Task
            >>> from rio_chain.testing import Script
            >>> def fetch_user(user_id: int) -> str:
            ...     raise NotImplementedError
            >>> page = Task(fetch_user).timeout(100).retry(1, backoff=None) >> str.upper
            >>> script = Script().then_raises(OSError).then("ada")
            >>> page.with_backends({"fetch_user": script})(42).run().unwrap()
            'ADA'
        """
        from rio_chain.simulation._with_backends import with_backends  # noqa: PLC0415 - only imported when needed

        same: Self = with_backends(self, backends, seed, fresh=fresh)
        return same

    def __set_name__(self, owner: type, name: str) -> None:
        """Called by Python when a class is made that has this chain as an attribute."""
        check_attribute(self.node, owner)

    # --- common mistakes -----------------------------------------------------------------------------------------

    if not TYPE_CHECKING:  # type checkers report these mistakes themselves

        def __await__(self) -> NoReturn:
            raise ChainDefinitionError(f"call the chain first, as in `await page(42)`; {_begins(self)}")

        def __getattr__(self, name: str) -> NoReturn:
            if name == "run":
                raise AttributeError(f"call the chain first, as in `page(42).run()`; {_begins(self)}")
            raise AttributeError(no_such_method(type(self).__name__, name), name=name, obj=self)

        def __rand__(self, other: object) -> NoReturn:
            _compose.operand(other, "`&`")


@frozen(init=False, repr=False, eq=False)
class FanOut(Chain[P, tuple[*Ts]]):
    """The result of ``a & b``: a Chain that gives one tuple. Another ``& c`` adds a value to the tuple."""

    def __and__(  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        self: Callable[[X], Request[tuple[*Ts]]],  # pyright: ignore[reportGeneralTypeIssues]
        other: Callable[[X], Request[C]],
        /,
    ) -> FanOut[[X], *Ts, C]:
        """Add a branch. ``a & (b & c)`` nests instead."""
        nodes, names = _compose.branches((self, other), "`&`")
        first = nodes[0]
        assert isinstance(first, FanOutNode)  # noqa: S101 - the node of a FanOut is always one
        wider: FanOut[[X], *Ts, C] = made(FanOut, FanOutNode((*first.branches, nodes[1])), names)
        return wider


def _begins(chain: Composed) -> str:
    return f"this one begins with `{begins(_compose.entry(chain).heads[0])}`"


set_wrapped_class(Chain)
