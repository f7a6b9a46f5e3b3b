"""Where the items of an ``each`` come from: a list, an iterator whose code runs on a thread, an async iterator."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import suppress
from time import perf_counter
from types import AsyncGeneratorType, GeneratorType
from typing import Any

from rio_chain.engine.apply import Fail
from rio_chain.engine.blocking import call_blocking
from rio_chain.engine.current import Strand
from rio_chain.engine.late import close_here
from rio_chain.engine.program import Op
from rio_chain.engine.runtime import Raised, Runtime, kind_of
from rio_chain.errors import BridgeFailed
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
            raise self.failed(strand, checked(item))
        return item

    async def fetch(self, strand: Strand, came: Callable[[], None]) -> None:
        """Fetch at least one item, or ``END``; ``came`` is told of each."""
        raise NotImplementedError

    def failed(self, strand: Strand, error: Any) -> Fail:
        """What iterating raised is the failure of who made the iterator."""
        if self.maker is None:
            return Fail(on_edge(self.source, error))
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
        self.most = op[2].limit  # to be fetched at once


class Iterated(OneByOne):
    """Those of any other iterable, whose code runs where sync functions run."""

    def __init__(self, op: Op, iterator: Any) -> None:
        super().__init__(op, iterator)
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
            try:
                await _called(strand, self.iterator.close, ())
            except BaseException:  # it may not have begun
                self._close_here()
                raise

    async def leave(self, strand: Strand) -> None:
        """The same in place, as nothing can be waited for here; one that runs on a thread is closed by that."""
        del strand
        self.left = True
        self._close_here()


class AsyncIterated(OneByOne):
    """Those of an async iterable."""

    async def fetch(self, strand: Strand, came: Callable[[], None]) -> None:
        """As ``Items.fetch``. A trip to another loop brings more than one item, if they come quickly."""
        got = await _awaited(strand.rt, self._several, came, 1 if strand.rt.direct else self.most)
        if isinstance(got, Raised):
            self.ahead.append(got)

    async def _several(self, came: Callable[[], None], most: int) -> None:
        until = perf_counter() + PATIENCE
        for _ in range(most):
            try:
                item = await anext(self.iterator, END)
            except Exception as error:  # noqa: BLE001 - told when its turn comes
                item = Raised(error)
            self.ahead.append(item)
            came()
            if item is END or isinstance(item, Raised) or perf_counter() >= until:
                return

    async def close(self, strand: Strand) -> None:
        """A generator runs its clean-up; after an interruption as far as that allows it to wait."""
        if _is_generator(self.iterator):
            with suppress(Exception):
                await _awaited(strand.rt, self.iterator.aclose)

    leave = close


async def items_of(strand: Strand, op: Op, value: Any) -> Items:
    """The items of a value, as its type wants them to be taken; ``Fail`` where it has none."""
    kind = kind_of(value)
    if getattr(kind, "__iter__", None) in PLAIN:
        return Plain(op, value)
    joint: PlannedBridge = op[3]
    if isinstance(value, TEXT) or not (hasattr(kind, "__iter__") or hasattr(kind, "__aiter__") or _old_style(kind)):
        hint = "; text is one value here: split it first" if isinstance(value, TEXT) else ""
        raise Fail(on_edge(joint, TypeError(f"`each` takes an iterable; got a value of type {kind.__name__}{hint}")))
    if _is_used_up(value):
        raise Fail(on_edge(joint, RuntimeError("this generator was read before, and has nothing left")))
    try:
        if hasattr(kind, "__aiter__"):
            return AsyncIterated(op, aiter(value))
        got = await _called(strand, iter, (value,))
    except Exception as error:  # noqa: BLE001 - the user's
        raise Fail(on_edge(joint, error)) from None
    if isinstance(got, Raised):
        raise Fail(on_edge(joint, checked(got)))
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


def on_edge(place: PlannedBridge, error: Any) -> BridgeFailed:
    """The error as that of a place between two tasks."""
    return BridgeFailed(place.name, place.before, place.after, error)


def checked(got: Raised) -> Exception:
    """The error that a call gave; what ends more than the run is raised."""
    error = got.error
    if isinstance(error, Exception):
        return error
    try:
        raise error
    finally:
        del got, error  # its traceback keeps this frame


async def _called(strand: Strand, fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """Call what may run a user's code, where sync functions run; its value or ``Raised``."""
    room = strand.rt.reserve()
    if room is not None:
        await room
    return await call_blocking(strand, fn, args)


async def _awaited(rt: Runtime, fn: Callable[..., Awaitable[Any]], *args: Any) -> Any:
    return await (fn(*args) if rt.direct else rt.call_async(fn, args, {}))
