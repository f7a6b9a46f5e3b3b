"""The virtual executor: runs in virtual time, on the thread that waits for them, in the same way each time.

It is the Runtime of the thread executor with another pool and another clock (see ``_loop``). So the same code decides
what ends a function, what is woken, and in which order. Async functions run on the same loop: each is a strand.
"""

from __future__ import annotations

import random
import threading
import weakref
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import Context, copy_context
from datetime import UTC, datetime
from functools import partial
from math import inf
from typing import Any, TypeVar, cast

from rio_chain._core.forks import after_fork
from rio_chain._core.suspended_frames import frames_of
from rio_chain._core.unhandled_errors import surely
from rio_chain._core.units import flag, milliseconds, short_repr
from rio_chain.chain._fresh_policies import FreshPolicies
from rio_chain.engine._runtime_protocol import Lane, Raised, Runtime, Waiter, answer
from rio_chain.errors import ChainDefinitionError, UsageError
from rio_chain.executors._base import Executor, Lost, Main
from rio_chain.executors._blocking_wait import BlockingHost
from rio_chain.executors._current_strand import current_strand, driven_within
from rio_chain.executors._run_ticket import LOST
from rio_chain.executors._spawned_strands import on_loop
from rio_chain.executors._strand import ThreadStrand
from rio_chain.executors._strand_slot import StrandCancelled
from rio_chain.executors._thread import ThreadRuntime
from rio_chain.executors._thread_waiter import ThreadWaiter, yield_to_others
from rio_chain.executors._worker_pool import WorkerPool
from rio_chain.executors.virtual._loop import NAME, VirtualLoop, running
from rio_chain.executors.virtual._real_io_guard import explain_real_io

T = TypeVar("T")


class VirtualExecutor(Executor):
    """Runs in virtual time. Give it where executors are given by name: ``Balancer(VirtualExecutor(seed=7))``.

    Functions are called one after the other on the thread that waits, and take no time. A sleep, a backoff or a limit
    moves the clock, at once. Two runs with the same seed are the same, on every machine: the same order, the same
    jitter, the same times. An async function sleeps with ``rio_chain.testing.sleep``.

    All runs on one of these share its clock, which begins at 0. What it says for the time of day, which schedules use,
    begins at ``start``.

    Args:
        seed: for the random numbers of jitter, and for the order with ``shuffle``. Default 0.
        fresh: True: breakers, limits, caches and other policies with a state that were made before this executor are
            replaced by new ones in its runs. Default False: chains use them as they are.
        shuffle: if several things are ready at the same instant, draw which is first, for a test that must not depend
            on it. Default False: in the order in which they became ready, as asyncio does.

    Raises:
        ChainDefinitionError: an argument out of its range.

    Example:
        >>> from rio_chain import Balancer, Task
        >>> from rio_chain.testing import VirtualExecutor, sleep
        >>> async def fetch(x: int) -> int:
        ...     await sleep(3_600_000)
        ...     raise OSError
        >>> executor = VirtualExecutor()
        >>> with Balancer(executor, abandon_after=1e9) as balancer:
        ...     outcome = balancer.run(Task(fetch).retry(23, backoff=None)(1))
        >>> outcome["fetch"].attempts, executor.now
        (24, 86400000.0)
    """

    name = NAME

    def __init__(
        self, seed: int = 0, *, shuffle: bool = False, fresh: bool = False, start: datetime | None = None
    ) -> None:
        given: tuple[Any, Any] = seed, shuffle
        if type(given[0]) is not int:
            raise ChainDefinitionError(f"`seed` must be a whole number; got {short_repr(seed)}")
        if type(given[1]) is not bool:
            raise ChainDefinitionError(f"`shuffle` must be True or False; got {short_repr(shuffle)}")
        self._seed, self._shuffle = seed, shuffle
        draw, pick = (random.Random(f"{seed}:{what}").random for what in ("draws", "order"))  # noqa: S311 - no secret
        self.loop = VirtualLoop(draw, pick if shuffle else None)
        self.loop.policies = FreshPolicies(old_only=True) if flag(fresh, "fresh") else None
        self.loop.time_at_zero = _checked_start(start)

    @property
    def now(self) -> float:
        """Milliseconds of its own time since it was made."""
        return milliseconds(self.loop.now())

    def launch(self, threads: int, max_abandoned: int, name: str = NAME) -> VirtualHost:  # noqa: ARG002 - it has none
        """As ``Executor.launch``."""
        return VirtualHost(self.loop)

    def __repr__(self) -> str:
        return f"<VirtualExecutor seed={self._seed}{', shuffled' if self._shuffle else ''}, at {self.now:g} ms>"


def _checked_start(start: Any) -> float:
    if start is None:
        return datetime(2000, 1, 1, tzinfo=UTC).timestamp()
    if not isinstance(start, datetime) or start.utcoffset() is None:
        raise ChainDefinitionError(
            f"`start` must be a datetime with a time zone: datetime(2026, 3, 29, tzinfo=UTC); got {short_repr(start)}"
        )
    return start.timestamp()


def run(executor: VirtualExecutor, fn: Callable[[], Awaitable[T]]) -> T:
    """Run an async function on the executor, and return its value."""
    loop = executor.loop
    if running() is loop:
        raise UsageError("this would wait for itself; `await` the function")
    answers: list[tuple[Any, BaseException | None]] = []  # not ``Raised``: a debugger should find the frames of `fn`

    def ended(value: Any, error: BaseException | None) -> None:
        answers.append((value, error))

    strand = ThreadStrand(loop.kernel, partial(_named, fn), copy_context(), ended)
    loop.soon(strand.drive)
    try:
        loop.drive(lambda: bool(answers))
    except BaseException:
        strand.cancel()
        loop.drive(lambda: bool(answers))
        raise
    value, error = answers.pop()
    if error is None:
        got: T = value
        return got
    try:
        raise error
    finally:
        del error  # its traceback keeps this frame


def end_spawned(loop: VirtualLoop) -> None:
    """Before the loop ends: cancel the strands on it that no caller waits for, and drive their clean-up."""
    for strand in on_loop(loop):
        strand.cancel(LOST)
    if on_loop(loop):
        loop.drive(lambda: not on_loop(loop))


def _forget_spawned(loop: VirtualLoop) -> None:
    for strand in on_loop(loop):
        surely(strand.lost)


def _note(note: Callable[[Any], object], value: Any, error: BaseException | None) -> None:
    note(value if error is None else Raised(error))


async def _named(fn: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
    """Call the function. A clearer error replaces that of a library whose loop does not run."""
    try:
        return await fn(*args, **kwargs)
    except Exception as error:
        explain_real_io(error)
        raise


# --- the runtime ------------------------------------------------------------------------------------------------


class VirtualRuntime(ThreadRuntime):
    """``Runtime`` on a virtual loop."""

    places = True  # no other thread could take over a function that is stuck
    turn = 0.0  # time moves when all strands wait

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__(loop.pool, AsyncFunctions, loop)
        self._kernel = loop.kernel
        self._loop = loop
        self._lanes: Mapping[str, Lane] = {}
        self.draw = loop.draw
        self.policies = loop.policies
        self.home = loop
        self.running = running

    def here(self) -> bool:
        """As ``LoopRuntime.here``."""
        return running() is self._loop

    async def sleep(self, seconds: float) -> None:
        """As ``Runtime.sleep``. A sleep of no time lets the others run first."""
        await (super().sleep(seconds) if seconds > 0 else yield_to_others())

    @property
    def lanes(self) -> Mapping[str, Lane]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The lanes of the balancer, without any process."""
        return self._lanes

    @lanes.setter
    def lanes(self, lanes: Mapping[str, Lane]) -> None:
        self._lanes = {name: InlineLane() for name in lanes}


class AsyncFunctions:
    """Runs async functions: each as a strand that begins at once, inside of the calling one."""

    cancellation: type[BaseException] = StrandCancelled

    def start(
        self,
        fn: Callable[..., Awaitable[Any]],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        context: Context,
        done: Callable[[Any], None],
    ) -> Callable[[], None]:
        """As ``AsyncHost.start``."""
        strand = ThreadStrand(
            current_strand().kernel, partial(_named, fn, *args, **kwargs), context, partial(_note, done)
        )
        driven_within(strand)
        return strand.cancel

    def waiter(self) -> Waiter:
        """As ``AsyncHost.waiter``."""
        return ThreadWaiter(current_strand())


class InlineLane:
    """A lane whose functions are called in place: they take no time, so no call waits for a process."""

    def reserve(self, waiter: object, fn: object) -> None:
        """As ``Lane.reserve``."""

    def unreserve(self) -> None:
        """As ``Lane.unreserve``."""

    async def call(self, waiter: object, name: str, fn: Callable[..., Any], value: Any) -> Any:  # noqa: ARG002
        """As ``Lane.call``."""
        return answer(copy_context(), fn, (value,), {})


# --- the host ---------------------------------------------------------------------------------------------------


class VirtualHost(BlockingHost):
    """A virtual loop as a host. The thread that waits for it drives it."""

    name = NAME
    cancelled: type[BaseException] = StrandCancelled
    must_close = False

    def __init__(self, loop: VirtualLoop, *, own: bool = False) -> None:
        self._loop = loop
        self._own = own  # whether the loop ends with this host
        self.pool: WorkerPool = loop.pool
        self.time_at_zero: float | None = loop.time_at_zero
        runtime = VirtualRuntime(loop)
        self.spawned = runtime.spawned
        self.runtime = cast("Runtime", runtime)
        self._forked = False
        after_fork(self._renew)
        if own:  # if it is dropped without a close, nothing will drive the loop
            weakref.finalize(self, _forget_spawned, loop).atexit = False

    def spawn(self, main: Main, context: Context, *, accepted: bool = False) -> None:
        """As ``Host.spawn``."""
        self._loop.kernel.spawn(main, context, accepted=accepted)

    def here(self) -> bool:
        """As ``Host.here``."""
        return running() is self._loop

    def forked(self) -> bool:
        """As ``BlockingHost.forked``."""
        return self._forked

    def _renew(self) -> None:
        self._forked = True

    def on_loop_thread(self) -> bool:
        """As ``BlockingHost.on_loop_thread``."""
        return self.here()

    def block(self, gate: threading.Lock, seconds: float | None = None) -> bool:
        """As ``BlockingHost.block``. It drives the loop meanwhile.

        Raises:
            Deadlock: the gate would never be released.
        """
        until = inf if seconds is None else self._loop.now() + seconds
        return self._loop.drive(partial(gate.acquire, blocking=False), until)

    def check_await(self) -> None:
        """As ``BlockingHost.check_await``: nothing would drive the loop."""
        if not self.here():
            raise UsageError(
                "what runs in virtual time can't be awaited on another loop; in plain code write `balancer.run(...)` "
                "or `ticket.wait()`, or run all of it in virtual time: `rio_chain.testing.run_virtual(main)`"
            )

    def cancelling(self) -> bool:
        """As ``Host.cancelling``: the loop never ends, so the user's code raised it."""
        return False

    def on_loss(self, lost: Lost) -> None:
        """As ``Host.on_loss``: it is never lost."""

    def close(self, *, wait: bool = True) -> None:
        """As ``Host.close``: the loop has nothing else that must be freed."""
        if self._own and wait:
            end_spawned(self._loop)


# --- as a module of an executor ---------------------------------------------------------------------------------


def launch(threads: int, max_abandoned: int, name: str = NAME) -> VirtualHost:  # noqa: ARG001 - as ``Executor.launch``
    """As ``ExecutorModule.launch``: a loop of its own, with the seed 0."""
    return VirtualHost(VirtualExecutor().loop, own=True)


def attach(threads: int, max_abandoned: int) -> VirtualHost:  # noqa: ARG001 - it has no threads
    """As ``LoopModule.attach``."""
    return VirtualHost(_loop_here())


def runtime(pool: WorkerPool) -> VirtualRuntime:  # noqa: ARG001 - calls are made in place
    """As ``LoopModule.runtime``."""
    return VirtualRuntime(_loop_here())


def tasks() -> dict[object, tuple[str, object]]:
    """As ``LoopModule.tasks``."""
    here = current_strand()
    return {strand: (_name(strand), strand.coroutine) for strand in _loop_here().kernel.strands if strand is not here}


def _name(strand: ThreadStrand) -> str:
    frames = frames_of(strand.coroutine)
    return frames[-1].f_code.co_qualname if frames else "one that has not begun"


def _loop_here() -> VirtualLoop:
    loop = running()
    if loop is None:
        raise RuntimeError("no virtual loop is driven by this thread")
    return loop
