"""The frame of a hedge or race that the interpreter has entered. Its first call runs in the strand that entered it.

Until the next call is due, only a timer is set. A ``HedgeRace`` is made when the timer has fired or the first call has
failed; if several calls begin at once, it is made at the beginning. It runs the other calls in strands beside this
one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextvars import copy_context
from typing import Any, cast

from rio_chain.engine._current_run import Run, Strand
from rio_chain.engine._discarded_results import close_here
from rio_chain.engine._frames import INF, RACE_LOST, Fail, Frame, Position
from rio_chain.engine._hedge import HedgeRace
from rio_chain.engine._hedge_delays import delays_of
from rio_chain.engine._instructions import FULL, LEARNED, Op, RaceOp
from rio_chain.engine._judge_answer import ends_race, judged
from rio_chain.engine._late_answers import LateAnswers, beside_first
from rio_chain.engine._race import Contender
from rio_chain.engine._retries_in import retries_in
from rio_chain.engine._runtime_protocol import Timer
from rio_chain.errors import CallbackFailed
from rio_chain.policies._delays import HedgeDelays
from rio_chain.results._task_record import TaskRecord

MOST_SPARE = 1_000
"""The most frames that are kept for reuse."""
_NOWHERE: Position = -1, FULL, None
_NO_FRAMES: list[Frame] = []
_NO_RACE: Any = None
_OVER = object()
"""Marks a race that is over."""
Interpret = Callable[[Strand, tuple[Op, ...], int, int, Any, float], Awaitable[Any]]
Part = tuple[Interpret, tuple[Op, ...]]


def enter_race(strand: Strand, frames: list[Frame], op: Op, value: Any, now: float, part: Part) -> list[Frame]:  # noqa: C901, PLR0915, PLR0917 - on the hot path
    """Enter a RACE. The instructions after it are its first call. Returns the frames, with the frame of the race."""
    if not frames:
        frames = []
    rt = strand.rt
    _, _, replica, _, quick, delay, low, high = op
    plan = delays_of(replica, value, rt.now) if delay is LEARNED else None
    try:
        frame: RaceFrame = rt.spare.pop()
    except IndexError:
        frame = RaceFrame()
    if frame.op is not op:
        frame.op, frame.part = cast("RaceOp", op), part
        frame.layer = replica
        frame.low, frame.high = low, high
    frame.place = -1, FULL, value  # -1 is no instruction: the first instruction of the call may have frames of its own
    frame.entered = now
    frame.strand = strand
    frame.outer = strand.in_race
    frame.around = frames
    frame.contender = strand.contender
    frame.replica = strand.replica
    frame.rounds = strand.rounds
    strand.in_race = frame
    if frames:
        frame.level = len(frames)
        frame.deadline = frames[-1].deadline
        strand.rounds += retries_in(frames)
    else:
        frame.level = 0
        frame.deadline = strand.parent_deadline
    strand.replica = 0
    frames.append(frame)
    log = strand.run.log
    new = log[low] is None if high - low == 1 else not any(log[low:high])
    if plan is not None:
        frame.plan = plan
        delay = plan.delay()
    at = INF
    if delay is not None:
        frame.at = at = now + delay
    if not quick or not (new or all(map(_untouched, log[low:high]))) or strand.run.observed:
        _begin(frame, now)
    elif at < frame.deadline:
        frame.context = copy_context()
        timer = frame.timer
        if timer is None:
            frame.timer = rt.timer(frame, at)
        else:
            timer.deadline = at
            if at < timer.entry_at:
                rt.push_timer(timer, at)
    return frames


def _untouched(found: Any) -> bool:
    """Whether nothing was noted of a task yet, except that its turn has come."""
    return found is None or (type(found) is TaskRecord and not found.calls and not found.errors and not found.started)


def _begin(frame: RaceFrame, now: float) -> None:
    """Make the ``HedgeRace`` at the beginning."""
    frame.quick = False
    run, low, high = frame.strand.run, frame.low, frame.high
    if run.observed or not all(map(_untouched, run.log[low:high])):
        frame.saved = run.log[low:high]
        run.contend(low, high)
    frame.opened().begin(now)


class RaceFrame(Frame, LateAnswers):
    """The frame of a RACE, from there to its RACED.

    Attributes:
        around: the frames of the strand; those below ``level`` are around this one.
        at: when the second call is due.
        claim: holds the race, or None if the first call answered before there was a race. The timer or the strand puts
            it there, and the first of them decides.
        given: the id of the answer that was passed on.
        later: answers of abandoned calls that came before there was a race.
        plan: the delays, if they are those of a ``Quantile`` or of a function.
        number: the number of the call that runs in the strand.
        part: the interpreter, and the program.
        outer: the race around it whose call runs in this strand as well.
        quick: whether only the timer or a failure can make a ``HedgeRace``.
        replica, rounds, contender: the values of the strand around it.
        saved: the log of its tasks from earlier rounds.
        won: whether the race is over, and its answer passed on.
    """

    __slots__ = (
        "around", "at", "claim", "contender", "context", "given", "later", "level", "number", "op", "outer",
        "part", "plan", "quick", "replica", "rounds", "saved", "strand", "timer", "won",
    )  # fmt: skip

    races = True

    part: Part
    strand: Strand
    outer: LateAnswers | None
    around: list[Frame]
    level: int
    replica: int
    rounds: int
    contender: Contender | None

    def __init__(self) -> None:
        # the values that a first call in time leaves unchanged: a frame with them is used again
        self.op: RaceOp = _NO_RACE
        self.alone = self.won = False
        self.until = self.at = INF
        self.retries = self.given = self.number = 0
        self.permit = self.extra = None
        self.quick = True
        self.claim: dict[int, Any] = {}
        self.context: Any = None
        self.timer: Timer | None = None
        self.plan: HedgeDelays | None = None
        self.saved: list[Any] | None = None
        self.later: list[Any] | None = None

    @property
    def frames(self) -> Sequence[Frame]:
        """The frames around it."""
        return self.around[: self.level]

    @property
    def _race(self) -> HedgeRace | None:
        """The race, while there is one."""
        race = self.claim.get(0)
        return race if isinstance(race, HedgeRace) else None

    @property
    def lost(self) -> bool:
        """Whether the call in its strand is no longer needed, and was interrupted for that reason."""
        race = self._race
        return race is not None and race.lost

    @property
    def decided(self) -> bool:
        """Whether the race needs no further answer."""
        race = self._race
        return race is not None and race.race.decided

    # --- the beginning of the race -------------------------------------------------------------------------------

    def fire(self) -> None:
        """The second call is due. Called by the timer."""
        strand, claim = self.strand, self.claim
        now = strand.rt.now()
        if now < self.at or claim:  # on threads: the frame is reused already, or its first call has just answered
            return
        race = HedgeRace(self)
        if claim.setdefault(0, race) is race:
            race.begin(now)

    def opened(self) -> HedgeRace:
        """Its race; makes one if there is none. The strand calls it."""
        if self.claim.setdefault(0, None) is None:
            if self.context is None:
                self.context = copy_context()
            self.claim[0] = HedgeRace(self)
        race: HedgeRace = self.claim[0]
        return race

    def forget(self, given: int) -> None:
        """Forget the race at its end. An abandoned call may keep this frame for long, but not the input or the race."""
        self.given = given
        self.claim[0] = _OVER
        self.place = _NOWHERE
        self.around, self.level = _NO_FRAMES, 0
        self.context = self.saved = self.plan = None

    # --- the end of a call in the strand -------------------------------------------------------------------------

    def over(self, now: float, value: Any) -> bool:
        """Whether the frame is left now that its call has answered. If not, ``answered`` returns where to go on."""
        strand = self.strand
        if self.quick and self.later is None and self.claim.setdefault(0, None) is None:
            if self.plan is not None:
                self.plan.learn(now - self.entered)
                self.plan = None  # it may hold a key
            strand.in_race = self.outer
            strand.replica = self.replica
            strand.rounds = self.rounds
            if self.timer is not None:
                self.timer.deadline = INF
            if strand.given_up:  # an abandoned call may still answer, and compare that with the answer passed on
                self.given = id(value)
                self._free_timer(strand)
            elif len(strand.rt.spare) < MOST_SPARE:
                self._reuse(strand)
            return True
        if self.won:
            self._left()
        return self.won

    def _reuse(self, strand: Strand) -> None:
        self.at = INF
        self.place = _NOWHERE
        self.context = None
        self.claim = {}
        self.around = _NO_FRAMES
        strand.rt.spare.append(self)

    async def answered(self, frames: list[Frame], value: Any) -> Position:
        """The call in the strand has answered. Returns where to go on: at the next call, or with the answer."""
        race, strand = self.opened(), self.strand
        ended = strand.rt.now()
        strand.deadline = self.deadline
        mark, good = None, True
        try:
            strand.slot.arm(self.deadline)  # a limit inside was met in time, and does not limit the judging
        except BaseException:
            race.unneeded(self.number, value)  # the strand was interrupted, but the call has answered
            raise
        try:
            if race.judges:
                mark, good = await judged(race, strand, self.number, value)
        except CallbackFailed as exc:
            race.failed_in_place(exc)
        else:
            race.answered_in_place(value, mark, ended, good=good)
        try:
            return await self._next(race)
        except Fail:
            frames.pop()
            self._left()
            raise

    async def failed(self, frames: list[Frame], error: Any) -> tuple[Position | None, Any]:
        """The call in the strand has failed, or was interrupted because another has won (``RACE_LOST``).

        Returns where to go on, or None and the error of the race.
        """
        race = self.opened()
        if error is RACE_LOST:
            race.lost_in_place()
        else:
            strand = self.strand
            strand.deadline = self.deadline
            strand.slot.arm(self.deadline)
            error, last = await ends_race(race, strand, error)
            race.failed_in_place(error, last=last)
        try:
            return await self._next(race), None
        except Fail as exc:
            frames.pop()
            self._left()
            return None, exc.error

    async def _next(self, race: HedgeRace) -> Position:
        strand = self.strand
        number = race.next_in_place(strand.rt.now())
        if number is not None:
            self.number = strand.replica = number
            branch = self.op.branches[number % len(self.op.branches)]
            return branch.start, FULL, self.place[2]
        strand.deadline = self.deadline
        strand.slot.arm(self.deadline)
        value = await race.result()
        self.won = True
        return self.op.branches[0].stop, FULL, value

    def _free_timer(self, strand: Strand) -> None:
        timer, self.timer = self.timer, None
        if timer is not None:
            strand.rt.free_timer(timer)

    def _left(self) -> None:
        """The strand has left the frame, and the frame is not reused."""
        strand = self.strand
        self._free_timer(strand)
        strand.in_race = self.outer
        strand.replica, strand.rounds = self.replica, self.rounds

    # --- dropping ------------------------------------------------------------------------------------------------

    def drop(self) -> None:
        """As ``Frame.drop``. Its other calls are stopped; ``gone`` awaits them."""
        if not self.won:
            self.opened().drop()
        self._left()

    async def gone(self) -> None:
        """After ``drop``: wait until all its calls have ended, then raise any interruption."""
        if not self.won:
            await self.opened().gone()

    def gone_at_once(self) -> None:
        """The same where nothing can be awaited."""
        if not self.won:
            self.opened().clean_up()

    def shift(self, run: Run, task: int) -> int:
        """The distance of this task from the task of the first call, if the strand makes the same call elsewhere."""
        if run is not self.strand.run:
            return 0
        branch, first = self.op.branches[self.number % len(self.op.branches)], self.op.branches[0]
        return branch.low - first.low if self.op.hedge and branch.low <= task < branch.high else 0

    def first_task(self, task: int) -> int | None:
        """As ``LateAnswers.first_task``."""
        return beside_first(self.op.branches, self.number, task, hedge=self.op.hedge)

    # --- late answers --------------------------------------------------------------------------------------------

    def answered_late(self, value: Any) -> None:
        """An abandoned call has answered, maybe long after the race. Close the answer unless it was passed on."""
        race = self._race
        if race is not None:
            race.closed_late(self.number, value)
        elif not self.op.branches[0].shared and id(value) != self.given:
            close_here([value])

    def answered_just_now(self, value: Any) -> None:
        """A call has answered at the moment of its interruption. The answer is closed when the race is over."""
        race = self._race
        if race is not None:
            race.unneeded(self.number, value)
        else:
            self.later = [*(self.later or ()), value]
