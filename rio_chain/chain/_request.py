"""Request: a chain bound to its arguments. It is immutable, and making it runs nothing."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from attrs.exceptions import FrozenInstanceError

from rio_chain._core import hooks
from rio_chain._core.notebook_repr import Renderable
from rio_chain._core.units import flag
from rio_chain.chain._never_run import DEV_MODE, handed_over, warn_when_never_run

if TYPE_CHECKING:
    from rio_chain._core.deadline import Deadline
    from rio_chain._core.units import Duration
    from rio_chain.chain._plan import Plan
    from rio_chain.executors._base import Executor
    from rio_chain.executors._stream import Stream
    from rio_chain.journal._journal import Journal
    from rio_chain.results._outcome import Outcome

Out = TypeVar("Out", covariant=True)
NO_KWARGS: Mapping[str, Any] = MappingProxyType({})
_set = object.__setattr__


class Request(Renderable, Generic[Out]):
    """The result of calling a chain, as in ``page(42)``. Run it with ``.run()``, ``await`` or ``.arun()``, or in a
    ``Balancer``. With ``python -X dev`` a ``RuntimeWarning`` reports a Request that is never run.

    You can run it any number of times. Each run is independent.

    Example:
        >>> from rio_chain import Task
        >>> request = Task(len)("four")
        >>> request.run().unwrap()
        4
    """

    # No __eq__: asyncio.gather runs equal awaitables once, and each of these is a run. There is one field only, because
    # setting a field of a frozen object takes time.
    __slots__ = ("given",)

    given: tuple[Plan, tuple[Any, ...], Mapping[str, Any]]
    """The plan, the positional arguments and the keyword arguments."""

    def __init__(self, plan: Plan, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] = NO_KWARGS) -> None:
        _set(self, "given", (plan, args, kwargs))

    @property
    def plan(self) -> Plan:
        """The chain that will run."""
        return self.given[0]

    @property
    def args(self) -> tuple[Any, ...]:
        """The positional arguments of its first function."""
        return self.given[1]

    @property
    def kwargs(self) -> Mapping[str, Any]:
        """The keyword arguments of its first function."""
        return self.given[2]

    def __setattr__(self, name: str, value: object) -> None:
        raise FrozenInstanceError

    def __delattr__(self, name: str) -> None:
        raise FrozenInstanceError

    def __reduce__(self) -> tuple[type[Self], tuple[Plan, tuple[Any, ...], dict[str, Any]]]:
        plan, args, kwargs = self.given
        return type(self), (plan, args, dict(kwargs))

    def run(
        self,
        *,
        executor: str | Executor | None = None,
        deadline: Deadline | Duration | None = None,
        live: bool = False,
        journal: Journal | None = None,
        run_id: str | None = None,
    ) -> Outcome[Out]:
        """Run the request and wait for the Outcome. You can call this anywhere: in a script, a notebook cell, a thread.

        All blocking runs of a process share one event loop thread per executor, made when first needed. So an HTTP
        client that is opened in one run works in the next.

        Args:
            executor: ``"asyncio"``, ``"trio"``, ``"thread"``, or for tests ``"virtual"``. Default ``$RIO_EXECUTOR``,
                else ``"asyncio"``.
            deadline: the most time that the run may take: milliseconds, a ``timedelta`` or a ``Deadline``.
            live: show the tasks while they run. A notebook shows one output of the cell, a terminal a table (with the
                extra ``rio-chain[watch]``), and anything else lines on stderr. Updated at most ten times a second.
            journal: the ``Journal`` that records the run, so that it can go on in another process.
            run_id: the id of the run in the journal. A run that the journal knows goes on where it was.

        Raises:
            JournalError: the journal can't be used, or knows this id with another chain or other arguments, or the run
                is running elsewhere.
        """
        if DEV_MODE:
            handed_over(self)
        shown = live is not False and flag(live, "live")
        session = None if journal is None and run_id is None else hooks.facade.session(journal, run_id, self)
        return hooks.facade.blocking_run(live=shown)(self, executor, deadline, session)

    def stream(
        self,
        *,
        executor: str | Executor | None = None,
        deadline: Deadline | Duration | None = None,
        values: bool = False,
    ) -> Stream[Out]:
        """Run the request and read its events: ``for event in ...``, or ``async for`` on a running event loop.

        There is an ``Event`` when a call begins, when an attempt fails, when a hedge begins and when a task has
        finished. The last event has the Outcome. The run begins when you start to iterate. Leaving the ``for`` early
        cancels the run. Events of a Request that a task returned have the name of that task in ``event.within``.

        Args:
            executor: as for ``run``, for a plain ``for``. ``async for`` uses the running loop if this is not given.
            deadline: the most time that the run may take: milliseconds, a ``timedelta`` or a ``Deadline``.
            values: whether events have values: an event ``value`` for each branch of a fan-out and for each item, and
                the value of each task in its event ``finished``.

        Example:
            >>> from rio_chain import Task
            >>> for event in Task(len).named("size")("four").stream():
            ...     print(event.kind, event.task)
            started size
            finished size
            ended None
        """
        return hooks.facade.stream(self, executor, deadline, values=values)

    async def arun(
        self,
        *,
        deadline: Deadline | Duration | None = None,
        journal: Journal | None = None,
        run_id: str | None = None,
    ) -> Outcome[Out]:
        """The same as ``await request``, as a coroutine: for ``asyncio.run``, ``create_task`` and ``start_soon``.

        The request runs in the task that awaits the coroutine, on asyncio or trio.

        Args:
            deadline: the most time that the run may take, from its beginning: milliseconds, a ``timedelta`` or a
                ``Deadline``.
            journal: as for ``run``.
            run_id: as for ``run``.

        Example:
            >>> import asyncio
            >>> from rio_chain import Task
            >>> asyncio.run(Task(len)("four").arun(deadline=1_000)).unwrap()
            4
        """
        session = None if journal is None and run_id is None else hooks.facade.session(journal, run_id, self)
        return await (_run_here or _found())(self, deadline, session)

    def __await__(self) -> Generator[Any, Any, Outcome[Out]]:
        """Run the request in the caller's own task, on the running event loop of asyncio or trio."""
        return (_run_here or _found())(self).__await__()

    def __repr__(self) -> str:
        # arguments may be secret, so they are not shown; asyncio.run prints this repr if it gets no coroutine
        return f"<Request of {self.plan.title}: await it, or call .run() or .arun()>"


_run_here: hooks.RunInPlace | None = None


def _found() -> hooks.RunInPlace:
    """Import the executors on first use. The result is kept, because finding it again takes as long as a task."""
    global _run_here  # noqa: PLW0603
    _run_here = hooks.facade.run_in_place()
    return _run_here


if DEV_MODE:
    warn_when_never_run(Request)
