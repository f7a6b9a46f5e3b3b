"""Where the events of a run go: to the one that reads its stream, and to observers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import evolve

from rio_chain._core.units import milliseconds
from rio_chain.chain._nodes import Node, Scope, TaskNode, walk
from rio_chain.chain._plan import Plan, public_name
from rio_chain.results._events import STREAMED, Event, Kind
from rio_chain.results._observers import Observer, deliver, next_number


class EventSink:
    """Who is told, and since when; all parts of a run share it. From ``close`` on a stream is not told."""

    __slots__ = (
        "_began",
        "_now",
        "_tell",
        "_within",
        "judged",
        "number",
        "observers",
        "outer",
        "plan",
        "streams_values",
    )

    def __init__(
        self,
        plan: Plan,
        tell: Callable[[Event], None] | None,
        within: tuple[str, ...] = (),
        *,
        values: bool = False,
        observers: tuple[Observer, ...] = (),
    ) -> None:
        self.plan = plan
        self.streams_values = values  # whether the stream is told them
        self.observers = observers
        self.number = next_number()
        self.outer = True  # it is not that of a Request which a function returned
        self._within = within  # tasks around
        known: frozenset[int] | None = plan.programs.get("judged")
        if known is None:
            known = plan.programs["judged"] = judged(plan.root)
        self.judged = known
        self._tell = tell
        self._now: Callable[[], float] | None = None
        self._began = 0.0

    @property
    def values(self) -> bool:
        """Whether anybody is told the values."""
        return self.streams_values or any(one.values for one in self.observers)

    def begin(self, now: Callable[[], float]) -> None:
        """The run begins; ``now`` is its clock."""
        if self._now is None:  # else it is a nested one, whose times are those of the run around it
            self._now, self._began = now, now()

    def stream_to(self, tell: Callable[[Event], None], *, values: bool) -> None:
        """Tell a stream, too."""
        self._tell, self.streams_values = tell, values

    def inside(self, plan: Plan, name: str | None) -> EventSink:
        """That of a Request which a call of this task returned. None: a bridge has, of which a stream is not told."""
        tell = None if name is None else self._pass_on
        within = self._within if name is None else (*self._within, name)
        inner = EventSink(plan, tell, within, values=self.streams_values)
        inner.observers, inner.number, inner.outer = self.observers, self.number, False
        inner._now, inner._began = self._now, self._began
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
            chain=public_name(self.plan),
        )
        if tell is not None and event.kind in STREAMED and (self.streams_values or event.kind != "value"):
            tell(event if self.streams_values or event.value is None else evolve(event, value=None))
        if observers:
            deliver(observers, event)

    def close(self) -> None:
        """Forget the stream: who keeps the Outcome must not keep that too."""
        self._tell = None
        if not self.observers:  # those are told when an abandoned call returns, too
            self._now = None

    def tell(self, kind: Kind, index: int | None, item: int | None, **more: Any) -> None:
        """Tell of one task, or of a branch. From any thread."""
        tell, now, observers = self._tell, self._now, self.observers  # read once: the run may be over at any moment
        if (tell is None or now is None) and not observers:
            return
        at = 0.0 if now is None else milliseconds(now() - self._began)
        name = None if index is None else self.plan.tasks[index].name
        chain = public_name(self.plan)
        event = Event(kind, name, at, item=item, within=self._within, run=self.number, chain=chain, **more)
        if tell is not None and kind in STREAMED and (self.streams_values or kind != "value"):
            tell(event if self.streams_values or event.value is None else evolve(event, value=None))
        if observers:
            deliver(observers, event)


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
