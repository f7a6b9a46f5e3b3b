"""The Runtime Protocol: the small part that differs between executors. All code above it is shared.

A *strand* is one line of execution: the run itself, or one branch of a race. On the loops it is a task, on threads a
coroutine that workers run step by step. Each strand has a *slot*, which enforces its limits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextvars import Context
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from rio_chain._core.tracebacks import drop_frames
from rio_chain.chain._plan import Plan

if TYPE_CHECKING:
    from rio_chain.engine._remote_protocol import Remote

T = TypeVar("T")
kind_of = cast("Callable[[object], type[object]]", type)
"""``type``, without the type arguments that a type checker would add for a value of unknown type."""


class Raised:
    """An error that is passed from one strand or thread to another as a value.

    It is never thrown across. A StopIteration thrown into a coroutine is not the same StopIteration there, and an
    asyncio loop stops when a SystemExit leaves one of its tasks.
    """

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        drop_frames(error)  # the frames of the other strand, which may hold this value in a variable
        self.error = error


class Refused(Raised):
    """The error of a call that was not made."""

    __slots__ = ()


def checked(got: Raised) -> Exception:
    """The error of a call. An error that ends more than the run is raised."""
    error = got.error
    if isinstance(error, Exception):
        return error
    try:
        raise error
    finally:
        del got, error  # its traceback keeps this frame


def answer(context: Context, fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Call a sync function in this context. Any error is returned as a value, ``Raised``."""
    try:
        return context.run(fn, *args, **kwargs)
    except BaseException as error:  # noqa: BLE001 - any error belongs to the run and not to this thread
        return Raised(error)


class HostGone(Exception):
    """The loop on which a strand was to start has ended; nothing can run there any more."""


class Stopped:
    """The result of a work that a race has stopped."""


STOPPED = Stopped()


class SlotDeadline(Protocol):
    """The limit of a strand: ``deadline`` is the one that counts, ``entry_at`` is when it is checked next."""

    deadline: float
    entry_at: float


class Slot(Protocol):
    """The deadlines of one strand, as one instant: the earliest one.

    The hot loop arms the slot without a call if ``alarm`` is checked early enough: it stores ``deadline`` first, then
    reads ``entry_at``, and calls ``arm`` only if that is later.
    """

    @property
    def alarm(self) -> SlotDeadline:
        """The object stays the same until ``release``."""
        ...

    def arm(self, at: float) -> None:
        """From ``at`` (on the runtime's clock) on, interrupt the strand where it waits. ``inf``: never.

        Only the strand itself calls it. Each call replaces the earlier ones.
        """

    def settle(self, error: BaseException | None) -> bool:
        """Called after a wait with its ``error``, or None if it gave a value. Returns whether our limit (or ``stop``)
        interrupted the wait, and takes that interruption back, so that the strand may wait again.

        Raises ``error`` (or the cancellation itself) if other code cancelled the strand as well: that one counts.
        """
        ...

    def stop(self) -> None:
        """Interrupt the strand now as a limit would, once. From any thread; after ``release`` it does nothing."""

    def interrupt(self) -> None:
        """Interrupt the strand now as a limit would, for a reason that the strand knows. On its loop, or any thread.

        It may be called again after ``settle``, which also takes back an interruption that has not happened yet.
        """

    def release(self) -> None:
        """The strand has ended; from now on nothing may interrupt it."""


class Waiter(Protocol):
    """One strand waits, another wakes it. A wake before the wait is not lost; a second one does nothing."""

    async def wait(self) -> None:
        """Wait until woken. The strand's limit or a cancellation may interrupt it."""

    async def wait_shielded(self) -> None:
        """Wait until woken. An interruption does not end it and is lost; so the caller must raise another one."""

    def wake(self) -> None:
        """Wake the strand. From any thread."""


class Running(Protocol):
    """A strand that ``Runtime.start_side`` has started."""

    def cancel(self) -> object:
        """End the strand where it waits. On its loop; on threads from any thread."""


class Fires(Protocol):
    """The target of a timer."""

    def fire(self) -> None:
        """The time has come. It runs on the loop, or on the timer thread. It must be quick and raise nothing."""


class Timer(Protocol):
    """One call at an instant, ``deadline``. ``inf``: the call was made, or is not wanted."""

    deadline: float
    entry_at: float
    """When the timer is checked next."""


class Lane(Protocol):
    """Processes that run functions one at a time."""

    def reserve(self, waiter: Callable[[], Waiter], fn: Callable[..., Any]) -> Awaitable[None] | None:
        """Reserve a process for one ``call`` of ``fn``. Returns None, or what to await if all are busy."""
        ...

    def unreserve(self) -> None:
        """Give back the reservation of ``reserve``, because the call will not be made."""

    def call(self, waiter: Waiter, name: str, fn: Callable[..., Any], value: Any) -> Awaitable[Any]:
        """Call ``fn(value)`` in a process. Returns its value or ``Raised``; ``name`` is for errors.

        If it is interrupted, the process is killed, and a new one replaces it. ``Refused`` when the lane is closed.
        """
        ...


NO_LANES: Mapping[str, Lane] = MappingProxyType({})
"""The lanes of a run outside of any balancer."""


class PlanChanges(Protocol):
    """What a runtime runs in the place of a plan."""

    def plan(self, plan: Plan) -> Plan:
        """The plan that runs: the same one each time. It has the same tasks, bridges and kept values."""
        ...


class Checkpoints(Protocol):
    """How an async call yields to others and gets its cancellation, on a loop where every call has to do so."""

    def heed(self) -> Awaitable[None]:
        """At the beginning: raise a pending cancellation, and do nothing else."""
        ...

    def count(self) -> int:
        """How often the calling task has yielded to others."""
        ...

    def pause(self) -> Awaitable[None]:
        """At the end, if the count is unchanged: yield to others, and raise a cancellation."""
        ...


SpawnedWork = Callable[[], Coroutine[Any, Any, object]]
"""The work of a spawned strand."""


class SpawnedStrand(Protocol):
    """A strand that no caller waits for, seen from the code that began it. All methods work from any thread."""

    @property
    def done(self) -> bool:
        """Whether the strand and its clean-up have ended."""
        ...

    @property
    def error(self) -> BaseException | None:
        """The error of a strand that did not end by a return: of its limit, ``TicketCancelled``, or what it raised."""
        ...

    def cancel(self, reason: str = ...) -> None:
        """End the strand as soon as possible; never waits. A strand that has not begun will not begin."""

    def add_waker(self, waker: Callable[[], None]) -> None:
        """Call ``waker`` once when the strand has ended, or at once if it has. It must raise nothing."""


def no_winner(_: object) -> bool:
    """For ``Runtime.race``: no result ends the race before all others have come."""
    return False


class Runtime(Protocol):
    """How one executor reads time, waits, calls and races."""

    direct: bool
    """Whether an async function is awaited in place (the loops), or through ``call_async`` (threads)."""

    @property
    def cancellations(self) -> tuple[type[BaseException], ...]:
        """The exceptions that are raised in a body when it is cancelled."""
        ...

    turn: float
    """Seconds to sleep after which all strands that were ready have gone on: 0 on a loop, which goes round."""

    home: object
    """The event loop where its strands run. None if they run on threads of this process."""

    virtual: bool
    """Whether the clock may jump while another thread works. Then a strand must not wait for such a thread."""

    policies: PlanChanges | None
    """Changes the plans that run here, such as by fresh policies. If it is None, they run as they are."""

    remote: Remote | None
    """Where the pieces of a plan that was cut run. None where no plan is cut."""

    def now(self) -> float:
        """Seconds on the executor's own clock. From any thread."""
        ...

    def draw(self) -> float:
        """A random number in [0, 1), which spreads calls in time. From any thread."""
        ...

    def sleep(self, seconds: float) -> Awaitable[None]:
        """Wait; the strand's limit interrupts it."""
        ...

    def call(self, fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Awaitable[Any]:
        """Run a sync function on a worker thread, in a copy of the strand's context. Returns its value or ``Raised``.

        If it is interrupted, the call is abandoned. It is counted until it returns, and its late answer is not used.
        Returns ``Refused(LimitExceeded)`` without a call when too many abandoned calls still run.
        """
        ...

    def call_async(self, fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Awaitable[Any]:
        """Run an async function where async functions run. Returns its value or ``Raised``.

        If it is interrupted, the function is cancelled and awaited.
        """
        ...

    @property
    def look_at(self) -> float:
        """From this instant on, the next strand asks ``holds`` before it goes on; ``inf``: none has to."""
        ...

    def holds(self, run: int, now: float) -> bool:
        """Whether the run with this id blocks the loop: its strands have asked twice in one turn of the loop.

        Then the strand that asked sleeps for zero seconds, so that the loop can go round.
        """
        ...

    checkpoints: Checkpoints | None
    """None if an ``await`` need not yield to others, as on asyncio."""

    lanes: Mapping[str, Lane]
    """The processes of the balancer, by name."""

    places: bool
    """Whether a bridge or callback runs in place (the loops), or through ``call`` (threads, where a call that hangs can
    be abandoned)."""

    def reserve(self) -> Awaitable[None] | None:
        """Reserve a thread for one ``call``. Returns None, or what to await if all threads are busy."""
        ...

    def unreserve(self) -> None:
        """Give back the reservation of ``reserve``, because the call will not be made."""

    def slot(self) -> Slot:
        """A slot for the calling strand."""
        ...

    def race(self, works: Sequence[Callable[[], Awaitable[T]]], until: Callable[[T], bool]) -> Awaitable[list[Any]]:
        """Run all works at once until ``until(result)`` is true for one, or all have ended.

        Each has a context of its own. On the loops the last one runs in the task that awaits this, the others in tasks
        of their own; on threads each is a strand of its own. A work asks for its slot itself.

        The others are then cancelled *and awaited*. Returns the results in the order of the works, ``STOPPED`` for
        those that were stopped. A work that raises ends the race: the others are stopped and the error is raised
        unchanged. If the race is interrupted or cancelled, it stops and awaits all works, then raises that.
        """
        ...

    def start_side(
        self, main: Callable[[], Coroutine[Any, Any, None]], context: Context, ended: Callable[..., None]
    ) -> Running:
        """Start a strand beside the running ones, in that context. ``main`` raises nothing but its own cancellation.

        The caller awaits the strand. ``ended`` is called when it has ended, on its loop or from any thread. That is
        also done if it was cancelled before it began, or has called ``ended`` itself.
        """
        ...

    def timer(self, target: Fires, at: float) -> Timer:
        """Call ``target.fire()`` at that instant, once. It runs on the loop, or on any thread.

        Arming one costs a float store: timers are reused, and keep their place in the heap.
        """
        ...

    def push_timer(self, timer: Timer, at: float) -> None:
        """Check the timer at this instant. To arm a timer again, store its ``deadline`` first, then read its
        ``entry_at``, and call this if that is later.
        """

    spare: list[Any]
    """Objects that the engine reuses."""

    def free_timer(self, timer: Timer) -> None:
        """The timer has fired, or must not fire any more. On threads it may still fire if it is due right now."""

    def spawn(self, main: SpawnedWork, limit: float | None = None) -> SpawnedStrand:
        """Begin a strand that no caller waits for. Only a strand of a run that has not ended may call this.

        It runs in a copy of the caller's context, without the caller's run, deadline and permits: the end of the
        caller does not end it. In ``main`` the current strand is a strand of its own, with the values that ``.using``
        has kept. ``main`` forks that strand to interpret a part of a program, and may begin runs, race and wait.

        It belongs to the owner of the runtime. A balancer that closes waits for it within its grace, and then cancels
        it; the end of a loop cancels it at once. If the owner has closed, the returned strand has ended already. An
        error of ``main`` is reported to ``threading.excepthook``.

        Args:
            main: the work to run.
            limit: seconds from its beginning until it is interrupted. Default: the ``abandon_after`` of the balancer.

        Raises:
            MemoryError, RuntimeError: it can't be started, and ``main`` will not run.
        """
        ...

    def waiter(self) -> Waiter:
        """A new waiter for the calling strand."""
        ...

    def async_waiter(self) -> Waiter:
        """A new waiter for the calling async function, which runs where ``call_async`` runs async functions."""
        ...
