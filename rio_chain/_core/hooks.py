"""The interface between data and the layers above that run, draw and show it.

A ``Request``, a ``Plan`` or an ``Outcome`` is data, and its module imports nothing that runs or draws. Its ``.run()``
or ``.svg()`` calls ``facade``: the module ``rio_chain._facade``, which ``rio_chain/__init__.py`` installs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Coroutine, Iterable
    from contextlib import AbstractContextManager
    from pathlib import Path
    from typing import Any

    from rio_chain._core.deadline import Deadline
    from rio_chain._core.notebook_repr import Renderable
    from rio_chain._core.units import Duration
    from rio_chain.balancer._stats import WatchedBalancer
    from rio_chain.chain._request import Request
    from rio_chain.engine._journal_protocol import RunJournal
    from rio_chain.executors._base import Executor
    from rio_chain.executors._stream import Stream
    from rio_chain.executors._ticket import Ticket
    from rio_chain.inspect.live._progress import Progress
    from rio_chain.inspect.pictures._svg_string import Svg
    from rio_chain.results._outcome import Outcome

Out = TypeVar("Out")


class RunInPlace(Protocol):
    """Runs a request in the caller's own task."""

    def __call__(
        self, request: Request[Any], deadline: Deadline | Duration | None = None, journal: RunJournal | None = None, /
    ) -> Coroutine[Any, Any, Outcome[Any]]:
        """Call it in that task, and await the result."""
        ...


class Facade(Protocol):
    """The interface of ``rio_chain/_facade.py``. It returns functions that run, so a run has no extra stack frame."""

    def blocking_run(
        self, *, live: bool
    ) -> Callable[[Request[Any], str | Executor | None, Deadline | Duration | None, RunJournal | None], Outcome[Any]]:
        """What ``Request.run`` calls. ``live`` shows the tasks while they run."""
        ...

    def session(self, journal: object, run_id: object, request: Request[Any], /) -> RunJournal | None:
        """The journal of one run, for the arguments of these names."""
        ...

    def run_in_place(self) -> RunInPlace:
        """What ``await request`` and ``Request.arun`` call in the caller's own task."""
        ...

    def stream(
        self,
        request: Request[Out],
        executor: str | Executor | None,
        deadline: Deadline | Duration | None,
        /,
        *,
        values: bool,
    ) -> Stream[Out]:
        """As ``Request.stream``."""
        ...

    def inherited_deadline(self) -> Deadline | None:
        """What ``Deadline.current`` returns if there is a limit, else None."""
        ...

    def followed(self, ticket: Ticket[Any], /) -> AbstractContextManager[Callable[[], object]]:
        """Show the run of a ticket that has not begun. Gives a function that waits for its answer."""
        ...

    def progress(self, inputs: Iterable[Any], /) -> Progress:
        """What ``Balancer.map`` shows."""
        ...

    def watch(self, watched: WatchedBalancer, limit: float, /) -> None:
        """As ``Balancer.watch``, for this many seconds."""
        ...

    def mime_bundle(
        self, thing: object, include: Container[str] | None, exclude: Container[str] | None, /
    ) -> dict[str, str]:
        """What a notebook shows of an object, by MIME type."""
        ...

    def svg(self, drawn: Renderable, /) -> Svg:
        """As ``Renderable.svg``."""
        ...

    def save(self, drawn: Renderable, path: str | Path, /) -> Path:
        """As ``Renderable.save``."""
        ...

    def timeline(self, outcome: Outcome[Any], /) -> Svg:
        """As ``Outcome.timeline``."""
        ...

    def portable_error(self, error: BaseException, /) -> tuple[Callable[..., BaseException], tuple[Any, ...]]:
        """A function and its arguments, which can be pickled, that make an error like this one."""
        ...


facade: Facade


def install(installed: Facade) -> None:
    """Set the facade that data calls."""
    global facade  # noqa: PLW0603 - set once, when rio_chain is imported
    facade = installed
