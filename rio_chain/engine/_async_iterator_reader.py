"""Reads an async iterator in a strand that does nothing else.

A generator may open a scope, a timeout or a task group and yield inside of it. This works only under three conditions:
the same task continues the generator, the engine arms no limit in that task meanwhile, and an interruption between two
items is thrown in at the ``yield``. Then a timeout that the generator opened is raised where the generator closes it.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextvars import Context
from time import perf_counter
from typing import Any

from rio_chain._core.unhandled_errors import surely
from rio_chain.engine._awaited_in_context import AwaitedInContext
from rio_chain.engine._classify_error import EXITS
from rio_chain.engine._current_run import CURRENT, INF, Strand
from rio_chain.engine._frames import Fail
from rio_chain.engine._runtime_protocol import Raised, Waiter, checked, no_winner

PATIENCE = 0.001
"""Seconds after which a batch of items ends, so that no items are read which are not needed."""


class AsyncReader:
    """One async iterator that is being read.

    Args:
        iterator: the iterator.
        end: the value that marks its end.
        put: called with each item, with ``Raised`` for an error, and with ``end``.
        broke: called with the ``Raised`` of an iterator that fails while no item is wanted.
        context: the context in which its body runs; None: that of the strand.
    """

    def __init__(
        self,
        iterator: Any,
        end: Any,
        put: Callable[[Any], None],
        broke: Callable[[Raised], None],
        context: Context | None = None,
    ) -> None:
        self._iterator = iterator
        self._generates = isinstance(iterator, AsyncGenerator)  # it has `aclose` and `athrow`
        self._end = end
        self._put = put
        self._broke = broke
        self._context = context
        self._wanted = 0  # the number of items that are wanted
        self._left = False  # no more items are wanted
        self._reads = False  # it waits for an item
        self._interrupted = False  # the wait was interrupted
        self._stopping = False  # the interruption has not come yet
        self._lock = threading.RLock()
        self._over = False
        self._driver: Strand | None = None
        self._idle: Waiter | None = None  # the reader waits here until an item is wanted
        self._puller: Waiter | None = None

    # --- the strands that take items ------------------------------------------------------------------------------

    async def pull(self, strand: Strand, count: int) -> None:
        """Wait until at least one more item is read. Up to ``count`` are read, as long as they come quickly."""
        self._puller = waiter = strand.rt.waiter()
        self._wanted = count
        self._wake()
        if not self._over:
            await waiter.wait()

    async def during(self, strand: Strand, work: Callable[[], Awaitable[None]]) -> None:
        """Read while the work goes on. Ends when both have ended."""
        failed: list[Fail] = []

        async def worked() -> None:
            try:
                await work()
            except Fail as fail:  # the iterator is closed first, and its clean-up is not cancelled
                failed.append(fail)
            except BaseException:  # the race interrupts the iterator: a second interruption would hit its clean-up
                with self._lock:
                    self._left = True
                    self._stopping = not self._interrupted
                self._wake()
                raise
            self._leave()

        async def read() -> None:
            await self._drive(strand)

        await strand.rt.race([read, worked], no_winner)
        if failed:
            try:
                raise failed[0]
            finally:
                failed.clear()  # its traceback keeps this frame

    def _leave(self) -> None:
        """No more items are wanted: end the wait for an item, or close the iterator."""
        driver = self._driver
        with self._lock:
            self._left = True
            self._stopping = self._reads and driver is not None
        if self._stopping and driver is not None:
            surely(driver.slot.stop)
        self._wake()

    def _wake(self) -> None:
        idle = self._idle
        if idle is not None:
            surely(idle.wake)

    # --- the strand that reads ------------------------------------------------------------------------------------

    async def _drive(self, parent: Strand) -> None:
        self._driver = own = parent.fork()
        CURRENT.set(own)
        if self._context is not None:
            self._context.run(CURRENT.set, own)
        own.slot.arm(INF)  # before the generator begins, so that everything it opens is inside of this
        rt = own.rt
        try:
            got = await (
                self._watched(rt.async_waiter) if rt.direct else rt.call_async(self._watched, (rt.async_waiter,), {})
            )
            if isinstance(got, Raised):
                checked(got)
                self._hand_on(got)
                self._pulled()
        except BaseException as exc:
            if isinstance(exc, EXITS) or not own.slot.settle(exc):
                raise
        finally:
            self._driver = None
            own.end()

    async def _watched(self, waiter: Callable[[], Waiter]) -> None:
        await _Interruptible(self._read(waiter), self._notice)

    def _notice(self) -> None:
        with self._lock:
            self._interrupted = True
            self._stopping = False

    async def _read(self, waiter: Callable[[], Waiter]) -> None:
        """Read the items that are wanted. It runs where async functions run."""
        thrown: BaseException | None = None
        while not self._over:
            try:
                await self._room(waiter)
            except BaseException as error:
                if not self._generates or isinstance(error, GeneratorExit):
                    raise
                thrown = error
            if thrown is None and self._left:
                await self._close()
                return
            await self._several(thrown)
            thrown = None

    async def _room(self, waiter: Callable[[], Waiter]) -> None:
        """Wait until an item is wanted, or no more items are wanted."""
        while not self._goes_on():
            self._idle = idle = waiter()
            if not self._goes_on():
                await idle.wait()

    def _goes_on(self) -> bool:
        return bool(self._wanted or self._left) and not self._stopping  # an interruption must not hit the clean-up

    async def _several(self, thrown: BaseException | None) -> None:
        """Read the wanted items, or those of them that come quickly. ``thrown`` interrupted the wait: throw it in."""
        until = perf_counter() + PATIENCE
        wanted, self._wanted = self._wanted, 0
        goes_on = True
        while goes_on:
            item = await self._item(thrown)
            if thrown is not None and isinstance(item, Raised):
                self._broke(item)
            self._hand_on(item)
            thrown = None
            wanted -= 1
            goes_on = wanted > 0 and not (self._over or self._left) and perf_counter() < until
        self._pulled()

    def _pulled(self) -> None:
        puller, self._puller = self._puller, None
        if puller is not None:
            surely(puller.wake)

    async def _item(self, thrown: BaseException | None) -> Any:
        self._reads = True
        try:
            if thrown is None:
                return await self._inside(anext(self._iterator, self._end))
            return await self._inside(self._iterator.athrow(thrown))
        except StopAsyncIteration:
            return self._end
        except Exception as error:  # noqa: BLE001 - raised where it is taken
            return Raised(error)
        finally:
            with self._lock:
                self._reads = False
            del thrown  # its traceback keeps this frame

    def _inside(self, awaitable: Awaitable[Any]) -> Awaitable[Any]:
        """The awaitable, with its steps in the context of the iterator's body."""
        return awaitable if self._context is None else AwaitedInContext(self._context, awaitable)

    def _hand_on(self, item: Any) -> None:
        self._over = self._over or item is self._end or isinstance(item, Raised)
        self._put(item)

    async def _close(self) -> None:
        if self._generates:
            try:
                await self._inside(self._iterator.aclose())
            except Exception:  # noqa: BLE001 - an error of the clean-up; the run has ended for another reason
                return
            except BaseExceptionGroup as group:  # what a task group makes of the GeneratorExit
                if group.split((Exception, GeneratorExit))[1] is not None:
                    raise


class _Interruptible:
    """Awaits a coroutine, and calls ``notice`` when an interruption is thrown into it.

    A generator may swallow its interruption. Only this call shows then that the interruption has come.
    """

    __slots__ = ("_notice", "cr_await", "send")

    def __init__(self, coroutine: Coroutine[Any, Any, None], notice: Callable[[], None]) -> None:
        self.cr_await = coroutine  # where ``frames_of`` looks for it
        self._notice = notice
        self.send = coroutine.send

    def __await__(self) -> Any:
        return self

    def __next__(self) -> Any:
        return self.send(None)

    def throw(self, error: BaseException) -> Any:
        if not isinstance(error, Exception):
            self._notice()
        return self.cr_await.throw(error)

    def close(self) -> None:
        self.cr_await.close()
