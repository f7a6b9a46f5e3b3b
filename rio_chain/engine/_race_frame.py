"""A hedge or race that the interpreter has entered. Its first call runs in the strand that entered it.

Until the next call is due nothing else is made but a timer. There is a ``HedgeRace`` as soon as that has fired or the
first call has failed, and from the beginning where several calls begin at once. It runs the others as strands beside
this one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextvars import copy_context
from typing import Any, cast

from rio_chain.engine._current_run import Run, Strand
from rio_chain.engine._discarded_results import close_here
from rio_chain.engine._frames import INF, RACE_LOST, Fail, Frame, Position
from rio_chain.engine._hedge import HedgeRace
from rio_chain.engine._instructions import FULL, LEARNED, Op, RaceOp
from rio_chain.engine._judge_answer import judged
from rio_chain.engine._late_answers import LateAnswers, beside_first
from rio_chain.engine._race import Contender
from rio_chain.engine._retries_in import retries_in
from rio_chain.engine._runtime_protocol import Timer
from rio_chain.errors import CallbackFailed
from rio_chain.results._task_record import TaskRecord

MOST_SPARE = 1_000
"""So many frames are kept to be used again."""
_NOWHERE: Position = -1, FULL, None
_NO_FRAMES: list[Frame] = []
_NO_RACE: Any = None
_OVER = object()
"""Stands for a race that is over."""
Interpret = Callable[[Strand, tuple[Op, ...], int, int, Any, float], Awaitable[Any]]
Part = tuple[Interpret, tuple[Op, ...]]


def enter_race(strand: Strand, frames: list[Frame], op: Op, value: Any, now: float, part: Part) -> list[Frame]:  # noqa: C901, PLR0917 - on the hot path
    """Enter a RACE: what follows is its first call. Gives the frames, with its own."""
    if not frames:
        frames = []
    rt = strand.rt
    _, _, replica, _, quick, delay, low, high = op
    try:
        frame: RaceFrame = rt.spare.pop()
    except IndexError:
        frame = RaceFrame()
    if frame.op is not op:
        frame.op, frame.part = cast("RaceOp", op), part
        frame.layer = replica
        frame.low, frame.high, frame.learned = low, high, delay is LEARNED
    frame.place = -1, FULL, value  # no instruction of the first call: that may be entered as well
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
    if delay is LEARNED:
        delay = replica.delay()
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
    """Whether nothing was noted of a task yet but that its turn has come."""
    return found is None or (type(found) is TaskRecord and not found.calls and not found.errors and not found.started)


def _begin(frame: RaceFrame, now: float) -> None:
    """Make it a race from the beginning."""
    frame.quick = False
    run, low, high = frame.strand.run, frame.low, frame.high
    if run.observed or not all(map(_untouched, run.log[low:high])):
        frame.saved = run.log[low:high]
        run.contend(low, high)
    frame.opened().begin(now)


class RaceFrame(Frame, LateAnswers):
    """The frame of a RACE, from there to its RACED.

    Attributes:
        around: the frames; those below ``level`` are around it.
        at: when the second call is due.
        claim: holds the race, or None when the first call has answered before there was one. The first to put it there
            decides: the timer or the strand.
        given: the id of the answer that was handed on.
        later: answers of abandoned calls that came before there was a race.
        learned: the replica's delay is.
        number: which of the calls runs in the strand.
        part: what runs a part of the program, and the program.
        outer: the race around it of which a call runs in this strand as well.
        quick: nothing but time and a failure can make it a race.
        replica, rounds, contender: those of the strand around it.
        saved: what its tasks have logged in earlier rounds.
        won: the race is over, and its answer handed on.
    """

    __slots__ = (
        "around", "at", "claim", "contender", "context", "given", "later", "learned", "level", "number", "op", "outer",
        "part", "quick", "replica", "rounds", "saved", "strand", "timer", "won",
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
        # all that a first call in time leaves as it is: such a frame is used again
        self.op: RaceOp = _NO_RACE
        self.alone = self.won = self.learned = False
        self.until = self.at = INF
        self.retries = self.given = self.number = 0
        self.permit = self.extra = None
        self.quick = True
        self.claim: dict[int, Any] = {}
        self.context: Any = None
        self.timer: Timer | None = None
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
        """Whether the call in its strand is not needed any more, and was interrupted because of that."""
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
        if now < self.at or claim:  # on threads: it is used again, or its first call has just answered
            return
        race = HedgeRace(self)
        if claim.setdefault(0, race) is race:
            race.begin(now)

    def opened(self) -> HedgeRace:
        """Its race, from now on if there was none. For the strand."""
        if self.claim.setdefault(0, None) is None:
            if self.context is None:
                self.context = copy_context()
            self.claim[0] = HedgeRace(self)
        race: HedgeRace = self.claim[0]
        return race

    def forget(self, given: int) -> None:
        """Its race is over. An abandoned call may keep it for long, and must not keep the input or the race."""
        self.given = given
        self.claim[0] = _OVER
        self.place = _NOWHERE
        self.around, self.level = _NO_FRAMES, 0
        self.context = self.saved = None

    # --- the end of a call in the strand -------------------------------------------------------------------------

    def over(self, now: float, value: Any) -> bool:
        """Whether the frame is left now that its call has answered; else ``answered`` says how it goes on."""
        strand = self.strand
        if self.quick and self.later is None and self.claim.setdefault(0, None) is None:
            if self.learned:
                self.op.replica.after.add(now - self.entered)  # type: ignore[union-attr]  # it is a Quantile
            strand.in_race = self.outer
            strand.replica = self.replica
            strand.rounds = self.rounds
            if self.timer is not None:
                self.timer.deadline = INF
            if strand.given_up:  # an abandoned call may still answer, and ask what was handed on
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
        """The call in the strand has answered. Gives where to go on: with the next call, or with the answer."""
        race, strand = self.opened(), self.strand
        ended = strand.rt.now()
        strand.deadline = self.deadline
        mark, good = None, True
        try:
            strand.slot.arm(self.deadline)  # a limit in it was left in time, and has no say in how it is judged
        except BaseException:
            race.unneeded(self.number, value)  # it was interrupted, and has answered all the same
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

        Gives where to go on, or None and the error of the race.
        """
        race = self.opened()
        if error is RACE_LOST:
            race.lost_in_place()
        else:
            race.failed_in_place(error)
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
        """The strand is out of it, and it is not used again."""
        strand = self.strand
        self._free_timer(strand)
        strand.in_race = self.outer
        strand.replica, strand.rounds = self.replica, self.rounds

    # --- when it is dropped --------------------------------------------------------------------------------------

    def drop(self) -> None:
        """As ``Frame.drop``. Its other calls are stopped; ``gone`` awaits them."""
        if not self.won:
            self.opened().drop()
        self._left()

    async def gone(self) -> None:
        """After ``drop``: wait until all its calls have ended. Raises what interrupts this, after that."""
        if not self.won:
            await self.opened().gone()

    def gone_at_once(self) -> None:
        """The same where nothing can be awaited."""
        if not self.won:
            self.opened().clean_up()

    def shift(self, run: Run, task: int) -> int:
        """How far this task is from that of the first call, where the strand makes the same call at another place."""
        if run is not self.strand.run:
            return 0
        branch, first = self.op.branches[self.number % len(self.op.branches)], self.op.branches[0]
        return branch.low - first.low if self.op.hedge and branch.low <= task < branch.high else 0

    def first_task(self, task: int) -> int | None:
        """As ``LateAnswers.first_task``."""
        return beside_first(self.op.branches, self.number, task, hedge=self.op.hedge)

    # --- late answers --------------------------------------------------------------------------------------------

    def answered_late(self, value: Any) -> None:
        """An abandoned call has answered, maybe long after the race; it is closed unless it is the one handed on."""
        race = self._race
        if race is not None:
            race.closed_late(self.number, value)
        elif not self.op.branches[0].shared and id(value) != self.given:
            close_here([value])

    def answered_just_now(self, value: Any) -> None:
        """A call has answered just when it was interrupted; it is closed when the race is over."""
        race = self._race
        if race is not None:
            race.unneeded(self.number, value)
        else:
            self.later = [*(self.later or ()), value]
