"""Where the items of an ``each`` come from: a list, an iterator that a thread reads, an async iterator."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import Context
from time import perf_counter
from typing import Any

from rio_chain.chain._plan import PlannedBridge
from rio_chain.engine._async_iterator_reader import PATIENCE, AsyncReader
from rio_chain.engine._blocking_call import call_reserved
from rio_chain.engine._current_run import Strand
from rio_chain.engine._frames import Fail
from rio_chain.engine._instructions import ItemsOp
from rio_chain.engine._iterables import TEXT, is_async, is_plain, is_used_up, runs_code
from rio_chain.engine._runtime_protocol import Raised, checked, kind_of
from rio_chain.engine._thread_bound_values import Pinned, Pinning, claim
from rio_chain.errors import BridgeFailed
from rio_chain.results._task_record import record_of

END: Any = object()
NOTHING: Any = object()
"""No item is ready yet."""


class Items:
    """The source of the items. Items are fetched, maybe a few ahead, and wait here until they are taken."""

    size: int | None = None
    iterator: Any = None
    """An iterator that can be read only once, or None."""

    def __init__(self, op: ItemsOp) -> None:
        self.maker, self.source = op.maker, op.source
        self.most: int = op.node.limit  # the most items to fetch at once
        self.ahead: deque[Any] = deque()

    def ready(self, strand: Strand) -> Any:
        """The next item, or ``END``, or ``NOTHING`` if it has to be fetched."""
        if not self.ahead:
            return NOTHING
        item = self.ahead.popleft()
        if isinstance(item, Raised):
            raise self.failed(strand, checked(item))
        return item

    async def fetch(self, strand: Strand, came: Callable[[], None]) -> None:
        """Fetch at least one item, or ``END``. ``came`` is called for each of them."""
        raise NotImplementedError

    def failed(self, strand: Strand, error: Any) -> Fail:
        """The failure for an error of the iteration. If a task made the iterator, the error is recorded for it."""
        if self.maker is None:
            return Fail(on_edge(self.source, error))
        record_of(strand.run.log, self.maker).failed(error)
        return Fail(error)

    async def during(self, strand: Strand, work: Callable[[], Awaitable[None]]) -> None:
        """Run ``work``, which takes the items. Items that are left at its end are not used."""
        del strand
        await work()

    def drop(self) -> None:
        """Drop the items that are left."""


class Plain(Items):
    """The items of a list, or of another type whose iteration runs no user code."""

    def __init__(self, op: ItemsOp, value: Any) -> None:
        super().__init__(op)
        with suppress(OverflowError):  # the length of a range may be too large for `len`
            self.size = len(value)
        self.plain = iter(value)

    def ready(self, strand: Strand) -> Any:
        """As ``Items.ready``; it never has to wait."""
        try:
            return next(self.plain, END)
        except Exception as error:  # noqa: BLE001 - the collection was changed during the iteration
            raise self.failed(strand, error) from None


class Iterated(Items):
    """The items of any other iterable. One thread reads it."""

    def __init__(self, op: ItemsOp, pinned: Pinned, iterator: Any) -> None:
        super().__init__(op)
        self.iterator = iterator
        self.left = False
        self._pinned = pinned

    async def fetch(self, strand: Strand, came: Callable[[], None]) -> None:
        """As ``Items.fetch``. One trip to the thread brings several items, if they come quickly."""
        got = await self._pinned.call(strand, self._several, (came,))
        if isinstance(got, Raised):
            self.ahead.append(got)

    def _several(self, came: Callable[[], None]) -> None:
        """Read several items. Each is ready at once: the next one may be slow, or wait for the result of this one."""
        until = perf_counter() + PATIENCE
        for _ in range(self.most):
            if self.left:
                return
            try:
                item = next(self.iterator, END)
            except BaseException as error:  # noqa: BLE001 - raised where the item is taken
                item = Raised(error)
            self.ahead.append(item)
            came()
            if item is END or isinstance(item, Raised) or perf_counter() >= until:
                return

    async def during(self, strand: Strand, work: Callable[[], Awaitable[None]]) -> None:
        """As ``Items.during``. A generator is closed on its thread before this ends."""
        try:
            await work()
        except Fail:
            self.left = True
            await self._pinned.close(strand)
            raise
        except GeneratorExit:
            self.drop()
            raise
        except BaseException:
            self.left = True
            await self._pinned.leave(strand)
            raise
        self.drop()

    def drop(self) -> None:
        """As ``Items.drop``."""
        self.left = True
        self._pinned.drop()


class AsyncIterated(Items):
    """The items of an async iterable. One strand reads it."""

    def __init__(self, op: ItemsOp, iterator: Any, context: Context | None) -> None:
        super().__init__(op)
        self.iterator = iterator
        self._reader = AsyncReader(iterator, END, self._put, self._broke, context)
        self._came: Callable[[], object] = list
        self.broke: Callable[[Any], object] = list
        """Called with the error of an iterator that fails while all workers are busy."""

    def _broke(self, got: Raised) -> None:
        self.broke(got.error)

    def _put(self, item: Any) -> None:
        self.ahead.append(item)
        self._came()

    async def fetch(self, strand: Strand, came: Callable[[], None]) -> None:
        """As ``Items.fetch``. It reads several items, if they come quickly."""
        self._came = came
        await self._reader.pull(strand, self.most)

    async def during(self, strand: Strand, work: Callable[[], Awaitable[None]]) -> None:
        """As ``Items.during``. A generator is closed by the strand that reads it, before this ends."""
        await self._reader.during(strand, work)


async def items_of(strand: Strand, op: ItemsOp, value: Any) -> Items:
    """The items of a value, by its type. Raises ``Fail`` if the value can't be iterated."""
    if is_plain(value):
        return Plain(op, value)
    joint = op.joint
    if not (is_async(value) or runs_code(value)):
        hint = "; text counts as one value: split it first" if isinstance(value, TEXT) else ""
        kind = kind_of(value).__name__
        raise Fail(on_edge(joint, TypeError(f"`each` takes an iterable; got a value of type {kind}{hint}")))
    if is_used_up(value):
        raise Fail(on_edge(joint, RuntimeError("this generator was read before, and has no items left")))
    try:
        if is_async(value):
            return AsyncIterated(op, aiter(value), strand.context_of(value))
        return await _iterated(strand, op, value)
    except Exception as error:  # noqa: BLE001 - the user's
        raise Fail(on_edge(joint, error)) from None


async def _iterated(strand: Strand, op: ItemsOp, value: Any) -> Iterated:
    """Read it on the thread that made it, or else on a thread reserved for it."""
    pinned = claim(strand, value)
    if pinned is not None:
        got = await pinned.call_first(strand, iter, (value,))
        if isinstance(got, Raised):
            pinned.drop()
            raise checked(got)
        return Iterated(op, pinned.became(got), got)
    made: Any = await call_reserved(strand, Pinning(iter, _always, body=strand.context_of(value)), (value,))
    if isinstance(made, Pinned):
        return Iterated(op, made, made.value)
    raise checked(made)


def _always(_: object) -> bool:
    return True


def on_edge(place: PlannedBridge, error: Any) -> BridgeFailed:
    """The error of a place between two tasks."""
    return BridgeFailed(place.name, place.before, place.after, error)
