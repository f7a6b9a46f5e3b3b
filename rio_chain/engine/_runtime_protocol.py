"""The Runtime Protocol: the little that differs between executors. Everything above it is written once.

A *strand* is one line of execution: the run itself, or one branch of a race. On the loops it is a task, on threads a
coroutine that workers drive by hand. Each strand has a *slot*, through which its limits are kept.
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
"""``type``, without the type arguments that a checker makes up for a value of unknown type."""


class Raised:
    """An error that crosses from one strand or thread to another as a value.

    Never thrown across: a StopIteration thrown into a coroutine is not the same StopIteration, and an asyncio loop
    stops at a SystemExit that leaves one of its tasks.
    """

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        drop_frames(error)  # those of the other strand, where this value may be in a variable
        self.error = error


class Refused(Raised):
    """The same, of a call that was not made."""

    __slots__ = ()


def checked(got: Raised) -> Exception:
    """The error that a call gave; what ends more than the run is raised."""
    error = got.error
    if isinstance(error, Exception):
        return error
    try:
        raise error
    finally:
        del got, error  # its traceback keeps this frame


def answer(context: Context, fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Call a sync function in this context. Any error comes back as a value, ``Raised``."""
    try:
        return context.run(fn, *args, **kwargs)
    except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to the run and not to this thread
        return Raised(error)


class HostGone(Exception):
    """The loop where a strand was to be started has ended; nothing can run there any more."""


class Stopped:
    """What a race gives for a work that it stopped."""


STOPPED = Stopped()


class SlotDeadline(Protocol):
    """Where a strand's limit stands: ``deadline`` is what holds, ``entry_at`` when it is looked at next."""

    deadline: float
    entry_at: float


class Slot(Protocol):
    """The limits of one strand, which all come down to one instant: the earliest limit that is open.

    The hot loop arms it without a call wherever somebody looks at ``alarm`` early enough: it stores ``deadline`` first,
    then reads ``entry_at``, and only calls ``arm`` when that is later.
    """

    @property
    def alarm(self) -> SlotDeadline:
        """The same one until ``release``."""
        ...

    def arm(self, at: float) -> None:
        """From ``at`` (on the runtime's clock) on, the strand is interrupted where it waits. ``inf``: never.

        Only the strand itself calls it. The latest call replaces the ones before.
        """

    def settle(self, error: BaseException | None) -> bool:
        """Called when something came out of a wait: ``error``, or None for a value. Says whether our limit (or
        ``stop``) interrupted it, and takes that interruption back, so that the strand may wait again.

        Raises ``error`` (or the cancellation itself) when somebody else cancelled the strand as well: theirs wins.
        """
        ...

    def stop(self) -> None:
        """Interrupt the strand now as a limit would, once. From any thread; nothing happens after ``release``."""

    def interrupt(self) -> None:
        """Interrupt the strand now as a limit would, for a reason that it knows. On its loop, or from any thread.

        It may be called again after ``settle``, which takes it back also where it has interrupted nothing yet.
        """

    def release(self) -> None:
        """The strand is over; nothing may interrupt it any more."""


class Waiter(Protocol):
    """One strand waits, one wakes it. A wake before the wait is not lost; a second one does nothing."""

    async def wait(self) -> None:
        """Until woken. May be interrupted by the strand's limit or by a cancellation."""

    async def wait_shielded(self) -> None:
        """The same, whatever interrupts it; the interruption is lost, so this is for those who go on with another."""

    def wake(self) -> None:
        """From any thread."""


class Running(Protocol):
    """A strand that ``Runtime.start_side`` has started."""

    def cancel(self) -> object:
        """End it where it waits. On its loop; on threads from any thread."""


class Fires(Protocol):
    """What a timer calls."""

    def fire(self) -> None:
        """The time has come. On the loop, or on the thread of the timers: quick, and raises nothing."""


class Timer(Protocol):
    """One call that is due at an instant. ``deadline`` is that instant; ``inf``: it was made, or is not wanted."""

    deadline: float
    entry_at: float
    """When it is looked at next."""


class Lane(Protocol):
    """Processes that run functions one at a time."""

    def reserve(self, waiter: Callable[[], Waiter], fn: Callable[..., Any]) -> Awaitable[None] | None:
        """Wait until a process is at hand for one ``call`` of ``fn``; None when there is one. The call uses it up."""
        ...

    def unreserve(self) -> None:
        """Give back what ``reserve`` gave, because the call will not be made."""

    def call(self, waiter: Waiter, name: str, fn: Callable[..., Any], value: Any) -> Awaitable[Any]:
        """``fn(value)`` in a process. Gives its value or ``Raised``; ``name`` is for errors.

        Interrupted: the process is killed, and a new one takes its place. Gives ``Refused`` when the lane is closed.
        """
        ...


NO_LANES: Mapping[str, Lane] = MappingProxyType({})
"""Those of a run that no balancer holds."""


class PlanChanges(Protocol):
    """What a runtime runs in the place of a plan."""

    def plan(self, plan: Plan) -> Plan:
        """The plan that runs: the same one each time. It has the same tasks, bridges and kept values."""
        ...


class Checkpoints(Protocol):
    """How an async call lets others run and hears of its cancellation, where one must do so whatever happens in it."""

    def heed(self) -> Awaitable[None]:
        """At the beginning: raise a cancellation that is pending, and do nothing else."""
        ...

    def count(self) -> int:
        """How often the task that asks has let others run."""
        ...

    def pause(self) -> Awaitable[None]:
        """At the end, if the count is what it was: let others run, and raise a cancellation."""
        ...


SpawnedWork = Callable[[], Coroutine[Any, Any, object]]
"""What a spawned strand runs."""


class SpawnedStrand(Protocol):
    """A strand that no caller waits for, for the code that began it. All of this works from any thread."""

    @property
    def done(self) -> bool:
        """Whether it has ended, its clean-up included."""
        ...

    @property
    def error(self) -> BaseException | None:
        """Why it ended other than by a return: the error of its limit, ``TicketCancelled``, or what it raised."""
        ...

    def cancel(self, reason: str = ...) -> None:
        """End it as soon as it can be; never waits. If it has not begun, it never will."""

    def add_waker(self, waker: Callable[[], None]) -> None:
        """Call this once when it has ended, at once if it has. It raises nothing, and a second call does nothing."""


def no_winner(_: object) -> bool:
    """For ``Runtime.race``: no answer ends it before all others have come."""
    return False


class Runtime(Protocol):
    """How one executor tells time, waits, calls and races."""

    direct: bool
    """Whether an async function is awaited in place (the loops), or goes through ``call_async`` (threads)."""

    policies: PlanChanges | None
    """What changes the plans that run here, such as by fresh policies; None: they run as they are."""

    remote: Remote | None
    """Where the pieces of a plan run that was cut; None where no plan is."""

    def now(self) -> float:
        """Seconds on the executor's own clock. From any thread."""
        ...

    def draw(self) -> float:
        """A random number in [0, 1), for those who spread what would come all at once. From any thread."""
        ...

    def sleep(self, seconds: float) -> Awaitable[None]:
        """Wait; interrupted by the strand's limit."""
        ...

    def call(self, fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Awaitable[Any]:
        """Run a sync function on a worker thread, in a copy of the strand's context. Gives its value or ``Raised``.

        Interrupted: the call is abandoned, counted until it returns, and its late answer reaches nobody.
        Gives ``Refused(LimitExceeded)`` without calling when too many abandoned calls still run.
        """
        ...

    def call_async(self, fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Awaitable[Any]:
        """Run an async function where async functions run. Gives its value or ``Raised``.

        Interrupted: it is cancelled and awaited.
        """
        ...

    @property
    def look_at(self) -> float:
        """From this instant on, the strand that comes next asks ``holds`` before it goes on; ``inf``: none has to."""
        ...

    def holds(self, run: int, now: float) -> bool:
        """Whether the strands of this run, of which this is the id, hold the loop: they ask twice in one turn of it.

        The one that asks then sleeps no time, which lets the loop go round.
        """
        ...

    checkpoints: Checkpoints | None
    """None where an ``await`` need not be one, as on asyncio."""

    lanes: Mapping[str, Lane]
    """The processes that a balancer brought with it, by name."""

    places: bool
    """Whether a bridge or callback runs in place (the loops), or through ``call`` (threads, where a stuck one can
    be taken over)."""

    def reserve(self) -> Awaitable[None] | None:
        """Wait until a thread is at hand for one ``call``; None when there is one. The call uses it up."""
        ...

    def unreserve(self) -> None:
        """Give back what ``reserve`` gave, because the call will not be made."""

    def slot(self) -> Slot:
        """A slot for the strand that calls it."""
        ...

    def race(self, works: Sequence[Callable[[], Awaitable[T]]], until: Callable[[T], bool]) -> Awaitable[list[Any]]:
        """Run all works at once until ``until(result)`` is true for one, or all ended.

        Each has a context of its own. On the loops the last one runs in the task that awaits this, the others in tasks
        of their own; on threads each is a strand of its own. A work asks for its slot itself.

        The others are then cancelled *and awaited*. Gives the results in the order of the works, ``STOPPED`` for
        those that were stopped. A work that raises ends the race: the rest is stopped and the error raised as it
        is. Interrupted or cancelled itself, the race stops and awaits all works, then goes on with the interruption.
        """
        ...

    def start_side(
        self, main: Callable[[], Coroutine[Any, Any, None]], context: Context, ended: Callable[..., None]
    ) -> Running:
        """Start a strand beside those that run, in that context. No error leaves ``main`` but its own cancellation.

        Whoever calls it awaits the strand. ``ended`` is called when it has ended, on its loop or from any thread: also
        where it was cancelled before it began, and where it has called ``ended`` itself.
        """
        ...

    def timer(self, target: Fires, at: float) -> Timer:
        """Call ``target.fire()`` at that instant, once. Where its tasks run: on the loop, or from any thread.

        To arm one costs a float store: timers are used again, and keep their place in the heap.
        """
        ...

    def push_timer(self, timer: Timer, at: float) -> None:
        """Look at the timer at this instant. For one that is armed again: first its ``deadline`` is stored, then its
        ``entry_at`` read, and this called when that is later.
        """

    spare: list[Any]
    """What the engine uses again."""

    def free_timer(self, timer: Timer) -> None:
        """It has fired, or must not fire any more. On threads it may fire all the same if it is due right now."""

    def spawn(self, main: SpawnedWork, limit: float | None = None) -> SpawnedStrand:
        """Begin a strand that no caller waits for. Only a strand of a run that goes on calls this.

        It runs in a copy of the caller's context, without the caller's run, deadline and permits: what happens to the
        caller does not end it. ``main`` finds a strand of its own as the current one, with the values that ``.using``
        has kept. It forks that to interpret a part of a program, and may begin runs, race and wait.

        It belongs to what owns the runtime. A balancer that closes waits for it within its grace, and then cancels it;
        so does the end of a loop, at once. If the owner has closed, the strand that this gives has ended already.
        What ``main`` raises is reported to ``threading.excepthook``.

        Args:
            main: what it runs.
            limit: seconds from its beginning until it is interrupted. Default: the ``abandon_after`` of the balancer.

        Raises:
            MemoryError, RuntimeError: it can't be started, and ``main`` will not run.
        """
        ...

    def waiter(self) -> Waiter:
        """A new waiter for the strand that calls it."""
        ...

    def async_waiter(self) -> Waiter:
        """A new waiter for the async function that calls it, which runs where ``call_async`` runs them."""
        ...
