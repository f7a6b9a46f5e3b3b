"""A run that reports what happens in it, for ``request.stream()`` and for observers.

An observed run has types of its own, and a run that nobody observes pays next to nothing. Its log is full of records
from the start, so the interpreter finds one where it would else write a tuple. Its strands are asked to report each
call that begins (``Strand.begins``). The other events are the hooks of ``Run``, called where something rare happens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rio_chain._core.policy_changes import listen
from rio_chain.chain._plan import Plan
from rio_chain.engine._blocking_call import HeldCall
from rio_chain.engine._current_run import CURRENT, Run, Strand
from rio_chain.engine._event_sink import EventSink
from rio_chain.engine._observed_call import ObservedCall
from rio_chain.engine._runtime_protocol import Runtime, Slot
from rio_chain.results._events import Event, Kind
from rio_chain.results._observers import OBSERVERS, Observer, calling, deliver, observers_now
from rio_chain.results._task_record import Status, TaskRecord


class ObservedPart:
    """What is told of a run, or of a part of it that has a log of its own. It does not keep that log."""

    __slots__ = ("_inside", "_last", "_told", "above", "contended", "contends", "item", "over", "watch")

    def __init__(
        self, watch: EventSink, above: ObservedPart | None = None, *, item: int | None = None, contends: bool = False
    ) -> None:
        self.watch = watch
        self.above = above  # what it is a part of
        self.item = item
        self.contends = contends  # it is one of several calls, and how they ended is told above, when they are merged
        self.over = False  # its walk is
        self.contended: dict[int, int] = {}  # the races of each task of which a call runs in this part
        self._inside: dict[int, tuple[int, int]] = {}  # the call of such a task that began last in a part of this one
        self._last = [(0, 0)] * len(watch.plan.tasks)  # of each task: attempt and replica of the call that began last
        self._told: list[Any] = [None] * len(watch.plan.tasks)  # the status it finished with, if that was told

    def begins(self, index: int, attempt: int, replica: int) -> None:
        """A call begins."""
        self.reached(index, attempt, replica)
        self.watch.tell("started", index, self.item, attempt=attempt, replica=replica)

    def reached(self, index: int, attempt: int, replica: int) -> None:
        """This call of a task has begun, here or in a part of this one."""
        self._last[index], self._told[index] = (attempt, replica), None
        if self.above is not None:
            self.above.reached_inside(index, attempt, replica)

    def reached_inside(self, index: int, attempt: int, replica: int) -> None:
        """This call has begun in a part of this one; where one runs in this one as well, that is known later."""
        if index in self.contended:
            self._inside[index] = attempt, replica
        else:
            self.reached(index, attempt, replica)

    def contend(self, low: int, high: int) -> None:
        """As ``Run.contend``."""
        for index in range(low, high):
            self.contended[index] = self.contended.get(index, 0) + 1

    def contend_no_more(self, low: int, high: int) -> None:
        """As ``Run.contended``."""
        for index in range(low, high):
            left = self.contended.pop(index, 1) - 1
            if left:
                self.contended[index] = left
            elif index in self._inside:
                self.reached(index, *self._inside.pop(index))

    def failed(self, index: int, error: Any) -> None:
        """An attempt has failed."""
        self._told[index] = None
        attempt, replica = self._last[index]
        self.watch.tell("attempt_failed", index, self.item, attempt=attempt, replica=replica, error=error)

    def succeeded(self, index: int, entry: TaskRecord) -> None:
        """There is an answer."""
        self._told[index] = None
        if index not in self.watch.judged:
            self.finished(index, entry)

    def replay(self, events: Sequence[Event], began: float) -> None:
        """Tell what has happened in a piece of the plan elsewhere. It began at this instant of the run's clock."""
        places = {task.name: task.index for task in self.watch.plan.tasks}
        for event in events:
            index = None if event.within or event.task is None else places[event.task]
            if index is not None and event.kind == "started":
                self.reached(index, event.attempt, event.replica)
            elif index is not None and event.kind == "finished":
                if self.contends or index in self.contended or self._told[index] == event.status:
                    continue
                self._told[index] = event.status
            elif index is not None and event.kind == "attempt_failed":
                self._told[index] = None
            self.watch.pass_on(event, self.item, began)

    def finished(self, index: int, entry: TaskRecord, cause: Any = None, *, at_last: bool = False) -> None:
        """Tell how a task's turn ended, once. ``at_last``: what never ran will not, because of ``cause``."""
        end = entry
        if at_last and entry.status is None:
            end = TaskRecord()  # and not the one in the log, which is left as it would be if nobody watched
            end.skip(cause)
        if self.contends or index in self.contended or end.status in (None, "running", self._told[index]):
            return
        self._told[index] = end.status
        error = None if end.status == "succeeded" else end.value
        more = {"attempt": entry.calls, "replica": entry.winner, "status": end.status, "error": error}
        if self.watch.values and end.status == "succeeded":
            more["value"] = end.value
        self.watch.tell("finished", index, self.item, **more)


class ObservedRecord(TaskRecord):
    """The log of one task, which tells what is noted in it."""

    __slots__ = ("_index", "_part")

    def __init__(self, part: ObservedPart, index: int) -> None:
        super().__init__()
        self._part = part
        self._index = index

    def succeeded(self, value: Any) -> None:
        """As ``TaskRecord.succeeded``."""
        super().succeeded(value)
        self._part.succeeded(self._index, self)

    def failed(self, error: Any) -> None:
        """As ``TaskRecord.failed``."""
        super().failed(error)
        self._part.failed(self._index, error)

    def end(self, error: Any, *, sibling: bool) -> None:
        """As ``TaskRecord.end``; for an item this may come when its walk is over."""
        super().end(error, sibling=sibling)
        if self._part.over:
            self._part.finished(self._index, self)

    def plain(self) -> TaskRecord | None:
        """The same for who does not watch; None where nothing was noted."""
        if not (self.calls or self.status or self.errors or self.denied or self.started):
            return None
        entry = TaskRecord()
        for name in TaskRecord.__slots__:
            setattr(entry, name, getattr(self, name))
        return entry


class ObservedRun(Run):
    """A run, or a part of one, that is watched."""

    __slots__ = ("_begun", "_ended", "told")

    observed = True

    def __init__(self, told: ObservedPart, around: Run | None = None) -> None:
        super().__init__(told.watch.plan, around)
        self.told = told
        self.log = [ObservedRecord(told, index) for index in range(len(self.log))]
        self._begun = False
        self._ended = [None]  # popped by the first that reports its end

    def part(self, item: int | None = None) -> ObservedRun:
        """As ``Run.part``."""
        told = self.told
        if item is not None:
            part = ObservedRun(ObservedPart(told.watch, told, item=item), self)
        else:
            part = ObservedRun(ObservedPart(told.watch, told, item=told.item, contends=True), self)
        part.step = 0
        return part

    def nested(self, plan: Plan, pc: int, index: int | None) -> Run:
        """As ``Run.nested``. Of that of a bridge a stream is told nothing."""
        nested = super().nested(plan, pc, index)
        watch, item = self.told.watch, self.told.item
        if index is None and not watch.observers:
            return nested
        name = None if index is None else self.plan.tasks[index].name
        sink = watch.inside(plan, name if item is None or name is None else f"{name}[{item}]")
        observed = ObservedRun(ObservedPart(sink), self)
        observed.step = nested.step
        return observed

    def strand(self, rt: Runtime, slot: Slot, parent_deadline: float) -> Strand:
        """As ``Run.strand``."""
        root = self.told.above is None and not self._begun
        if root:
            watch = self.told.watch
            watch.begin(rt.now)
            if watch.outer:
                try:
                    watch.tell("request_started", None, None)
                except KeyboardInterrupt:  # in one observer; the others hear that it has ended
                    self.ended("cancelled", None, 0.0)
                    raise
        first, self._begun = not (root or self._begun), True
        return ObservedStrand(self, rt, slot, parent_deadline, first=first)

    def blank(self, index: int) -> ObservedRecord:
        """As ``Run.blank``."""
        return ObservedRecord(self.told, index)

    def contend(self, low: int, high: int) -> None:
        """As ``Run.contend``."""
        super().contend(low, high)
        self.told.contend(low, high)

    def contended(self, low: int, high: int) -> None:
        """As ``Run.contended``."""
        self.told.contend_no_more(low, high)

    def hedge_started(self, index: int, attempt: int, replica: int) -> None:
        """As ``Run.hedge_started``."""
        told = self.told
        told.watch.tell("hedge_started", index, told.item, attempt=attempt, replica=replica)

    def merged(self, low: int, high: int, *, won: bool) -> None:
        """As ``Run.merged``."""
        for index in range(low, high):
            entry: TaskRecord = self.log[index]
            if index not in self.told.watch.judged and (won or entry.status == "succeeded"):
                self.told.finished(index, entry)

    def given_up(self, low: int, high: int) -> None:
        """As ``Run.given_up``."""
        for index in range(low, high):
            entry: Any = self.log[index]
            if isinstance(entry, TaskRecord):
                self.told.finished(index, entry)

    def branch_gave(self, name: str, value: Any) -> None:
        """As ``Run.branch_gave``."""
        told = self.told
        if told.watch.values and not told.contends:
            told.watch.tell("value", None, told.item, branch=name, value=value)

    def report(self, kind: Kind, index: int | None, **more: Any) -> None:
        """As ``Run.report``."""
        told = self.told
        told.watch.tell(kind, index, told.item, **more)

    def ended(self, status: Status, error: Any, elapsed: float) -> None:
        """As ``Run.ended``: the first time it is reported."""
        try:
            self._ended.pop()
        except IndexError:
            return
        self.report("request_ended", None, status=status, error=error, elapsed=elapsed)

    def over(self, cause: Any = None) -> None:
        """As ``Run.over``; of an item, what is still open is ended, and told, by who runs the items."""
        told = self.told
        told.over = True
        is_item = told.above is not None and not told.contends
        for index, entry in enumerate(self.log):
            if isinstance(entry, TaskRecord):
                told.finished(index, entry, cause, at_last=told.above is None)
            if isinstance(entry, ObservedRecord) and not (is_item and entry.status in (None, "running")):
                self.log[index] = entry.plain()


class ObservedStrand(Strand):
    """A line of execution of a watched run. Where a part has a log of its own, its first strand ends it."""

    __slots__ = ("_call", "_first", "watch")

    observed = True

    def __init__(self, run: ObservedRun, rt: Runtime, slot: Slot, parent_deadline: float, *, first: bool) -> None:
        super().__init__(run, rt, slot, parent_deadline)
        self.watch = run.told.watch  # also when it is over
        self._first = first
        self._call: ObservedCall | None = None  # the last one

    def begins(self, index: int, fn: Any, route: int) -> tuple[Any, int]:
        """As ``Strand.begins``."""
        run = self.run
        if not isinstance(run, ObservedRun):
            return fn, route
        attempt = self.rounds + run.log[index].calls + 1
        run.told.begins(index, attempt, self.replica)
        if not self.watch.observers:
            return fn, route
        self._call = ObservedCall(self, run.told, index, attempt, fn)
        return self._call.routed(route)

    def give_up(self, held: HeldCall | None) -> None:
        """As ``Strand.give_up``."""
        super().give_up(held)
        if self._call is not None:
            self._call.given_up()

    def close(self) -> None:
        """As ``Strand.close``."""
        if self._first:
            self._first = False
            self.run.over()
        self._call = None
        super().close()

    def end(self) -> None:
        """As ``Strand.end``."""
        self._call = None
        super().end()


def new_run(plan: Plan, own: Sequence[Observer] = ()) -> Run:
    """The state of a run that begins; ``own``: the observers of its balancer. It is observed if there are any."""
    observers = observers_now(own) if OBSERVERS or own else ()
    return ObservedRun(ObservedPart(EventSink(plan, None, observers=observers))) if observers else Run(plan)


def stream_events(run: Run, tell: Callable[[Event], None], *, values: bool) -> tuple[Run, Callable[[], None]]:
    """The state to use for a run that has not begun, which tells a stream as well; and what ends the telling."""
    observed = run if isinstance(run, ObservedRun) else ObservedRun(ObservedPart(EventSink(run.plan, None)))
    watch = observed.told.watch
    watch.stream_to(tell, values=values)
    return observed, watch.close


def _breaker_changed(policy: str, state: str) -> None:
    """A change goes to the observers of the run that caused it; one without a run, to those of the process."""
    strand = CURRENT.get()
    if calling():  # an observer has changed it, and would be called for ever
        return
    if isinstance(strand, ObservedStrand):
        strand.watch.tell("breaker_changed", None, None, policy=policy, reason=state)
    elif OBSERVERS and (strand is None or not strand.open):
        deliver(tuple(OBSERVERS), Event("breaker_changed", None, 0.0, policy=policy, reason=state))


listen(_breaker_changed)
