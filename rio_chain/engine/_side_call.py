"""A call of a hedge or race in a strand of its own, beside the strand that entered the race."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rio_chain.engine._classify_error import EXITS
from rio_chain.engine._current_run import CURRENT, Strand
from rio_chain.engine._frames import Fail, OuterExpired
from rio_chain.engine._judge_answer import ends_race, judged
from rio_chain.engine._late_answers import LateAnswers, beside_first
from rio_chain.engine._race import Contender, RaceOver
from rio_chain.errors import CallbackFailed
from rio_chain.results._outcome import Failed

if TYPE_CHECKING:
    from rio_chain.engine._hedge import HedgeRace
    from rio_chain.policies._permit import Permit


class SideCall(LateAnswers):
    """One such call."""

    __slots__ = ("number", "race")

    def __init__(self, race: HedgeRace, number: int) -> None:
        self.race = race
        self.number = number

    async def run(self) -> None:
        """The body of the strand. It raises nothing: errors that end the race are raised where the race is awaited."""
        race, number, rt = self.race, self.number, self.race.rt
        strand: Strand | None = None
        extra: Permit | None = None
        error: BaseException | None = None
        try:
            branch, strand = race.branch(number), self._strand()
            run = strand.run
            if race.budget is not None:
                extra = race.budget.extra(clock=rt.now)
            if race.begins(number, run.log, strand.kept, denied=race.budget is not None and extra is None):
                if race.hedge:
                    run.hedge_started(branch.low, race.rounds + 1, number)
                began = rt.now()
                interpret, ops = race.frame.part
                value = await interpret(strand, ops, branch.start, branch.stop, race.frame.place[2], began)
                if type(value) is Failed:
                    await self._failed(strand, value.error)
                else:
                    await self._answered(strand, value, began)
            else:
                race.log.denied(race, number)
            race.start_due(rt.now())
        except RaceOver as exc:
            if not race.race.decided:  # a race around this one is over
                error = exc
        except BaseException as exc:  # noqa: BLE001 - raised where the race is awaited
            error = self._error(strand, exc)
        finally:
            if extra is not None:
                extra.dropped()
            if strand is not None:
                strand.end()
            race.sides.ended(number, error)
            del error  # its traceback keeps this frame

    def _strand(self) -> Strand:
        race, number, parent = self.race, self.number, self.race.parent
        run = parent.run.part()
        if race.hedge:  # the same call at another place has the same idempotency key
            run.step = race.branch(number).low - race.branches[0].low
        strand = run.strand(race.rt, race.rt.slot(), race.frame.deadline)
        strand.budget, strand.replica, strand.rounds, strand.permits = race.budget, number, race.rounds, race.permits
        strand.contender, strand.in_race = Contender(race.race), self
        if parent.kept:
            strand.kept = parent.kept.copy()
        CURRENT.set(strand)
        return strand

    async def _failed(self, strand: Strand, error: Any) -> None:
        strand.deadline = strand.parent_deadline
        strand.slot.arm(strand.deadline)
        error, last = await ends_race(self.race, strand, error)
        self.race.failed(self.number, error, last=last)

    async def _answered(self, strand: Strand, value: Any, began: float) -> None:
        race, number = self.race, self.number
        ended = strand.rt.now()
        strand.deadline = strand.parent_deadline
        strand.slot.arm(strand.deadline)  # a limit inside was met in time, and does not limit the judging
        mark, good = None, True
        if race.judges:
            try:
                mark, good = await judged(race, strand, number, value)
            except CallbackFailed as exc:
                race.failed(number, exc)
                return
            except Fail as exc:
                race.failed(number, exc.error)
                return
        race.pinned[number] = strand.pinned
        race.answered(number, value, mark, (began, ended), strand.run.log, good=good)

    def _error(self, strand: Strand | None, exc: BaseException) -> BaseException | None:
        """The error that ends the race. The strand's own cancellation does not."""
        race = self.race
        race.race.decided = True  # or it has failed
        try:
            # a timeout around the race has expired, and the strand that enforces it may not know yet
            if strand is not None and strand.slot.settle(exc):
                return OuterExpired()
        except BaseException as own:  # noqa: BLE001 - a cancellation from elsewhere
            exc = own
        stopped = race.sides.stopped and not isinstance(exc, (Exception, *EXITS))
        return None if stopped else exc

    def first_task(self, task: int) -> int | None:
        """As ``LateAnswers.first_task``."""
        return beside_first(self.race.branches, self.number, task, hedge=self.race.hedge)

    def answered_late(self, value: Any) -> None:
        """As ``LateAnswers.answered_late``."""
        self.race.closed_late(self.number, value)

    def answered_just_now(self, value: Any) -> None:
        """As ``LateAnswers.answered_just_now``."""
        self.race.unneeded(self.number, value)
