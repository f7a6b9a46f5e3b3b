"""A run that reports what happens in it, for ``request.stream()`` and for observers.

An observed run has types of its own, so a run without observers is almost as fast as before. The log of an observed run
has records from the start, so the interpreter finds a record where it would otherwise write a tuple. Its strands
report each call that begins (``Strand.begins``). The other events are the hooks of ``Run``, called where something rare
happens.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import Context
from typing import Any
from weakref import ref

from rio_chain._core.policy_changes import listen
from rio_chain.chain._plan import Plan
from rio_chain.engine._blocking_call import HeldCall
from rio_chain.engine._current_run import CURRENT, Run, Strand
from rio_chain.engine._event_sink import EventSink, SilentSink
from rio_chain.engine._observed_call import ObservedCall
from rio_chain.engine._runtime_protocol import Runtime, Slot
from rio_chain.results._deliver import begun_unobserved, deliver, observers_now
from rio_chain.results._events import Event, Kind
from rio_chain.results._observers import OBSERVERS
from rio_chain.results._task_record import Status, TaskRecord


class ObservedPart:
    """What is reported of a run, or of a part of it that has its own log. It does not keep that log."""

    __slots__ = ("_inside", "_last", "_reported", "above", "contended", "contends", "item", "over", "watch")

    def __init__(
        self, watch: EventSink, above: ObservedPart | None = None, *, item: int | None = None, contends: bool = False
    ) -> None:
        self.watch = watch
        self.above = above  # what it is a part of
        self.item = item
        self.contends = contends  # it is one of several calls, and their end is reported above, when they are merged
        self.over = False  # its walk is
        self.contended: dict[int, int] = {}  # the races of each task of which a call runs in this part
        self._inside: dict[int, tuple[int, int]] = {}  # the call of such a task that began last in a part of this one
        self._last = [(0, 0)] * len(watch.plan.tasks)  # of each task: attempt and replica of the call that began last
        self._reported: list[Any] = [None] * len(watch.plan.tasks)  # the status that was reported as its end

    def begins(self, index: int, attempt: int, replica: int) -> None:
        """A call begins."""
        self.reached(index, attempt, replica)
        self.watch.tell("started", index, self.item, attempt, replica)

    def reached(self, index: int, attempt: int, replica: int) -> None:
        """This call of a task has begun, here or in a part of this one."""
        self._last[index], self._reported[index] = (attempt, replica), None
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
        self._reported[index] = None
        attempt, replica = self._last[index]
        self.watch.tell("attempt_failed", index, self.item, attempt, replica, error=error)

    def succeeded(self, index: int, entry: TaskRecord) -> None:
        """There is an answer."""
        self._reported[index] = None
        if index not in self.watch.judged:
            self.finished(index, entry)

    def replay(self, events: Sequence[Event], began: float) -> None:
        """Report what has happened in a piece of the plan elsewhere. It began at this instant of the run's clock."""
        places = {task.name: task.index for task in self.watch.plan.tasks}
        for event in events:
            index = None if event.within or event.task is None else places[event.task]
            if index is not None and event.kind == "started":
                self.reached(index, event.attempt, event.replica)
            elif index is not None and event.kind == "finished":
                if self.contends or index in self.contended or self._reported[index] == event.status:
                    continue
                self._reported[index] = event.status
            elif index is not None and event.kind == "attempt_failed":
                self._reported[index] = None
            self.watch.pass_on(event, self.item, began)

    def has_finished(self, index: int, entry: TaskRecord) -> bool:
        """Whether it is reported already that its turn ended like this."""
        return entry.status is not None and entry.status == self._reported[index]

    def finished(self, index: int, entry: TaskRecord, cause: Any = None, *, at_last: bool = False) -> None:
        """Tell how a task's turn ended, once. ``at_last``: what never ran will not, because of ``cause``."""
        end: TaskRecord = entry
        if at_last and entry.status is None:
            end = TaskRecord()  # and not the one in the log, which is left as it would be if nobody watched
            end.skip(cause)
        if self.contends or index in self.contended or end.status in (None, "running", self._reported[index]):
            return
        self._reported[index] = end.status
        watch = self.watch
        value = error = None
        if end.status != "succeeded":
            error = end.value
        elif watch.values:
            value = end.value
        status: Any = end.status  # "running" was left out above
        watch.tell("finished", index, self.item, entry.calls, entry.winner, status, error, value)


_OVER = ObservedPart.__new__(ObservedPart)
"""That of a run that is over: it reports nothing, and keeps neither observers nor a plan."""
_OVER.watch = SilentSink()
_OVER.above = _OVER.item = None
_OVER.contends = _OVER.over = True
_OVER.contended = {}


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
        """The record without what only observers need. None if nothing was noted."""
        if not (self.calls or self.status or self.errors or self.denied or self.started):
            return None
        plain = TaskRecord.__new__(TaskRecord)  # written out, as each task of an observed run is copied
        plain.calls, plain.began, plain.ended, plain.errors = self.calls, self.began, self.ended, self.errors
        plain.status, plain.value, plain.winner, plain.turn = self.status, self.value, self.winner, self.turn
        plain.started, plain.denied, plain.wasted = self.started, self.denied, self.wasted
        plain.call_records, plain.gave_up, plain.nested = self.call_records, self.gave_up, self.nested
        plain.fallbacks, plain.repeats, plain.recalled = self.fallbacks, self.repeats, self.recalled
        return plain


class ObservedRun(Run):
    """A run, or a part of one, that is watched."""

    __slots__ = ("_begun", "_ended", "events")

    observed = True

    def __init__(self, events: ObservedPart, around: Run | None = None) -> None:
        super().__init__(events.watch.plan, around)
        self.events = events
        self.log = [ObservedRecord(events, index) for index in range(len(self.log))]
        self._begun = False
        self._ended = [None]  # popped by the first that reports its end

    @property
    def number(self) -> int:
        """As ``Run.number``."""
        return self.events.watch.number

    def part(self, item: int | None = None) -> ObservedRun:
        """As ``Run.part``."""
        events = self.events
        if item is not None:
            part = ObservedRun(ObservedPart(events.watch, events, item=item), self)
        else:
            part = ObservedRun(ObservedPart(events.watch, events, item=events.item, contends=True), self)
        part.step = 0
        return part

    def nested(self, plan: Plan, pc: int, index: int | None) -> Run:
        """As ``Run.nested``. A stream gets no events of the Request of a bridge."""
        nested = super().nested(plan, pc, index)
        watch, item = self.events.watch, self.events.item
        if index is None and not watch.observers:
            return nested
        name = None if index is None else self.plan.tasks[index].name
        sink = watch.inside(plan, name if item is None or name is None else f"{name}[{item}]")
        observed = ObservedRun(ObservedPart(sink), self)
        observed.step = nested.step
        return observed

    def strand(self, rt: Runtime, slot: Slot, parent_deadline: float) -> Strand:
        """As ``Run.strand``."""
        root = self.events.above is None and not self._begun
        if root:
            watch = self.events.watch
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
        return ObservedRecord(self.events, index)

    def contend(self, low: int, high: int) -> None:
        """As ``Run.contend``."""
        super().contend(low, high)
        self.events.contend(low, high)

    def contended(self, low: int, high: int) -> None:
        """As ``Run.contended``."""
        self.events.contend_no_more(low, high)

    def hedge_started(self, index: int, attempt: int, replica: int) -> None:
        """As ``Run.hedge_started``."""
        events = self.events
        events.watch.tell("hedge_started", index, events.item, attempt=attempt, replica=replica)

    def merged(self, low: int, high: int, *, won: bool) -> None:
        """As ``Run.merged``."""
        for index in range(low, high):
            entry: TaskRecord = self.log[index]
            if index not in self.events.watch.judged and (won or entry.status == "succeeded"):
                self.events.finished(index, entry)

    def given_up(self, low: int, high: int) -> None:
        """As ``Run.given_up``."""
        for index in range(low, high):
            entry: Any = self.log[index]
            if isinstance(entry, TaskRecord):
                self.events.finished(index, entry)

    def branch_gave(self, name: str, value: Any) -> None:
        """As ``Run.branch_gave``."""
        events = self.events
        if events.watch.values and not events.contends:
            events.watch.tell("value", None, events.item, branch=name, value=value)

    def report(self, kind: Kind, index: int | None, **more: Any) -> None:
        """As ``Run.report``."""
        events = self.events
        events.watch.tell(kind, index, events.item, **more)

    def ended(self, status: Status, error: Any, elapsed: float) -> None:
        """As ``Run.ended``: the first time it is reported."""
        try:
            self._ended.pop()
        except IndexError:
            return
        events, self.events = self.events, _OVER  # a ticket keeps this run, and must not keep its observers
        self.log = [entry.plain() if isinstance(entry, ObservedRecord) else entry for entry in self.log]
        events.watch.tell("request_ended", None, None, status=status, error=error, elapsed=elapsed)

    def over(self, cause: Any = None) -> None:
        """As ``Run.over``. For an item, the item runner ends and reports what is still open."""
        events = self.events
        events.over = True
        is_item = events.above is not None and not events.contends
        for index, entry in enumerate(self.log):
            if isinstance(entry, TaskRecord) and not events.has_finished(index, entry):
                events.finished(index, entry, cause, at_last=events.above is None)
            if isinstance(entry, ObservedRecord) and not (is_item and entry.status in (None, "running")):
                self.log[index] = entry.plain()


class ObservedStrand(Strand):
    """A line of execution of a watched run. Where a part has a log of its own, its first strand ends it."""

    __slots__ = ("_call", "_first", "_late", "watch")

    observed = True

    def __init__(self, run: ObservedRun, rt: Runtime, slot: Slot, parent_deadline: float, *, first: bool) -> None:
        super().__init__(run, rt, slot, parent_deadline)
        # also when it is over; a copy of its context may live on and must not keep the observers
        self.watch = ref(run.events.watch)
        self._first = first
        self._call: ObservedCall | None = None  # the last one

    def begins(self, index: int, fn: Any, route: int) -> tuple[Any, int]:
        """As ``Strand.begins``."""
        run = self.run
        if not isinstance(run, ObservedRun):
            return fn, route
        attempt = self.rounds + run.log[index].calls + 1
        run.events.begins(index, attempt, self.replica)
        if not run.events.watch.observers:
            return fn, route
        self._call = ObservedCall(self, run.events, index, attempt, fn)
        return self._call.routed(route)

    def beside_task(self, index: int) -> str:
        """The task of the first call of the race of which this is another one."""
        race = self.in_race
        while race is not None:
            first = race.first_task(index)
            if first is not None:
                index = first
                break
            race = race.outer
        return self.run.plan.tasks[index].name

    def context_of(self, iterator: object) -> Context | None:
        """As ``Strand.context_of``: that of the attempt which has made it."""
        made = None if self._call is None else self._call.made
        return made[1] if made is not None and made[0] is iterator else None

    def give_up(self, held: HeldCall | None) -> None:
        """As ``Strand.give_up``."""
        super().give_up(held)
        if held is not None:  # what it gives back late may change a breaker
            self._late = self.watch()
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


def _breaker_changed(policy: str, state: str) -> None:
    """A change goes to the observers of the run that caused it; one without a run, to those of the process."""
    strand = CURRENT.get()
    if begun_unobserved():  # an observer has changed it, and would be called for ever
        return
    if isinstance(strand, ObservedStrand):
        watch = strand.watch()
        if watch is not None:
            watch.tell("breaker_changed", None, None, policy=policy, reason=state)
    elif OBSERVERS and (strand is None or not strand.open):
        deliver(observers_now(), Event("breaker_changed", None, 0.0, policy=policy, reason=state))


listen(_breaker_changed)
