"""Runs and draws data: what ``.run()``, ``.stream()``, ``.svg()``, ``.save()`` and ``.timeline()`` call.

``hooks.Facade`` is the interface. Each function imports what it needs when it is first called, so a program that only
writes chains does not import the code that runs or draws them.
"""

# ruff: noqa: PLC0415

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable
    from contextlib import AbstractContextManager
    from pathlib import Path
    from typing import Any

    from rio_chain._core.deadline import Deadline
    from rio_chain._core.hooks import RunInPlace
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


def blocking_run(
    *, live: bool
) -> Callable[[Request[Any], str | Executor | None, Deadline | Duration | None, RunJournal | None], Outcome[Any]]:
    """As ``Facade.blocking_run``."""
    if live:
        from rio_chain.inspect.live._run_table import run_live

        return run_live
    from rio_chain.executors import run_blocking

    return run_blocking


def session(journal: object, run_id: object, request: Request[Any], /) -> RunJournal | None:
    """As ``Facade.session``."""
    from rio_chain.journal._journal import journal_of

    return journal_of(journal, run_id, request)


def run_in_place() -> RunInPlace:
    """As ``Facade.run_in_place``."""
    from rio_chain.executors import run_here

    return run_here


def stream(
    request: Request[Out], executor: str | Executor | None, deadline: Deadline | Duration | None, /, *, values: bool
) -> Stream[Out]:
    """As ``Facade.stream``."""
    from rio_chain.executors._stream import Stream

    return Stream(request, executor, deadline, values=values)


def inherited_deadline() -> Deadline | None:
    """As ``Facade.inherited_deadline``."""
    from rio_chain.engine._current_run import inherited

    return inherited()


def followed(ticket: Ticket[Any], /) -> AbstractContextManager[Callable[[], object]]:
    """As ``Facade.followed``."""
    from rio_chain.inspect.live._run_table import followed as shown

    return shown(ticket)


def progress(inputs: Iterable[Any], /) -> Progress:
    """As ``Facade.progress``."""
    from rio_chain.inspect.live._progress import Progress

    return Progress(inputs)


def watch(watched: WatchedBalancer, limit: float, /) -> None:
    """As ``Facade.watch``."""
    from rio_chain.inspect.live._balancer_table import watch as shown

    shown(watched, limit)


def mime_bundle(thing: object, include: Container[str] | None, exclude: Container[str] | None, /) -> dict[str, str]:
    """As ``Facade.mime_bundle``."""
    from rio_chain.inspect._notebook import bundle

    return bundle(thing, include, exclude)


def svg(drawn: Renderable, /) -> Svg:
    """As ``Facade.svg``."""
    from rio_chain.inspect.pictures._svg_string import svg_of

    return svg_of(drawn)


def save(drawn: Renderable, path: str | Path, /) -> Path:
    """As ``Facade.save``."""
    from rio_chain.inspect._save import save as written

    return written(drawn, path)


def timeline(outcome: Outcome[Any], /) -> Svg:
    """As ``Facade.timeline``."""
    from rio_chain.inspect.pictures._timeline import timeline_of

    return timeline_of(outcome)


def portable_error(error: BaseException, /) -> tuple[Callable[..., BaseException], tuple[Any, ...]]:
    """As ``Facade.portable_error``."""
    from rio_chain.executors.lanes._error_transfer import portable

    return portable(error)
