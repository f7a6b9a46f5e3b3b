"""Where the events of a run go: to the one that reads its stream, and to observers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import evolve

from rio_chain._core.units import milliseconds, seconds
from rio_chain.chain._nodes import Node, Scope, TaskNode, walk
from rio_chain.chain._plan import Plan, public_name
from rio_chain.results._deliver import AGE, deliver, next_number
from rio_chain.results._events import STREAMED, Event, Kind
from rio_chain.results._observers import Observer
from rio_chain.results._task_record import Status


class EventSink:
    """Where the events of a run go; all parts of the run share it. A stream gets none after ``close``."""

    __slots__ = (
        "__weakref__",
        "_began",
        "_chain",
        "_names",
        "_now",
        "_owner",
        "_tell",
        "_within",
        "judged",
        "number",
        "observers",
        "outer",
        "plan",
        "streams_values",
        "values",
    )

    def __init__(
        self,
        plan: Plan,
        tell: Callable[[Event], None] | None,
        observers: tuple[Observer, ...] = (),
        owner: object = None,
    ) -> None:
        self.plan = plan
        self.streams_values = False  # whether the stream has them
        self.observers = observers
        self.values = any(one.values for one in observers)  # whether anybody gets them
        self.number = next_number()
        self.outer = True  # it is not that of a Request which a function returned
        self._owner = owner  # the balancer
        self._chain = public_name(plan)
        self._within: tuple[str, ...] = ()  # tasks around
        self.judged, self._names = facts(plan)
        self._tell = tell
        self._now: Callable[[], float] | None = None
        self._began = 0.0

    def begin(self, now: Callable[[], float]) -> None:
        """The run begins; ``now`` is its clock."""
        if self._now is None:  # else it is a nested one, whose times are those of the run around it
            self._now, self._began = now, now()

    def stream_to(self, tell: Callable[[Event], None], *, values: bool) -> None:
        """Its events go to a stream, too."""
        self._tell, self.streams_values = tell, values
        self.values = self.values or values

    def inside(self, plan: Plan, name: str | None) -> EventSink:
        """That of a Request which a call of this task returned. None: a bridge has, whose events a stream does not get.

        It is a part of this run: it has the number and the name of that, and the same observers.
        """
        inner = EventSink(plan, None if name is None else self._pass_on, self.observers, self._owner)
        inner.number, inner._chain, inner.outer = self.number, self._chain, False
        inner._within = self._within if name is None else (*self._within, name)
        inner._now, inner._began = self._now, self._began
        inner.streams_values, inner.values = self.streams_values, self.values
        return inner

    def _pass_on(self, event: Event) -> None:
        tell = self._tell  # read once: the run may be over at any moment
        if tell is not None:
            tell(event)

    def pass_on(self, event: Event, item: int | None, began: float) -> None:
        """Tell an event of a part of this run that ran elsewhere, and began at this instant of the run's clock."""
        tell, observers = self._tell, self.observers
        event = evolve(
            event,
            at=event.at + milliseconds(began - self._began),
            item=item if event.item is None else event.item,
            within=(*self._within, *event.within),
            run=self.number,
            chain=self._chain,
            runs=(self.number,) if event.runs else (),
        )
        if tell is not None and event.kind in STREAMED and (self.streams_values or event.kind != "value"):
            tell(event if self.streams_values or event.value is None else evolve(event, value=None))
        if observers and self._now is not None:
            token = AGE.set(max(0.0, self._now() - self._began - seconds(event.at, "at", zero=True)))
            try:
                deliver(observers, event, self._owner)
            finally:
                AGE.reset(token)

    def close(self) -> None:
        """Forget the stream, so that an Outcome that is kept does not keep the stream too."""
        self._tell = None
        if not self.observers:  # those hear of it when an abandoned call returns, too
            self._now = None

    def tell(  # noqa: PLR0917 - called for every event
        self,
        kind: Kind,
        index: int | None,
        item: int | None,
        attempt: int = 0,
        replica: int = 0,
        status: Status | None = None,
        error: Any = None,
        value: Any = None,
        branch: str | None = None,
        elapsed: float | None = None,
        reason: str | None = None,
        policy: str | None = None,
        beside: str | None = None,
        size: int | None = None,
        runs: tuple[int, ...] = (),
        delay: float | None = None,
    ) -> None:
        """Report something of one task, or of a branch. From any thread."""
        tell, now, observers = self._tell, self._now, self.observers  # read once: the run may be over at any moment
        if now is None:
            tell = None
        if not (observers or tell is not None):
            return
        event = Event(
            kind,
            None if index is None else self._names[index],
            0.0 if now is None else milliseconds(now() - self._began),
            attempt,
            replica,
            item,
            status,
            error,
            None,
            self._within,
            branch,
            value,
            self.number,
            self._chain,
            elapsed,
            reason,
            policy,
            beside,
            size,
            runs,
            delay,
        )
        if tell is not None and kind in STREAMED and (self.streams_values or kind != "value"):
            tell(event if self.streams_values or value is None else evolve(event, value=None))
        if observers:
            deliver(observers, event, self._owner)


class SilentSink(EventSink):
    """The sink of a run that has ended: it reports nothing. It has no plan."""

    __slots__ = ()

    def __init__(self) -> None:
        self.observers, self.values = (), False
        self.judged = frozenset[int]()
        self._tell = self._now = None


def facts(plan: Plan) -> tuple[frozenset[int], tuple[str, ...]]:
    """Of a plan: the tasks that are judged, and the names of all. They are found once."""
    known: tuple[frozenset[int], tuple[str, ...]] | None = plan.programs.get("observed")
    if known is None:
        known = plan.programs["observed"] = judged(plan.root), tuple([task.name for task in plan.tasks])
    return known


def judged(root: Node) -> frozenset[int]:
    """The tasks whose answer something around them alone may still refuse, so that they have not finished with it."""
    found: set[int] = set()
    seen = 0  # tasks, in plan order
    for node in walk(root):
        if isinstance(node, Scope) and node.policy.facts().refuses_values:
            tasks = (inner for inner in walk(node.inner) if isinstance(inner, TaskNode))
            if next(tasks, None) is not None and next(tasks, None) is None:
                found.add(seen)
        seen += isinstance(node, TaskNode)
    return frozenset(found)
