"""The logs of the calls of a hedge or race. Each call has a log of its own; at the end they are merged into one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rio_chain.chain._plan import Plan
from rio_chain.engine._remote_protocol import shown
from rio_chain.engine._reports import report_hedge_denied, report_hedges
from rio_chain.errors import NotAccepted
from rio_chain.results._task_record import Log, TaskRecord, close, merge, record_of

if TYPE_CHECKING:
    from rio_chain.engine._hedge import HedgeRace
    from rio_chain.engine._race_frame import RaceFrame


class HedgeLog:
    """The logs of one race. A call in the strand writes into the run's log; its entries are taken out at its end."""

    def __init__(self, frame: RaceFrame) -> None:
        self.frame = frame
        self.own: dict[int, Log] = {}
        self.merged = False

    def take(self, number: int) -> None:
        """The call in the strand is over: take its entries out of the run's log."""
        run, op = self.frame.strand.run, self.frame.op
        log = run.log
        own: Log = [None] * len(log)
        own[op.low : op.high] = log[op.low : op.high]
        self.own[number] = own
        log[op.low : op.high] = [run.blank(index) for index in range(op.low, op.high)]

    def denied(self, race: HedgeRace, number: int) -> None:
        """A budget did not allow this call."""
        run = self.frame.strand.run
        report_hedge_denied(run, race.branch(number).low, race.rounds + 1, number, race.budget)

    def merge(self, race: HedgeRace) -> None:
        """Merge the logs of all calls. The winner's log says how a task ended; else the log of a call that failed."""
        self.merged = True
        frame, branches = self.frame, race.branches
        if isinstance(frame.outer, type(frame)):
            frame.outer.quick = False  # the race around has to report the calls that were made at once
        run, op = frame.strand.run, frame.op
        if frame.saved is not None:
            run.log[op.low : op.high] = frame.saved
            run.contended(op.low, op.high)
        winner = race.decision.winner
        wasted = race.started - (winner is not None)
        for index, branch in enumerate(branches):
            own = [(i, self.own[i]) for i in sorted(self.own) if i % len(branches) == index]
            if run.observed:
                own = [(i, [None if _is_blank(found) else found for found in log]) for i, log in own]
            merge(run.log, branch.low, branch.high, own, self._speaker(race))
            if winner is not None and winner % len(branches) != index:
                close(run.log, branch.low, branch.high, None, sibling=True)
            for task in range(branch.low, branch.high):
                entry = record_of(run.log, task)
                entry.started, entry.wasted = (race.started, wasted) if entry.calls else (0, 0)
                entry.denied += race.denied
                entry.winner = winner or 0
            run.merged(branch.low, branch.high, won=winner is not None)
        if race.hedge and run.observed:
            calls = [(number, race.branch(number).low) for number in sorted(self.own)]
            report_hedges(run, calls, race.rounds + 1, winner)

    def _speaker(self, race: HedgeRace) -> int | None:
        """The call whose log says how the tasks ended. None if no log does, because the race was interrupted."""
        if race.decision.winner is not None or not race.is_over():
            return race.decision.winner
        if race.last is not None:
            return race.last
        return min(race.errors, default=race.arrived[0].index if race.arrived else None)

    def close(self, race: HedgeRace, error: Any) -> None:
        """No call has won: calls that still ran were stopped, and an answer of a single task was not accepted.

        If a call has failed, its log says how it ended: its task may have succeeded, and a bridge after it failed.
        """
        log = self.frame.strand.run.log
        for branch in race.branches:
            refused = race.hedge and not race.errors and branch.high - branch.low == 1
            for index in range(branch.low, branch.high):
                entry = record_of(log, index)
                if entry.status == "running":
                    entry.end(error, sibling=True)
                elif refused and entry.status == "succeeded":
                    entry.failed(error)

    def error(self, race: HedgeRace) -> Any:
        """The error of a race without a winner: that of the call that began first."""
        if race.broken is not None:
            return race.broken
        if race.last is not None:
            return race.errors[race.last]
        if race.errors:
            return race.errors[min(race.errors)]
        return not_accepted(race.parent.run.plan, race.branches[0].low, race.arrived[0].value)

    def forget(self) -> None:
        """Forget the logs at the end."""
        self.own = {}


def _is_blank(found: Any) -> bool:
    """Whether nothing was noted of a task. An observed run has records from the start."""
    return isinstance(found, TaskRecord) and found.status is None and not found.calls


def not_accepted(plan: Plan, index: int, value: Any) -> NotAccepted:
    """The error of a call whose answer the chooser has refused. It begins with this task."""
    return NotAccepted(plan.tasks[index].name, shown(value))
