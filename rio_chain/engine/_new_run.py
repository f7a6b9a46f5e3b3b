"""The state of a run that begins: a plain one, one that is watched, one with a journal, or both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rio_chain.chain._plan import Plan
from rio_chain.engine._current_run import Run
from rio_chain.engine._event_sink import EventSink
from rio_chain.engine._run_events import ObservedPart, ObservedRun
from rio_chain.results._deliver import observers_now
from rio_chain.results._events import Event
from rio_chain.results._observers import OBSERVERS, Observer

if TYPE_CHECKING:
    from rio_chain.engine._journal_protocol import RunJournal


class JournaledRun(Run):
    """A run with a journal."""

    __slots__ = ("journal",)

    def __init__(self, plan: Plan, journal: RunJournal) -> None:
        super().__init__(plan)
        self.journal: RunJournal | None = journal


class ObservedJournaledRun(ObservedRun):
    """The same, if it is watched."""

    __slots__ = ("journal",)

    def __init__(self, events: ObservedPart, journal: RunJournal) -> None:
        super().__init__(events)
        self.journal: RunJournal | None = journal


def new_run(plan: Plan, own: Sequence[Observer] = (), owner: object = None, journal: RunJournal | None = None) -> Run:
    """The state of a run that begins. It is observed if there are any observers.

    Args:
        plan: what is run.
        own: the observers of its balancer.
        owner: that balancer's admission; for ``calling_for``.
        journal: its journal, if it has one.
    """
    observers = observers_now(own) if OBSERVERS or own else ()
    if observers:
        return _observed(EventSink(plan, None, observers, owner), journal)
    return Run(plan) if journal is None else JournaledRun(plan, journal)


def _observed(sink: EventSink, journal: RunJournal | None) -> ObservedRun:
    part = ObservedPart(sink)
    return ObservedRun(part) if journal is None else ObservedJournaledRun(part, journal)


def stream_events(run: Run, tell: Callable[[Event], None], *, values: bool) -> tuple[Run, Callable[[], None]]:
    """The state to use for a run that has not begun, which tells a stream as well; and what ends the telling."""
    observed = run if isinstance(run, ObservedRun) else _observed(EventSink(run.plan, None), run.journal)
    watch = observed.events.watch
    watch.stream_to(tell, values=values)
    return observed, watch.close
