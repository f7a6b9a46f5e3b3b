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
"""There is no item yet."""


class Items:
    """What is iterated. Items are fetched, maybe a few ahead, and wait until they are taken."""

    size: int | None = None
    iterator: Any = None
    """What can be read only once."""

    def __init__(self, op: ItemsOp) -> None:
        self.maker, self.source = op.maker, op.source
        self.most: int = op.node.limit  # items to be fetched at once
        self.ahead: deque[Any] = deque()

    def ready(self, strand: Strand) -> Any:
        """The next item, or ``END``, or ``NOTHING``: it has to be fetched."""
        if not self.ahead:
            return NOTHING
        item = self.ahead.popleft()
        if isinstance(item, Raised):
            raise self.failed(strand, checked(item))
        return item

    async def fetch(self, strand: Strand, came: Callable[[], None]) -> None:
        """Fetch at least one item, or ``END``. ``came`` is called for each."""
        raise NotImplementedError

    def failed(self, strand: Strand, error: Any) -> Fail:
        """What iterating raised is the failure of who made the iterator."""
        if self.maker is None:
            return Fail(on_edge(self.source, error))
        record_of(strand.run.log, self.maker).failed(error)
        return Fail(error)

    async def during(self, strand: Strand, work: Callable[[], Awaitable[None]]) -> None:
        """Do the work that takes the items. When it ends, nobody takes the rest."""
        del strand
        await work()

    def drop(self) -> None:
        """Nobody takes any."""


class Plain(Items):
    """Those of a list and its like."""

    def __init__(self, op: ItemsOp, value: Any) -> None:
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


class Iterated(Items):
    """Those of any other iterable, which one thread reads."""

    def __init__(self, op: ItemsOp, pinned: Pinned, iterator: Any) -> None:
        super().__init__(op)
        self.iterator = iterator
        self.left = False
        self._pinned = pinned

    async def fetch(self, strand: Strand, came: Callable[[], None]) -> None:
        """As ``Items.fetch``. Each trip to the thread brings more than one item, if they come quickly."""
        got = await self._pinned.call(strand, self._several, (came,))
        if isinstance(got, Raised):
            self.ahead.append(got)

    def _several(self, came: Callable[[], None]) -> None:
        """Each is there as soon as it has come: the one after it may take long, or wait for what comes of this one."""
        until = perf_counter() + PATIENCE
        for _ in range(self.most):
            if self.left:
                return
            try:
                item = next(self.iterator, END)
            except BaseException as error:  # noqa: BLE001 - raised where it is taken
                item = Raised(error)
            self.ahead.append(item)
            came()
            if item is END or isinstance(item, Raised) or perf_counter() >= until:
                return

    async def during(self, strand: Strand, work: Callable[[], Awaitable[None]]) -> None:
        """As ``Items.during``. A generator is closed on its thread, before this ends."""
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
    """Those of an async iterable, which one strand drives."""

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
        """As ``Items.fetch``. It reads more than one item, if they come quickly."""
        self._came = came
        await self._reader.pull(strand, self.most)

    async def during(self, strand: Strand, work: Callable[[], Awaitable[None]]) -> None:
        """As ``Items.during``. A generator is closed by the strand that drives it, before this ends."""
        await self._reader.during(strand, work)


async def items_of(strand: Strand, op: ItemsOp, value: Any) -> Items:
    """The items of a value, as its type wants them to be taken; ``Fail`` where it has none."""
    if is_plain(value):
        return Plain(op, value)
    joint = op.joint
    if not (is_async(value) or runs_code(value)):
        hint = "; text is one value here: split it first" if isinstance(value, TEXT) else ""
        kind = kind_of(value).__name__
        raise Fail(on_edge(joint, TypeError(f"`each` takes an iterable; got a value of type {kind}{hint}")))
    if is_used_up(value):
        raise Fail(on_edge(joint, RuntimeError("this generator was read before, and has nothing left")))
    try:
        if is_async(value):
            return AsyncIterated(op, aiter(value), strand.context_of(value))
        return await _iterated(strand, op, value)
    except Exception as error:  # noqa: BLE001 - the user's
        raise Fail(on_edge(joint, error)) from None


async def _iterated(strand: Strand, op: ItemsOp, value: Any) -> Iterated:
    """Read it on the thread that made it, or else on one that is not used for anything else."""
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
    """The error as that of a place between two tasks."""
    return BridgeFailed(place.name, place.before, place.after, error)
