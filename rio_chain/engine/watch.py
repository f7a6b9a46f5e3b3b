"""A run that tells what happens in it, for ``request.stream()``.

A run that nobody watches knows nothing of this: what is told hangs on types of its own. A watched run's log is full of
entries from the start, so the interpreter finds one where it would else write a tuple, and its strands see their ``at``
being set. The rest are the hooks of ``Run``, which are called only where something rare has happened anyway.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rio_chain.engine.current import Run, Strand
from rio_chain.engine.runtime import Runtime, Slot
from rio_chain.event import Event, Kind
from rio_chain.log import Entry
from rio_chain.nodes import Call, Node, Scope, walk
from rio_chain.plan import Plan
from rio_chain.policies import Accept, Retry
from rio_chain.units import milliseconds


class Watch:
    """Who is told, and since when; all parts of a run share it. From ``close`` on nobody is told."""

    __slots__ = ("_began", "_now", "_tell", "judged", "plan")

    def __init__(self, plan: Plan, tell: Callable[[Event], None]) -> None:
        self.plan = plan
        self.judged = judged(plan.root)
        self._tell: Callable[[Event], None] | None = tell
        self._now: Callable[[], float] | None = None
        self._began = 0.0

    def begin(self, now: Callable[[], float]) -> None:
        """The run begins; ``now`` is its clock."""
        self._now, self._began = now, now()

    def close(self) -> None:
        """Forget whom to tell: who keeps the Outcome must not keep that too."""
        self._tell = self._now = None

    def tell(self, kind: Kind, index: int, item: int | None, **more: Any) -> None:
        """Tell of one task. From any thread."""
        tell, now = self._tell, self._now  # read once: the run may be over at any moment
        if tell is not None and now is not None:
            tell(Event(kind, self.plan.tasks[index].name, milliseconds(now() - self._began), item=item, **more))


def judged(root: Node) -> frozenset[int]:
    """The tasks whose answer something around them alone may still refuse, so that they have not finished with it."""
    found: set[int] = set()
    seen = 0  # tasks, in plan order
    for node in walk(root):
        if isinstance(node, Scope) and _judges(node):
            tasks = (inner for inner in walk(node.inner) if isinstance(inner, Call))
            if next(tasks, None) is not None and next(tasks, None) is None:
                found.add(seen)
        seen += isinstance(node, Call)
    return frozenset(found)


def _judges(node: Scope) -> bool:
    policy = node.policy
    return isinstance(policy, Accept) or (isinstance(policy, Retry) and policy.accept is not None)


class WatchedEntry(Entry):
    """The log of one task, which tells what is noted in it."""

    __slots__ = ("_index", "_run", "attempt", "replica")

    def __init__(self, run: Watched, index: int) -> None:
        super().__init__()
        self._run: Watched | None = run  # None: nothing more will be told
        self._index = index
        self.attempt = self.replica = 0  # the call that began last

    def begins(self, attempt: int, replica: int) -> None:
        """A call begins."""
        if self._run is not None:
            self._run.reached(self._index, attempt, replica)
            self._run.tell("started", self._index, attempt=attempt, replica=replica)

    def succeeded(self, value: Any) -> None:
        """As ``Entry.succeeded``."""
        super().succeeded(value)
        if self._run is not None:
            self._run.told[self._index] = None
            if self._index not in self._run.watch.judged:
                self._run.finished(self._index)

    def failed(self, error: Any) -> None:
        """As ``Entry.failed``."""
        super().failed(error)
        if self._run is not None:
            self._run.told[self._index] = None
            self._run.tell("attempt_failed", self._index, attempt=self.attempt, replica=self.replica, error=error)

    def end(self, error: Any, *, sibling: bool) -> None:
        """As ``Entry.end``; of an item that was interrupted this comes when its own run is over."""
        super().end(error, sibling=sibling)
        if self._run is not None and self._run.ended:
            self._run.finished(self._index)
            self._run = None

    def plain(self) -> Entry | None:
        """The same for who does not watch; None where nothing was noted."""
        if not (self.calls or self.status or self.errors or self.denied or self.started):
            return None
        entry = Entry()
        for name in Entry.__slots__:
            setattr(entry, name, getattr(self, name))
        return entry


class Watched(Run):
    """A run, or a part of one, that is watched."""

    __slots__ = ("ended", "item", "told", "watch", "whole")

    def __init__(self, watch: Watch, whole: Watched | None = None, around: Run | None = None) -> None:
        super().__init__(watch.plan, around)
        self.watch = watch
        self.whole = whole  # what this is one of several calls of; how they ended is told there, when they are merged
        self.item: int | None = None if whole is None else whole.item
        self.ended = False
        self.told: list[Any] = [None] * len(self.log)  # how a task finished, where that still holds
        self.log = [WatchedEntry(self, index) for index in range(len(self.log))]

    def part(self, item: int | None = None) -> Watched:
        """As ``Run.part``. An item finishes by itself; calls made at once, when they are merged."""
        if item is None:
            return Watched(self.watch, self, self)
        run = Watched(self.watch, None, self)
        run.item = item
        return run

    def strand(self, rt: Runtime, slot: Slot, outer: float, *, root: bool = False) -> Strand:
        """As ``Run.strand``."""
        if root:
            self.watch.begin(rt.now)
        return WatchedStrand(self, rt, slot, outer, root=root)

    def tell(self, kind: Kind, index: int, **more: Any) -> None:
        """Tell of a task."""
        self.watch.tell(kind, index, self.item, **more)

    def reached(self, index: int, attempt: int, replica: int) -> None:
        """This call of a task has begun, here or in one of the calls that are made at once."""
        self.told[index] = None
        entry: Any = self.log[index]
        entry.attempt, entry.replica = attempt, replica
        if self.whole is not None:
            self.whole.reached(index, attempt, replica)

    def finished(self, index: int, cause: Any = None, *, at_last: bool = False) -> None:
        """Tell how a task's turn ended, once. ``at_last``: what never ran will not, because of ``cause``."""
        entry: Entry = self.log[index]
        end = entry
        if at_last and entry.status is None:
            end = Entry()  # and not the one in the log, which is left as it would be if nobody watched
            end.skip(cause)
        if self.whole is not None or end.status in (None, "running", self.told[index]):
            return
        self.told[index] = end.status
        error = None if end.status == "succeeded" else end.value
        self.tell("finished", index, attempt=entry.calls, replica=entry.winner, status=end.status, error=error)

    def hedge_started(self, index: int, attempt: int, replica: int) -> None:
        """As ``Run.hedge_started``."""
        self.tell("hedge_started", index, attempt=attempt, replica=replica)

    def merged(self, low: int, high: int, *, won: bool) -> None:
        """As ``Run.merged``."""
        for index in range(low, high):
            status = self.log[index].status
            if index not in self.watch.judged and (won or status == "succeeded"):
                self.finished(index)

    def given_up(self, low: int, high: int) -> None:
        """As ``Run.given_up``."""
        for index in range(low, high):
            self.finished(index)

    def over(self, cause: Any = None) -> None:
        """As ``Run.over``."""
        for index, entry in enumerate(self.log):
            self.finished(index, cause, at_last=True)
            if type(entry) is WatchedEntry and (entry.status != "running" or self.whole is not None):
                self.log[index] = entry.plain()
        self.ended = True


class WatchedStrand(Strand):
    """A line of execution of a watched run."""

    __slots__ = ("_at", "_begun")

    def __init__(self, run: Watched, rt: Runtime, slot: Slot, outer: float, *, root: bool) -> None:
        self._begun = False
        super().__init__(run, rt, slot, outer, root=root)
        self._begun = True

    def _get_at(self) -> int:
        return self._at

    def _set_at(self, index: int) -> None:
        self._at = index
        if self._begun:
            entry: Any = self.run.log[index]
            entry.begins(self.rounds + entry.calls + 1, self.replica)

    # The interpreter stores the task here exactly when its call begins. For that store to tell it, nothing in the
    # interpreter has to ask whether anybody watches: in a strand that nobody watches it is a plain slot.
    at: Any = property(_get_at, _set_at)
