"""``each``: items are taken as there is room for them. Their results become a list, or the result of a ``reduce``."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from returns.result import Success

from rio_chain._core.unhandled_errors import surely
from rio_chain.chain._functions import Reduce
from rio_chain.chain._plan import PlannedBridge
from rio_chain.engine._ask import predicate_holds
from rio_chain.engine._blocking_call import call_blocking
from rio_chain.engine._current_run import Strand
from rio_chain.engine._frames import Fail
from rio_chain.engine._item_keys import item_keys
from rio_chain.engine._item_runner import DROPPED, MAX_WORKERS, Condition, ItemRunner, PendingItem
from rio_chain.engine._item_sources import END, NOTHING, AsyncIterated, Items, Plain, items_of, on_edge
from rio_chain.engine._journal import journal_for
from rio_chain.engine._runtime_protocol import Raised, Waiter, checked
from rio_chain.engine._time_limit import TimeIsUp
from rio_chain.engine._yield_to_loop import yield_to_loop
from rio_chain.results._outcome import Failed

KEPT_FOR_EACH = 4
"""How many values may wait for a slow one before them, for each item that runs at once. It holds for lists and ranges:
an item of a generator may cost a call, which is wasted if the run stops early.
"""


async def run_each(runner: ItemRunner, value: Any) -> Any:
    """Run the item runner for every item of the value. Returns the list of results, or what they were folded into."""
    node, folded = runner.op.node, runner.op.folded
    strand = runner.parent
    items = await items_of(strand, runner.op, value)
    if items.iterator is value and runner.again(value):
        items.drop()
        used_up = TypeError("the iterable can be read only once, and an earlier attempt has read it: give a list")
        raise Fail(on_edge(runner.op.joint, used_up))
    results = Results(runner) if folded is None else Folding(runner, *folded, sized=isinstance(items, Plain))
    flow = EachFlow(runner, items, results)
    runner.expected = items.size
    runner.keys = item_keys(runner)
    workers = min(node.limit, MAX_WORKERS if items.size is None else items.size)
    beside = [flow.until_broken] if isinstance(items, AsyncIterated) else []
    commits = journal_for(strand) is not None and not strand.rt.virtual and node.take is None
    try:
        await items.during(strand, partial(runner.run, flow, workers, beside, commits=commits))
    except TimeIsUp:
        runner.left_out(0 if items.size is None else items.size - flow.taken)
    return await results.value(strand)


class EachFlow:
    """Hands out the items one by one. If the next item is not ready, one worker waits for it on behalf of all."""

    def __init__(self, runner: ItemRunner, items: Items, results: Results) -> None:
        self.runner = runner
        self.items = items
        self.results = results
        self.taken = 0
        self.busy = False  # a worker waits for the next item
        self.waking = False  # a worker was woken and has not run yet
        self.over = False
        take = runner.op.node.take
        self.most: int | None = take if isinstance(take, int) else None
        self.test: Callable[[Any], Any] | None = None if isinstance(take, int) else take
        self.left_out = 0  # items that have ended without a value
        self.values = 0
        # the numbers of the items that run; only if a value or a failure may end it
        self.running: set[int] | None = set() if self.test is not None or runner.on_error == "stop" else None
        if self.running is not None:
            runner.matters = results.counts
        self.gate = Condition()
        self.alarm: Waiter | None = None
        self.lock = threading.RLock()
        runner.race.idle = self.gate.waiting
        if isinstance(items, AsyncIterated):
            items.broke = self._broke

    async def until_broken(self) -> Failed | None:
        """Wait until the iterator fails while the workers are busy, or all work has ended. Returns the failure."""
        waiter = self.runner.parent.rt.waiter()
        with self.lock:
            self.alarm = waiter
            over = self.over
        if not over:
            await waiter.wait()
        return self.runner.failure

    def _broke(self, error: Any) -> None:
        self.runner.fail(self.items.failed(self.runner.parent, error).error)
        self.stop()

    async def take(self, strand: Strand) -> PendingItem | None:
        """As ``ItemFlow.take``."""
        woken = False
        while True:
            with self.lock:
                if self.over:
                    return None
                self.waking = self.waking and not woken
                woken = False
                room = self.results.has_room(self.taken) and self._needs_more()
                item = self.items.ready(strand) if room else NOTHING
                if item is not NOTHING:
                    return self._given(item)
                waiter = None
                if room and not self.busy:
                    self.busy = True
                else:
                    waiter = self.gate.enter(strand)
            if waiter is None:
                strand.pay()
            else:
                strand.idles()
                await waiter.wait()
                woken = True
                continue
            await self.items.fetch(strand, self._came)
            self.busy = False

    def more(self, strand: Strand) -> PendingItem | None:
        """As ``ItemFlow.more``."""
        with self.lock:
            room = not self.over and self.results.has_room(self.taken) and self._needs_more()
            item = self.items.ready(strand) if room else NOTHING
            return None if item is NOTHING else self._given(item)

    def _came(self) -> None:
        """An item is ready; the worker that fetches may be busy with the next one. From any thread."""
        with self.lock:
            self._wake_one()

    def _wake_one(self) -> None:
        """Wake one worker. It wakes the next one when it takes an item, so no more workers wake than are needed."""
        if not self.waking:
            self.waking = self.gate.open(1)

    def _given(self, item: Any) -> PendingItem | None:
        if item is END:
            self.stop()
            return None
        self._wake_one()
        self.taken += 1
        if self.running is not None:
            self.running.add(self.taken - 1)
        return PendingItem(self.taken - 1, item)

    def _needs_more(self) -> bool:
        """Whether the items that have begun may be too few for ``take``."""
        return self.most is None or self.taken - self.left_out < self.most

    async def done(self, strand: Strand, work: PendingItem, got: object) -> None:
        """As ``ItemFlow.done``."""
        del got
        if self.test is not None and work.value is not DROPPED:
            work.last = not await predicate_holds(strand, "take", self.test, work.value)
        if work.last:
            with self.lock:
                self.results.end_before(work.number)
                self.over = True
        await self.results.add(strand, work.number, work.value)
        if self.most is not None:
            self._count(left_out=work.value is DROPPED)
        if self.running is not None:
            self._ended(self.running, work.number)
        if self.results.bounded:
            with self.lock:
                self._wake_one()

    def _count(self, *, left_out: bool) -> None:
        """An item has ended. If there are as many values as ``take`` wants, no items run."""
        with self.lock:
            self.left_out += left_out
            self.values += not left_out
            complete = self.values == self.most
            if left_out:
                self._wake_one()
        if complete:
            self.stop()

    def _ended(self, running: set[int], number: int) -> None:
        """An item has ended. If the result is complete without those that run, stop them."""
        with self.lock:
            running.discard(number)
            complete = self.results.is_complete(running)
        if complete:
            self.runner.enough = self.runner.race.decided = True
            self.stop()

    def stop(self) -> None:
        """As ``ItemFlow.stop``."""
        with self.lock:
            self.over = True
            self.gate.open()
            alarm = self.alarm
        if alarm is not None:
            surely(alarm.wake)


# --- where results go -------------------------------------------------------------------------------------------


class Results:
    """The list of the results, which is the value of the ``each``."""

    bounded = False  # whether taking an item may have to wait for results

    def __init__(self, runner: ItemRunner) -> None:
        self.ordered: bool = runner.op.node.ordered
        self.found: dict[int, Any] = {}
        self.end: int | None = None  # values of items from this number on do not count; with no order, later values
        self.busy = False  # whether a worker does something on behalf of all

    def has_room(self, taken: int) -> bool:
        """Whether one more item may begin after ``taken`` others."""
        del taken
        return True

    def end_before(self, number: int) -> None:
        """The result ends before this item. Called under the lock."""
        self.end = (number if self.end is None else min(self.end, number)) if self.ordered else -1

    def is_complete(self, running: Collection[int]) -> bool:
        """Whether the result has ended, and none of the items that run is a part of it."""
        end = self.end
        return end is not None and not self.busy and all(number >= end for number in running)

    def counts(self, number: int) -> bool:
        """Whether the value of an item that ends now is a part of the result."""
        return self.end is None or number < self.end

    def numbers(self) -> list[int]:
        """The items that have a value in the result, in the order of these values."""
        return sorted(filter(self.counts, self.found)) if self.ordered else [*self.found]

    async def add(self, strand: Strand, number: int, value: Any) -> None:
        """Add the result of an item."""
        del strand
        if value is not DROPPED and self.counts(number):
            self.found[number] = value

    async def value(self, strand: Strand) -> Any:
        """The value of the ``each``."""
        del strand
        return Success([self.found[number] for number in self.numbers()])


class Folding(Results):
    """Folds the values with the ``reduce`` right after the ``each``, each value in its turn. It keeps none of them."""

    def __init__(self, runner: ItemRunner, reduce: Reduce, place: PlannedBridge, *, sized: bool) -> None:
        super().__init__(runner)
        self.limit: int = runner.op.node.limit
        self.sized = sized
        self.bounded = self.ordered
        self.reduce = reduce
        self.place = place
        self.runner = runner
        self.lock = runner.lock
        self.total = END  # the fold has not begun
        self.next = 0

    def has_room(self, taken: int) -> bool:
        """Where order counts, values that are early wait here. Their number is limited."""
        if not self.ordered:
            return True
        return taken - self.next <= KEPT_FOR_EACH * self.limit if self.sized else len(self.found) < self.limit

    async def add(self, strand: Strand, number: int, value: Any) -> None:
        """Fold this value, and those that waited for it."""
        with self.lock:
            if self.counts(number):
                self.found[number] = value
            if self.busy:
                return
            self.busy = True
        rt = strand.rt
        while (ready := self._ready()) is not END:
            if ready is not DROPPED:
                self.total = await self._guarded(strand, self._fold, ready)
            t = rt.now()
            while t >= rt.look_at:
                t = await yield_to_loop(strand, strand.deadline, t)

    def _ready(self) -> Any:
        with self.lock:
            number = self.next if self.ordered else next(iter(self.found), -1)
            if number not in self.found:
                self.busy = False  # one worker folds on behalf of all
                return END
            self.next += 1
            return self.found.pop(number)

    def _fold(self, value: Any) -> Any:
        return self.reduce.fold(self.reduce.start() if self.total is END else self.total, value)

    def _finish(self) -> Any:
        return self.reduce.result(self.reduce.start() if self.total is END else self.total)

    async def value(self, strand: Strand) -> Any:
        """The total. If the time limit has cut the items off, values that waited for one before them are folded now."""
        if self.busy:  # the limit has cut off a fold as well
            raise Fail(self.runner.timed_out())
        for number in self.numbers():
            if self.found[number] is not DROPPED:
                self.total = await self._guarded(strand, self._fold, self.found[number])
        return await self._guarded(strand, self._finish)

    async def _guarded(self, strand: Strand, fn: Callable[..., Any], *args: Any) -> Any:
        """Call ``fn`` where bridges run. An error becomes the error of the ``reduce``, which is a bridge."""
        try:
            got: Any = fn(*args) if strand.rt.places else await call_blocking(strand, fn, args)
        except Exception as error:  # noqa: BLE001 - the user's
            raise on_edge(self.place, error) from None
        if isinstance(got, Raised):
            raise on_edge(self.place, checked(got))
        return got
