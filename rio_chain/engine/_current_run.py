"""What runs here and now: the run, its strands, and the functions by which a body asks about them."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context, ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from rio_chain._core.deadline import Deadline
from rio_chain._core.unhandled_errors import surely
from rio_chain._core.units import milliseconds
from rio_chain.chain._plan import Plan
from rio_chain.engine._attempt import Attempt, RequestAt, always, way_to
from rio_chain.engine._blocking_call import CALLING, GivenUp, HeldCall, SharedPermit
from rio_chain.engine._race import Contender, Race
from rio_chain.engine._runtime_protocol import Runtime, Slot
from rio_chain.errors import Abandoned, DeadlineExceeded
from rio_chain.results._task_record import Log, TaskRecord

if TYPE_CHECKING:
    from rio_chain.engine._journal_protocol import RunJournal
    from rio_chain.engine._late_answers import LateAnswers
    from rio_chain.engine._thread_bound_values import Pinned
    from rio_chain.policies import Budget
    from rio_chain.results._events import Kind
    from rio_chain.results._task_record import Status

INF = float("inf")


class Run:
    """The state of one run: its log, and the error with which it was stopped, if it was."""

    __slots__ = (
        "abandon_after",
        "around",
        "dropped",
        "log",
        "origin",
        "plan",
        "priority",
        "root",
        "step",
        "stop_error",
    )

    observed = False
    """Whether it reports events."""

    journal: RunJournal | None = None
    """Of a run with a journal; its parts do not have it."""

    def __init__(self, plan: Plan, around: Run | None = None) -> None:
        self.plan = plan
        self.around = around  # the run whose body began this one, while this one runs
        self.abandon_after: float | None = None  # seconds, if this is its limit; None: a deadline limits it
        self.log: Log = [None] * len(plan.tasks)
        self.stop_error: Exception | None = None
        self.step: object = None  # of a part: its place in the run around; of any other run: its random number
        self.dropped = False  # the call that was to run it was interrupted: it needs neither a slot nor a turn
        self.root: Strand | None = None  # its first strand, while it runs
        self.priority: float | None = None  # the one given to its balancer; None: that of the run around
        self.origin: float = 0.0 if around is None else around.origin  # when the outermost run began

    def part(self, item: int | None = None) -> Run:  # noqa: ARG002 - an observed run uses it
        """The state for running a part of this run with a log of its own.

        ``item``: the part runs this item of an ``each``. None: the part is one of several calls made at once.
        """
        part = Run(self.plan, self)
        part.step = 0
        return part

    def nested(self, plan: Plan, pc: int, index: int | None) -> Run:  # noqa: ARG002 - an observed run uses it
        """The state of the run of a Request that the function at this instruction has returned: that of the task
        ``index``, or a bridge.
        """
        nested = Run(plan, self)
        nested.step = RequestAt(pc)
        return nested

    def strand(self, rt: Runtime, slot: Slot, parent_deadline: float) -> Strand:
        """A new strand of this run."""
        return Strand(self, rt, slot, parent_deadline)

    def stop(self, error: Exception) -> None:
        """End the run with ``error`` as soon as possible. From any thread; a run that has ended stays as it is."""
        if self.stop_error is None:
            self.stop_error = error
        root = self.root
        if root is not None:
            root.slot.stop()

    def urgency(self) -> float:
        """Its priority: the one given to its balancer, or that of the run in which it was begun, or 0."""
        run: Run | None = self
        while run is not None:
            if run.priority is not None:
                return run.priority
            run = run.around
        return 0

    def overdue(self) -> Exception:
        """The error for a run whose time has run out."""
        return DeadlineExceeded() if self.abandon_after is None else Abandoned(milliseconds(self.abandon_after))

    @property
    def number(self) -> int:
        """The number that its events have."""
        return 0

    # Hooks for an observed run (``_run_events``). They are called only for rare events, which cost time anyway.

    def hedge_started(self, index: int, attempt: int, replica: int) -> None:
        """A call of ``.replica`` begins beside the first; ``index`` is its first task."""

    def blank(self, index: int) -> Any:  # noqa: ARG002 - an observed run uses it
        """The log entry of a task of which nothing was noted."""
        return None

    def contend(self, low: int, high: int) -> None:
        """One of several calls of these tasks runs in it. Their ends are reported after ``contended``."""
        self.log[low:high] = [self.blank(index) for index in range(low, high)]

    def contended(self, low: int, high: int) -> None:
        """All calls of these tasks are over."""

    def merged(self, low: int, high: int, *, won: bool) -> None:
        """The logs of calls made at once were merged for these tasks. ``won``: one of the calls has an answer."""

    def given_up(self, low: int, high: int) -> None:
        """No policy around one of these tasks alone will retry it, if it has ended."""

    def branch_gave(self, name: str, value: Any) -> None:
        """A branch of a fan-out, or an item, has a value. ``name``: its key or number in each fan-out around it."""

    def report(self, kind: Kind, index: int | None, **more: Any) -> None:
        """Something has happened at this task, or at no task in particular. ``more``: the fields of its ``Event``."""

    def ended(self, status: Status, error: Any, elapsed: float) -> None:
        """The run is over, or will never begin. Only an observed run reports that."""

    def over(self, cause: Any = None) -> None:
        """Nothing more will be noted in its log. ``cause`` is the error that ended it. It gets a plain log."""


class Strand:
    """One line of execution of a run. ``deadline`` is the earliest deadline of all timeouts that are open right now in
    it and around it.
    """

    __slots__ = (
        "at", "before", "budget", "contender", "deadline", "depth", "given_up", "in_race", "kept", "parent_deadline",
        "permits",
        "pinned", "replica", "rounds", "rt", "run", "slot",
    )  # fmt: skip

    observed = False
    """Whether it reports the calls that begin in it."""

    def __init__(self, run: Run, rt: Runtime, slot: Slot, parent_deadline: float) -> None:
        self.run = run
        self.rt = rt
        self.slot = slot
        # of a root: the deadline of its run; of others: the earliest one around it, which other strands enforce
        self.parent_deadline = parent_deadline
        self.deadline = parent_deadline
        self.at = 0  # the task whose turn it is
        self.before: tuple[Strand, object] | None = None  # of a root: where it was begun, and ``CALLING`` there
        self.budget: Budget | None = None  # asked by the retries and replicas in this strand
        self.depth = 0  # the number of races around it
        self.replica = 0  # which of the calls made at once this is
        self.rounds = 0  # the number of retries around those calls
        self.contender: Contender | None = None  # its part in a race
        self.in_race: LateAnswers | None = None  # the call of a race that runs in it
        self.given_up: tuple[GivenUp, ...] = ()  # its blocking calls that were abandoned
        self.permits: tuple[SharedPermit, ...] = ()  # its own, and those of the strands around it
        self.pinned: tuple[Pinned, ...] = ()  # values that it has made on threads of their own, for an `each`
        self.kept: list[Any] = NOTHING  # values that later tasks use, by their place in the plan

    @property
    def root(self) -> bool:
        """Whether it is the first strand of its run. Its end is the end of the run."""
        return self.run.root is self

    @property
    def open(self) -> bool:
        """Whether it has not ended."""
        return self.run is not _OVER

    def fork(self, race: Race | None = None, until: float = INF) -> Strand:
        """A strand beside this one, under the same limits. The caller runs it. ``race``: the race it takes part in.

        ``until``: a limit of its own; see ``time_limits``.
        """
        strand = self.run.strand(self.rt, self.rt.slot(), min(until, self.deadline))
        strand.budget, strand.replica, strand.rounds = self.budget, self.replica, self.rounds
        strand.permits, strand.depth, strand.in_race = self.permits, self.depth + 1, self.in_race
        strand.contender = None if race is None else Contender(race)
        strand.kept = self.kept
        return strand

    def beside(self, run: Run) -> Strand:
        """A strand in place of this one, for a run of its own. This strand waits for it."""
        strand = run.strand(self.rt, self.slot, self.deadline)
        strand.budget, strand.replica, strand.rounds = self.budget, self.replica, self.rounds
        strand.permits, strand.contender, strand.in_race = self.permits, self.contender, self.in_race
        strand.depth = self.depth
        strand.kept = self.kept.copy()
        return strand

    def attempt(self, cancelled: Callable[[], bool]) -> Attempt:
        """Which call of the current task this is; 1 if the strand has ended."""
        log: Log = self.run.log  # read first: the strand may be closed at any moment
        if not self.open:
            return Attempt(1)
        found: Any = log[self.at]
        before = 0 if found is None else found.calls if isinstance(found, TaskRecord) else 1
        return Attempt(self.rounds + before + 1, self.replica, way_to(self.run, self._place()), cancelled)

    def _place(self) -> int:
        """The number of the task; in a call of a hedge, the number that it has in the first call."""
        task, race = self.at, self.in_race
        while race is not None:
            task -= race.shift(self.run, task)
            race = race.outer
        return task

    def begins(self, index: int, fn: Any, route: int) -> tuple[Any, int]:  # noqa: ARG002 - an observed strand uses it
        """A call of this task begins. Returns the function to call, and the route."""
        return fn, route

    def context_of(self, iterator: object) -> Context | None:  # noqa: ARG002 - an observed strand uses it
        """The context in which the body of this generator has to run. None for that of the code that reads it."""
        return None

    def idles(self) -> None:
        """It waits for work that other strands of its race may find."""
        if self.contender is not None:
            self.contender.idles()

    def pay(self) -> None:
        """The strand goes on, so its race is not decided yet: give back the places that it kept for that case."""
        if self.contender is not None:
            self.contender.pay()

    def give_up(self, held: HeldCall | None) -> None:
        """It was interrupted in a blocking call, and stops waiting for it. ``held``: the call that keeps its places."""
        if CURRENT.get() is self:  # else the garbage collector ends it, in the context of another strand
            self.given_up = (*self.given_up, GivenUp(CALLING.get(), self.rt.now(), self.attempt(always)))
            CALLING.set(object())  # what the strand does from here on is not part of that call
        if held is not None:
            held.give_up(self.permits)

    def give_up_pinned(self, context: Context) -> None:
        """A call to the pinned value with this context is abandoned: ``remaining()`` in its body is 0."""
        maker = context.get(CURRENT) or self
        maker.given_up = (*maker.given_up, GivenUp(context.get(CALLING), self.rt.now(), maker.attempt(always)))
        if CURRENT.get() is self:
            CALLING.set(object())

    def close(self) -> None:
        """It has ended. A copy of its context may live on, for example in a timer, and must not keep the run alive."""
        self.run = _OVER
        self.in_race = None
        self.kept = NOTHING
        self.pinned = ()

    def end(self) -> None:
        """It has ended: release its slot, too."""
        if self.contender is not None:
            self.contender.ended()
        self.run, self.kept, self.pinned = _OVER, NOTHING, ()  # as ``close``
        try:
            self.slot.release()
        except BaseException as error:
            surely(self.slot.release)  # a scope of trio that stays open breaks the task around it
            if not isinstance(error, MemoryError):
                raise


NOTHING: list[Any] = []  # the `kept` of most strands
_OVER = Run.__new__(Run)  # the run of a strand that has ended
_OVER.log = []
_OVER.around = _OVER.priority = _OVER.root = _OVER.stop_error = None

CURRENT: ContextVar[Strand | None] = ContextVar("rio_chain_current", default=None)
RETRIES_WAIT: ContextVar[bool] = ContextVar("rio_chain_rests", default=True)
"""Whether a retry waits before it calls again. A test can switch that off."""


def current_attempt() -> Attempt:
    """Which call of its task the calling body is, in this run. Outside of any run it is 1.

    It is an int. ``replica`` is which of the calls made at the same time it is. ``key`` is the same for all attempts
    and hedges of a task in one run. ``cancelled`` is whether the result is no longer needed. In the body of an
    abandoned call the number, ``replica`` and ``key`` keep their values.

    Example:
        >>> from rio_chain import Task, current_attempt
        >>> Task(lambda: current_attempt() + 0)().run().unwrap()
        1
    """
    strand, calling = CURRENT.get(), CALLING.get()
    given_up = abandoned()
    if given_up is not None:
        return given_up.attempt
    return Attempt(1) if strand is None else strand.attempt(partial(_cancelled, strand, calling))


def abandoned() -> GivenUp | None:
    """The blocking call whose body asks, if it was abandoned."""
    strand = CURRENT.get()
    return None if strand is None else _given_up(strand, CALLING.get())


def _given_up(strand: Strand, calling: object) -> GivenUp | None:
    return next((given_up for given_up in strand.given_up if given_up.calling is calling), None)


def _cancelled(body: Strand, in_call: object) -> bool:
    """Whether the call with this ``CALLING`` is no longer needed, or one around its run."""
    strand, calling = body, in_call
    while True:
        if _given_up(strand, calling) is not None:
            return True
        run: Run | None = strand.run
        if run is not _OVER and strand.rt.now() >= strand.deadline:
            return True
        while run is not None and run.root is None:  # parts have no root: go up to the run they belong to
            run = run.around
        root = None if run is None else run.root
        if run is None or root is None:
            return False
        if run.stop_error is not None:
            return True
        if root.before is None:
            return False
        strand, calling = root.before


def remaining() -> float:
    """Milliseconds until the earliest timeout or deadline around the function that calls this; ``inf`` outside a run.

    It is never less than 0. In an abandoned function it is always 0.

    Example:
        >>> from rio_chain import Task, remaining
        >>> Task(lambda: 0 < remaining() <= 100).timeout(100)().run().unwrap()
        True
    """
    strand = CURRENT.get()
    if abandoned() is not None:
        return 0.0
    if strand is None or not strand.open:
        return INF
    return max(0.0, milliseconds(strand.deadline - strand.rt.now()))


def inherited() -> Deadline | None:
    """The deadline that a run inherits when a body begins or posts it here.

    In the body of an abandoned call it is the time at which the call was abandoned: nothing may begin there.
    """
    strand = CURRENT.get()
    if strand is None:
        return None
    given_up = abandoned()
    if given_up is not None:
        return Deadline(given_up.at, strand.rt.now)
    if not strand.open or strand.deadline == INF:
        return None
    return Deadline(strand.deadline, strand.rt.now)


def task_in(context: Context) -> str:
    """The name of the current task in this context, which may belong to another thread."""
    strand = context.get(CURRENT)
    run = _OVER if strand is None else strand.run
    return "?" if strand is None or run is _OVER else run.plan.tasks[strand.at].name


class Here(NamedTuple):
    """Where a body runs: the task, the clock, and when the outermost run on that clock began."""

    task: str
    now: Callable[[], float]
    origin: float


def here() -> Here | None:
    """Where the calling body runs; None outside of any run."""
    strand = CURRENT.get()
    if strand is None or not strand.open:
        return None
    run = strand.run
    return Here(run.plan.tasks[strand.at].name, strand.rt.now, run.origin)
