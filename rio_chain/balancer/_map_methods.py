"""``balancer.map`` and ``amap``: a chain for every one of many inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from rio_chain.balancer import _mapping
from rio_chain.balancer._nested_requests import check_not_nested
from rio_chain.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Iterator

    from rio_chain.balancer._lifetime import Lifetime
    from rio_chain.chain._request import Request
    from rio_chain.journal import Journal
    from rio_chain.results._outcome import Outcome

Out = TypeVar("Out")
In = TypeVar("In")


class MapMethods:
    """The methods of a ``Balancer`` for many inputs."""

    _lifetime: Lifetime

    @overload
    def map(
        self,
        chain: Callable[[In], Request[Out]],
        inputs: Iterable[In],
        *,
        as_completed: bool = ...,
        with_input: Literal[False] = ...,
        priority: float = ...,
        tenant: Hashable = ...,
        progress: bool = ...,
        journal: Journal | None = ...,
        key: Callable[[In], str | int] | None = ...,
    ) -> Iterator[Outcome[Out]]: ...
    @overload
    def map(
        self,
        chain: Callable[[In], Request[Out]],
        inputs: Iterable[In],
        *,
        as_completed: bool = ...,
        with_input: Literal[True],
        priority: float = ...,
        tenant: Hashable = ...,
        progress: bool = ...,
        journal: Journal | None = ...,
        key: Callable[[In], str | int] | None = ...,
    ) -> Iterator[tuple[In, Outcome[Out]]]: ...
    def map(
        self,
        chain: Callable[[Any], Request[Any]],
        inputs: Iterable[Any],
        *,
        as_completed: bool = False,
        with_input: bool = False,
        priority: float = 0,
        tenant: Hashable = None,
        progress: bool = False,
        journal: Journal | None = None,
        key: Callable[[Any], str | int] | None = None,
    ) -> Iterator[Any]:
        """Run the chain for every input, and give the Outcomes in order, or as they come. For plain code.

        It reads inputs only as slots become free, so any number of inputs takes little memory. In order, inputs after a
        slow one run meanwhile: up to ``4 * workers`` of a list or a range, and half as many of any other iterable.
        Leaving the ``for`` early cancels the open requests.

        Args:
            chain: a chain of one argument, or a function that returns a Request.
            inputs: the arguments.
            as_completed: give each Outcome when it is there, not in the order of the inputs. Default False.
            with_input: give pairs of an input, the object itself, and its Outcome. Default False.
            priority: of each request. Default 0.
            tenant: whose requests they are, if the balancer has ``fair``. Default None.
            progress: show how many are done, have failed and run, how many end in a second, and, if ``len(inputs)`` is
                known, how much time is left: in a notebook, in a terminal as a bar (with the extra
                ``rio-chain[watch]``), elsewhere as lines on stderr. Default False.
            journal: the ``Journal`` that records each run. What it knows to have ended is not run again. Default None.
            key: with a journal: a function that gives the ``run_id`` of an input.

        Example:
            >>> from rio_chain import Balancer, Task
            >>> with Balancer(workers=2) as balancer:
            ...     pairs = balancer.map(Task(int), ["1", "x"], with_input=True)
            ...     [(text, outcome.ok) for text, outcome in pairs]
            [('1', True), ('x', False)]
        """
        lifetime = self._lifetime
        check_not_nested(lifetime.admission, "map")
        host = lifetime.binding.get(here=False)
        if host.on_loop_thread():
            raise UsageError(
                "`map` would block the loop that runs the requests; write `async for` over `balancer.amap(...)`"
            )
        window = lifetime.map_window(
            host,
            chain,
            inputs,
            priority,
            tenant,
            as_completed=as_completed,
            with_input=with_input,
            journal=journal,
            key=key,
        )
        window.balancer = self
        return _mapping.outcomes(window, inputs, progress=progress)

    @overload
    def amap(
        self,
        chain: Callable[[In], Request[Out]],
        inputs: Iterable[In],
        *,
        as_completed: bool = ...,
        with_input: Literal[False] = ...,
        priority: float = ...,
        tenant: Hashable = ...,
        progress: bool = ...,
        journal: Journal | None = ...,
        key: Callable[[In], str | int] | None = ...,
    ) -> AsyncIterator[Outcome[Out]]: ...
    @overload
    def amap(
        self,
        chain: Callable[[In], Request[Out]],
        inputs: Iterable[In],
        *,
        as_completed: bool = ...,
        with_input: Literal[True],
        priority: float = ...,
        tenant: Hashable = ...,
        progress: bool = ...,
        journal: Journal | None = ...,
        key: Callable[[In], str | int] | None = ...,
    ) -> AsyncIterator[tuple[In, Outcome[Out]]]: ...
    def amap(
        self,
        chain: Callable[[Any], Request[Any]],
        inputs: Iterable[Any],
        *,
        as_completed: bool = False,
        with_input: bool = False,
        priority: float = 0,
        tenant: Hashable = None,
        progress: bool = False,
        journal: Journal | None = None,
        key: Callable[[Any], str | int] | None = None,
    ) -> AsyncIterator[Any]:
        """As ``map``, for async code: ``async for outcome in balancer.amap(chain, inputs)``. Same keywords."""
        lifetime = self._lifetime
        check_not_nested(lifetime.admission, "amap")
        host = lifetime.binding.get(here=True)
        window = lifetime.map_window(
            host,
            chain,
            inputs,
            priority,
            tenant,
            as_completed=as_completed,
            with_input=with_input,
            journal=journal,
            key=key,
        )
        window.balancer = self
        return _mapping.async_outcomes(window, inputs, progress=progress)


for _call in (MapMethods.map, MapMethods.amap):
    _call.__qualname__ = f"Balancer.{_call.__name__}"  # for Python's own errors; users do not know MapMethods
