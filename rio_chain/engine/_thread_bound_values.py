"""Values that are bound to the thread and the context that made them: generators, database cursors, files.

``each`` reads an iterator many times. An iterator may depend on its thread (an sqlite cursor, an ``RLock``) or on its
context (``decimal.localcontext``, ``ContextVar.reset``). So the worker thread that made it leaves its pool. It makes
all further calls to the iterator, in the same context, until the iterator is closed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from contextvars import Context
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

from attrs import frozen
from returns.result import Success

from rio_chain._core.source_text import name_of
from rio_chain._core.unhandled_errors import surely
from rio_chain.engine._blocking_call import NO_KWARGS, SharedPermit, call_reserved
from rio_chain.engine._runtime_protocol import Raised, Waiter, answer, kind_of

if TYPE_CHECKING:
    from rio_chain.engine._current_run import Strand

NOT_MADE: Any = object()
"""The answer of a call that has not been made yet."""


class ThreadPool(Protocol):
    """The pool of the thread."""

    detached_calls: dict[Any, None]
    """The calls that wait for a detached thread, or run on one."""
    submitted: int
    """It changes with each call."""

    def abandon_detached(self, worker: Any, context: Context) -> None:
        """Count the thread of this worker as abandoned, until it comes back."""


class PinnedCall:
    """One call on the thread of a pinned value."""

    __slots__ = ("answer", "args", "fn", "waiter")

    def __init__(self, fn: Callable[..., Any], args: Sequence[Any], waiter: Waiter) -> None:
        self.fn = fn
        self.args = args
        self.waiter = waiter
        self.answer = NOT_MADE


class PinnedThread:
    """The thread that made a value. It makes the calls for that value, one after the other.

    Args:
        value: the value that the thread has made. If it is a generator, the thread closes it at the end.
        context: the context in which the value was made; all calls run in it.
        pool: the pool of the thread.
        worker: the pool's name for the thread.
    """

    __slots__ = ("_calls", "_lock", "_now", "_over", "_permits", "_pool", "_seat", "context", "value")

    def __init__(self, value: Any, context: Context, pool: ThreadPool, worker: object) -> None:
        self.value = value
        self.context = context
        self._pool = pool
        self._seat = worker
        self._calls: SimpleQueue[PinnedCall | None] = SimpleQueue()
        self._permits: tuple[SharedPermit, ...] = ()  # the places under limits that the thread keeps while abandoned
        self._lock = threading.RLock()
        self._now: PinnedCall | None = None
        self._over = False

    def put(self, call: PinnedCall) -> None:
        """Make a call after the calls before it. From any thread."""
        self._pool.submitted += 1
        self._pool.detached_calls[call] = None
        self._calls.put(call)
        if self._over:
            self._ended()

    def end(self) -> None:
        """Free the thread after the calls before. From any thread, also from a finaliser."""
        self._calls.put(None)

    def close(self, waiter: Waiter) -> PinnedCall:
        """Close the value if it is a generator, then free the thread. This comes after the earlier calls."""
        closing = PinnedCall(close_generator, (self.value,), waiter)
        self.put(closing)
        self.end()
        return closing

    def serve(self) -> None:
        """Make the calls, on the thread that made the value. Returns when the thread is no longer needed."""
        try:
            while (call := self._calls.get()) is not None:
                self._now = call
                try:
                    call.answer = answer(self.context, call.fn, call.args, NO_KWARGS)
                finally:
                    self._now = None
                    self._made(call)
                del call
            answer(self.context, close_generator, (self.value,), NO_KWARGS)
        finally:
            surely(self._ended)

    def _made(self, call: PinnedCall) -> None:
        surely(call.waiter.wake)
        self._pool.detached_calls.pop(call, None)  # last: the virtual clock jumps when no call is left here

    def _ended(self) -> None:
        with self._lock:
            self._over = True
            permits, self._permits = self._permits, ()
        self.value = None
        with suppress(Empty):
            while True:
                call = self._calls.get_nowait()
                if call is not None:  # it will not be made
                    self._made(call)
        for permit in permits:
            permit.leave()

    def abandon(self, closing: PinnedCall, permits: tuple[SharedPermit, ...]) -> bool:
        """Count the thread as abandoned if it runs a call before ``closing``. Returns whether it does."""
        with self._lock:
            if self._over or self._now is None or self._now is closing:
                return False
            self._permits = permits
            for permit in permits:
                permit.join()
            self._pool.abandon_detached(self._seat, self.context)
            return True


class Pinned:
    """A value that a sync function returned, with the thread that made it. The thread is freed with this object.

    Attributes:
        value: the returned value. Only ``call`` uses it.
        body: in an observed run, the context of the attempt that has made it; the calls are made in it.
        context: the context in which it was made.
        thread: the thread that makes the calls. None where calls are made in place, as in virtual time.
    """

    __slots__ = ("body", "context", "thread", "value")

    def __init__(self, value: Any) -> None:
        self.value = value
        self.body: Context | None = None
        self.context: Context | None = None
        self.thread: PinnedThread | None = None

    def detach(self, context: Context, pool: ThreadPool, worker: object) -> PinnedThread:
        """Bind the value to the calling thread, which then has to call ``serve``."""
        self.context = context
        self.thread = thread = PinnedThread(self.value, self.body or context, pool, worker)
        return thread

    async def call(self, strand: Strand, fn: Callable[..., Any], args: Sequence[Any]) -> Any:
        """Make a call where the value was made. Returns its value or ``Raised``. If interrupted, the call runs on."""
        if self.thread is None:
            return await strand.rt.call(self._in_place, (fn, args), NO_KWARGS)
        call = PinnedCall(fn, args, strand.rt.waiter())
        self.thread.put(call)
        await call.waiter.wait()
        return Raised(RuntimeError("the thread of this iterator has ended")) if call.answer is NOT_MADE else call.answer

    async def call_first(self, strand: Strand, fn: Callable[..., Any], args: Sequence[Any]) -> Any:
        """As ``call``, for the first call after the value was made. If interrupted: ``leave``, then raise."""
        try:
            return await self.call(strand, fn, args)
        except GeneratorExit:
            self.drop()
            raise
        except BaseException:
            await self.leave(strand)
            raise

    def _in_place(self, fn: Callable[..., Any], args: Sequence[Any]) -> Any:
        context = self.body or self.context
        return fn(*args) if context is None else context.run(fn, *args)

    def became(self, value: Any) -> Pinned:
        """Replace the value by one that was made from it, on the same thread."""
        self.value = value
        if self.thread is not None:
            self.thread.value = value
        return self

    async def close(self, strand: Strand) -> None:
        """Close the value if it is a generator, and wait for that. If interrupted: ``leave``, then raise."""
        thread, self.thread = self.thread, None
        if thread is None:
            await strand.rt.call(self._in_place, (close_generator, (self.value,)), NO_KWARGS)
            return
        closing = thread.close(strand.rt.waiter())
        try:
            await closing.waiter.wait()
        except BaseException:
            await _leave(strand, thread, closing)
            raise

    async def leave(self, strand: Strand) -> None:
        """The same in an interrupted strand: wait for the clean-up only, and not for a call that hangs."""
        thread, self.thread = self.thread, None
        if thread is None:
            self._close_here()
        else:
            await _leave(strand, thread, thread.close(strand.rt.waiter()))

    def drop(self) -> None:
        """The same where nothing can be awaited."""
        thread, self.thread = self.thread, None
        if thread is None:
            self._close_here()
        else:
            thread.end()

    def _close_here(self) -> None:
        context = self.body or self.context
        if context is not None:
            answer(context, close_generator, (self.value,), NO_KWARGS)

    def __del__(self) -> None:
        thread = getattr(self, "thread", None)
        if thread is not None:
            thread.end()


async def _leave(strand: Strand, thread: PinnedThread, closing: PinnedCall) -> None:
    """Wait until it is closed, unless the thread hangs in an earlier call."""
    if thread.abandon(closing, tuple(permit for permit in strand.permits if permit.open)):
        strand.give_up_pinned(thread.context)
    else:
        await closing.waiter.wait_shielded()


def claim(strand: Strand, value: object) -> Pinned | None:
    """The strand's ``Pinned`` for this value, or None. The caller owns it from now on."""
    for pinned in strand.pinned:
        if pinned.value is value:
            strand.pinned = tuple(other for other in strand.pinned if other is not pinned)
            return pinned
    return None


def close_generator(value: Any) -> None:
    """Close a generator. Any other iterable, such as a file, is closed by the code that opened it."""
    if isinstance(value, Generator):
        value.close()


@frozen
class Pinning:
    """A function that returns its value as ``Pinned`` if ``pins`` is true of the value.

    ``plain``: the value surely needs no thread. This is known before the call. ``body``: the one of the ``Pinned``.
    """

    fn: Callable[..., Any]
    pins: Callable[[Any], bool]
    plain: bool = False
    body: Context | None = None

    @property
    def __name__(self) -> str:
        """The name of the function, for errors."""
        return name_of(self.fn)

    def __call__(self, *args: Any) -> Any:
        """Call it."""
        got = self.fn(*args)
        inner: Any = got.unwrap() if kind_of(got) is Success else got
        if not self.pins(inner):
            return got
        pinned = Pinned(inner)
        pinned.body = self.body
        return pinned


async def call_pinning(strand: Strand, function: Pinning, value: Any) -> Any:
    """Call a bridge or the like: on the thread of its pinned input, else on one that its value can keep."""
    pinned = claim(strand, value)
    if pinned is None:
        if function.plain and strand.rt.places:
            try:
                return function.fn(value)
            except StopIteration as error:  # no coroutine can raise one
                return Raised(error)
        return await call_reserved(strand, function, (value,))
    got = await pinned.call_first(strand, function, (value,))
    if type(got) is Pinned:
        return pinned.became(got.value)
    pinned.drop()
    return got
