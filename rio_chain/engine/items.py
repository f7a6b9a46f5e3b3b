"""``each``: the items of a value, taken as there is room for them, and where their results go."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import suppress
from time import perf_counter
from types import AsyncGeneratorType, GeneratorType
from typing import Any

from returns.result import Success

from rio_chain.engine.apply import Fail
from rio_chain.engine.crowd import DROPPED, Crowd, Gate, Work
from rio_chain.engine.current import Strand
from rio_chain.engine.late import close_here
from rio_chain.engine.program import Op
from rio_chain.engine.runtime import Raised, Runtime, kind_of
from rio_chain.errors import BridgeFailed
from rio_chain.functions import Reduce
from rio_chain.log import entry_of
from rio_chain.plan import PlannedBridge

END: Any = object()
NOTHING: Any = object()
"""There is no item yet."""
_KINDS: tuple[Any, ...] = (list, tuple, set, frozenset, range, deque, dict)
_EMPTY: dict[int, int] = {}
_VIEWS: tuple[Any, ...] = (type(_EMPTY.keys()), type(_EMPTY.values()), type(_EMPTY.items()))
PLAIN = {kind.__iter__ for kind in (*_KINDS, *_VIEWS)}
"""Ways to iterate that run nobody's code and wait for nothing."""
PATIENCE = 0.001  # seconds
TEXT: tuple[type, ...] = (str, bytes, bytearray, memoryview)


async def each(crowd: Crowd, value: Any) -> Any:
    """Run the crowd for every item of the value; the list of what came out, or what that was folded into."""
    node, folded = crowd.op[2], crowd.op[6]
    strand = crowd.parent
    items = await _items_of(strand, crowd.op, value)
    if isinstance(items, OneByOne) and items.iterator is value and crowd.again(value):
        used_up = TypeError("what it iterates can be read only once, and an attempt before has done so: give it a list")
        raise Fail(_on_edge(crowd.op[3], used_up))
    results = Results(crowd) if folded is None else Folding(crowd, *folded)
    flow = EachFlow(crowd, items, results)
    workers = node.limit if items.size is None else min(node.limit, items.size)
    try:
        await crowd.run(flow, workers)
    except Fail:
        await items.close(strand)
        raise
    except BaseException:
        await items.leave(strand)
        raise
    return await results.value(strand)


class EachFlow:
    """Hands out the items one by one. Where taking one means waiting, one worker does so for all."""

    def __init__(self, crowd: Crowd, items: Items, results: Results) -> None:
        self.crowd = crowd
        self.items = items
        self.results = results
        self.taken = 0
        self.busy = False  # a worker waits for the next item
        self.over = False
        self.gate = Gate()
        self.lock = threading.RLock()

    async def take(self, strand: Strand) -> Work | None:
        """As ``Flow.take``."""
        while True:
            with self.lock:
                if self.over:
                    return None
                room = self.results.has_room(self.crowd.op[2].limit)
                item = self.items.ready(strand) if room else NOTHING
                if item is not NOTHING:
                    return self._given(item)
                waiter = None
                if room and not self.busy:
                    self.busy = True
                else:
                    waiter = self.gate.enter(strand)
            if waiter is not None:
                await waiter.wait()
                continue
            await self.items.fetch(strand, self._came)
            with self.lock:
                self.busy = False
                self.gate.open(1)

    def _came(self) -> None:
        """An item is ready, and who fetched it may be busy with the one after it. From any thread."""
        with self.lock:
            self.gate.open(1)

    def _given(self, item: Any) -> Work | None:
        if item is END:
            self.stop()
            return None
        self.taken += 1
        return Work(self.taken - 1, item)

    async def done(self, strand: Strand, work: Work, got: object) -> None:
        """As ``Flow.done``."""
        del got
        await self.results.add(strand, work.number, work.value)
        if self.results.bounded:
            with self.lock:
                self.gate.open()

    def stop(self) -> None:
        """As ``Flow.stop``."""
        with self.lock:
            self.over = True
            self.gate.open()


# --- where items come from --------------------------------------------------------------------------------------


class Items:
    """What is iterated. Items are fetched, maybe a few ahead, and wait until they are taken."""

    size: int | None = None

    def __init__(self, op: Op) -> None:
        _, _, _, _, self.maker, self.source, _, _ = op
        self.ahead: deque[Any] = deque()

    def ready(self, strand: Strand) -> Any:
        """The next item, or ``END``, or ``NOTHING``: it has to be fetched."""
        if not self.ahead:
            return NOTHING
        item = self.ahead.popleft()
        if isinstance(item, Raised):
            raise self.failed(strand, _checked(item))
        return item

    async def fetch(self, strand: Strand, came: Callable[[], None]) -> None:
        """Fetch at least one item, or ``END``; ``came`` is told of each."""
        raise NotImplementedError

    def failed(self, strand: Strand, error: Any) -> Fail:
        """What iterating raised is the failure of who made the iterator."""
        if self.maker is None:
            return Fail(_on_edge(self.source, error))
        entry_of(strand.run.log, self.maker).failed(error)
        return Fail(error)

    async def close(self, strand: Strand) -> None:
        """Nobody takes the rest; called when all workers have ended."""

    async def leave(self, strand: Strand) -> None:
        """The same where the run is interrupted."""


class Plain(Items):
    """Those of a list and its like."""

    def __init__(self, op: Op, value: Any) -> None:
        super().__init__(op)
        with suppress(OverflowError):  # a range may be longer than a length can say
            self.size = len(value)
        self.plain = iter(value)

    def ready(self, strand: Strand) -> Any:
        """As ``Items.ready``; nothing has to be waited for."""
        try:
            return next(self.plain, END)
        except Exception as error:  # noqa: BLE001 - it was changed on the way
            raise self.failed(strand, error) from None


class OneByOne(Items):
    """Those that are waited for."""

    def __init__(self, op: Op, iterator: Any) -> None:
        super().__init__(op)
        self.iterator = iterator


class Iterated(OneByOne):
    """Those of any other iterable, whose code runs where sync functions run."""

    def __init__(self, op: Op, iterator: Any) -> None:
        super().__init__(op, iterator)
        self.most = op[2].limit
        self.left = False

    async def fetch(self, strand: Strand, came: Callable[[], None]) -> None:
        """As ``Items.fetch``. Each trip to a thread brings more than one item, if they come quickly."""
        got = await _called(strand, self._several, (came,))
        if isinstance(got, Raised):
            self.ahead.append(got)

    def _several(self, came: Callable[[], None]) -> None:
        """Each is there as soon as it has come: the one after it may take long, or wait for what comes of this one."""
        until = perf_counter() + PATIENCE
        for _ in range(self.most):
            try:
                item = next(self.iterator, END)
            except BaseException as error:  # noqa: BLE001 - told when its turn comes
                item = Raised(error)
            self.ahead.append(item)
            came()
            if self.left:  # meanwhile, and could not close what ran here
                self._close_here()
            if self.left or item is END or isinstance(item, Raised) or perf_counter() >= until:
                return

    def _close_here(self) -> None:
        if _is_generator(self.iterator):
            close_here([self.iterator])

    async def close(self, strand: Strand) -> None:
        """A generator runs its clean-up, where sync functions run."""
        self.left = True
        if _is_generator(self.iterator):
            await _called(strand, self.iterator.close, ())

    async def leave(self, strand: Strand) -> None:
        """The same in place, as nothing can be waited for here; one that runs on a thread is closed by that."""
        del strand
        self.left = True
        self._close_here()


class AsyncIterated(OneByOne):
    """Those of an async iterable."""

    async def fetch(self, strand: Strand, came: Callable[[], None]) -> None:
        """As ``Items.fetch``."""
        try:
            got = await _awaited(strand.rt, _anext, self.iterator)
        except Exception as error:  # noqa: BLE001 - the user's
            got = Raised(error)
        self.ahead.append(got)
        came()

    async def close(self, strand: Strand) -> None:
        """A generator runs its clean-up; after an interruption as far as that allows it to wait."""
        if _is_generator(self.iterator):
            with suppress(Exception):
                await _awaited(strand.rt, self.iterator.aclose)

    leave = close


async def _items_of(strand: Strand, op: Op, value: Any) -> Items:
    kind = kind_of(value)
    if getattr(kind, "__iter__", None) in PLAIN:
        return Plain(op, value)
    joint: PlannedBridge = op[3]
    if isinstance(value, TEXT) or not (hasattr(kind, "__iter__") or hasattr(kind, "__aiter__") or _old_style(kind)):
        hint = "; text is one value here: split it first" if isinstance(value, TEXT) else ""
        raise Fail(_on_edge(joint, TypeError(f"`each` takes an iterable; got a value of type {kind.__name__}{hint}")))
    if _is_used_up(value):
        raise Fail(_on_edge(joint, RuntimeError("this generator was read before, and has nothing left")))
    try:
        if hasattr(kind, "__aiter__"):
            return AsyncIterated(op, aiter(value))
        got = await _called(strand, iter, (value,))
    except Exception as error:  # noqa: BLE001 - the user's
        raise Fail(_on_edge(joint, error)) from None
    if isinstance(got, Raised):
        raise Fail(_on_edge(joint, _checked(got)))
    return Iterated(op, got)


def _is_generator(iterator: object) -> bool:
    """Whether it is one: what else may be iterated, a file or a stream for one, is closed by who opened it."""
    return isinstance(iterator, (Generator, AsyncGenerator))


def _is_used_up(value: object) -> bool:
    if isinstance(value, GeneratorType):
        return value.gi_frame is None
    return isinstance(value, AsyncGeneratorType) and value.ag_frame is None


def _old_style(kind: type) -> bool:
    """A sequence that is iterated by its indices."""
    return hasattr(kind, "__getitem__") and hasattr(kind, "__len__")


def _on_edge(place: PlannedBridge, error: Any) -> BridgeFailed:
    return BridgeFailed(place.name, place.before, place.after, error)


def _checked(got: Raised) -> Exception:
    if not isinstance(got.error, Exception):
        raise got.error
    return got.error


async def _called(strand: Strand, fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """Call what may run a user's code, where sync functions run; its value or ``Raised``."""
    room = strand.rt.reserve()
    if room is not None:
        await room
    return await strand.rt.call(fn, args, {})


async def _awaited(rt: Runtime, fn: Callable[..., Awaitable[Any]], *args: Any) -> Any:
    return await (fn(*args) if rt.direct else rt.call_async(fn, args, {}))


async def _anext(iterator: Any) -> Any:
    return await anext(iterator, END)


# --- where results go -------------------------------------------------------------------------------------------


class Results:
    """The list that is handed on."""

    bounded = False  # whether items wait for results

    def __init__(self, crowd: Crowd) -> None:
        self.ordered: bool = crowd.op[2].ordered
        self.found: dict[int, Any] = {}

    def has_room(self, limit: int) -> bool:
        """Whether one more item may be begun."""
        del limit
        return True

    async def add(self, strand: Strand, number: int, value: Any) -> None:
        """What came out of an item."""
        del strand
        if value is not DROPPED:
            self.found[number] = value

    async def value(self, strand: Strand) -> Any:
        """What is handed on."""
        del strand
        return Success(
            [self.found[number] for number in sorted(self.found)] if self.ordered else [*self.found.values()]
        )


class Folding(Results):
    """What a ``reduce`` right after it makes of the values, each as soon as its turn has come; none is kept."""

    def __init__(self, crowd: Crowd, reduce: Reduce, place: PlannedBridge) -> None:
        super().__init__(crowd)
        self.bounded = self.ordered
        self.reduce = reduce
        self.place = place
        self.lock = crowd.lock
        self.total = END  # not begun
        self.next = 0
        self.folding = False  # a worker does so for all

    def has_room(self, limit: int) -> bool:
        """Where order counts, those that came too early wait here, and are not many."""
        return not self.ordered or len(self.found) < limit

    async def add(self, strand: Strand, number: int, value: Any) -> None:
        """Fold it, and those that waited for it."""
        with self.lock:
            self.found[number] = value
            if self.folding:
                return
            self.folding = True
        while (ready := self._ready()) is not END:
            if ready is not DROPPED:
                self.total = await self._guarded(strand, self._fold, ready)

    def _ready(self) -> Any:
        with self.lock:
            number = self.next if self.ordered else next(iter(self.found), -1)
            if number not in self.found:
                self.folding = False
                return END
            self.next += 1
            return self.found.pop(number)

    def _fold(self, value: Any) -> Any:
        return self.reduce.fold(self.reduce.start() if self.total is END else self.total, value)

    def _finish(self) -> Any:
        return self.reduce.result(self.reduce.start() if self.total is END else self.total)

    async def value(self, strand: Strand) -> Any:
        """The total."""
        return await self._guarded(strand, self._finish)

    async def _guarded(self, strand: Strand, fn: Callable[..., Any], *args: Any) -> Any:
        """Where bridges run; an error is that of the bridge which the reduce is."""
        try:
            got: Any = fn(*args) if strand.rt.places else await strand.rt.call(fn, args, {})
        except Exception as error:  # noqa: BLE001 - the user's
            raise _on_edge(self.place, error) from None
        if isinstance(got, Raised):
            raise _on_edge(self.place, _checked(got))
        return got
