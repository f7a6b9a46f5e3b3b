"""Branches that run together on the same input. All must succeed, or all are settled, or ``need`` of them suffice."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from operator import itemgetter
from typing import Any

from returns.result import Failure, Success

from rio_chain.engine._current_run import CURRENT, INF, Strand
from rio_chain.engine._discarded_results import close_all, close_here
from rio_chain.engine._frames import Frame, NestedFail, OuterExpired, RunPart, budget_of
from rio_chain.engine._instructions import Branch, FanOutOp
from rio_chain.engine._late_answers import LateAnswers
from rio_chain.engine._race import Race, RaceOver
from rio_chain.engine._refused_answers import close_refused, refused_by
from rio_chain.engine._runtime_protocol import STOPPED, no_winner
from rio_chain.engine._time_limit import is_up, limit_from_now, timed_out
from rio_chain.policies import Budget
from rio_chain.results._outcome import Failed
from rio_chain.results._task_record import close

TIME_IS_UP: Any = object()
"""The result of a branch that has reached the time limit."""
RunBranch = Callable[[Branch, LateAnswers | None, Callable[[Any], bool]], Awaitable[Any]]
"""Runs a branch on a strand of its own. Returns its value or ``Failed``; the function says if that ends the race."""


async def run_fan_out(strand: Strand, op: FanOutOp, value: Any, frames: list[Frame], part: RunPart) -> Any:
    """Run the branches of a FAN together. The first failure stops the others; ``settle`` waits for all."""
    _, branches, keys, settle, need, time_limit, _ = op
    budget = budget_of(strand, frames) if frames else strand.budget
    until = INF if time_limit is None else limit_from_now(strand, time_limit)
    run = partial(_run, strand, Race(strand.contender, len(branches)), budget, part, value, until)
    if need is not None:
        return await first_successes(strand, op, need, run)
    if settle:
        results = await strand.rt.race([partial(run, branch, None, no_winner) for branch in branches], no_winner)
        return tuple(_settled(strand, op, branch, got) for branch, got in zip(branches, results, strict=True))
    failures: list[Failed] = []  # in the order in which they came; the clean-up of a loser may fail as well

    def failed(got: Any) -> bool:
        if type(got) is Failed:
            failures.append(got)
        return bool(failures)

    results = await strand.rt.race([partial(run, branch, None, _failed) for branch in branches], failed)
    if not failures:
        return tuple(results) if keys is None else dict(zip(keys, results, strict=True))
    for branch, got in zip(branches, results, strict=True):
        await _lost(strand, branch, got, failures[0])
    raise NestedFail(failures[0].error)


async def _run(  # noqa: PLR0917 - all but the last three are the same for all branches
    strand: Strand,
    race: Race,
    budget: Budget | None,
    part: RunPart,
    value: Any,
    until: float,
    branch: Branch,
    late: LateAnswers | None,
    decides: Callable[[Any], bool],
) -> Any:
    own = strand.fork(race, until)
    own.budget = budget
    if late is not None:
        own.in_race = late
    CURRENT.set(own)  # every branch has a context of its own
    try:
        got = await part(own, branch, value)
        if type(got) is Failed:
            own.run.given_up(branch.low, branch.high)
        elif own.observed:
            own.run.branch_gave(branch.name, got)
        if decides(got):
            race.decided = True
    except RaceOver:
        if not race.decided:  # a race around this one is over
            raise
        return STOPPED
    except OuterExpired:
        if is_up(strand, until):
            decides(TIME_IS_UP)
            return TIME_IS_UP
        race.decided = True
        raise
    except BaseException:
        race.decided = True
        raise
    finally:
        own.end()
    return got


async def _lost(strand: Strand, branch: Branch, got: Any, failure: Failed) -> None:
    """The result of this branch is not used, as another branch has failed."""
    if got is STOPPED:
        close(strand.run.log, branch.low, branch.high, failure.error, sibling=True)
    elif type(got) is Failed and got is not failure and not branch.shared:
        await close_refused(strand, got.error)


def _settled(strand: Strand, op: FanOutOp, branch: Branch, got: Any) -> Success[Any] | Failure[Any]:
    if got is TIME_IS_UP:
        got = Failed(timed_out(strand.run, branch.low, branch.high, op.time_limit or 0))
        strand.run.given_up(branch.low, branch.high)
    if type(got) is not Failed:
        return Success(got)
    close(strand.run.log, branch.low, branch.high, got.error)
    return Failure(got.error)


def _failed(got: Any) -> bool:
    return type(got) is Failed


async def first_successes(strand: Strand, op: FanOutOp, need: int, run: RunBranch) -> Any:
    """Run the branches of a FAN together until enough have succeeded, or too many have failed: then ``NestedFail``."""
    branches, keys = op.branches, op.keys
    crossing = _FirstSuccesses(strand, op, need)
    works = [partial(crossing.branch, number, run) for number in range(len(branches))]
    try:
        try:
            await strand.rt.race(works, crossing.is_over)
        except BaseException:
            close_here(crossing.unwanted([]))
            raise
        won = crossing.won()
        values = [value for _, value in won]
        error = None if won else crossing.error()
        await close_all(strand, crossing.unwanted(values or refused_by((error,))))
    finally:
        crossing.forget()
    for number, branch in enumerate(branches):
        if number in crossing.up:
            error_of_branch = timed_out(strand.run, branch.low, branch.high, op.time_limit or 0)
            close(strand.run.log, branch.low, branch.high, error_of_branch)
        close(strand.run.log, branch.low, branch.high, error, sibling=True)
        strand.run.given_up(branch.low, branch.high)
    if not won:
        raise NestedFail(error)
    return tuple(values) if keys is None else {keys[number]: value for number, value in won}


class _FirstSuccesses:
    """The branches that have succeeded, and those that have failed.

    With a time limit it waits for all branches until then, as more values than needed are wanted.
    """

    def __init__(self, strand: Strand, op: FanOutOp, need: int) -> None:
        self.strand = strand
        self.op = op
        self.branches = op.branches
        self.need = need
        self.most = need if op.time_limit is None else len(op.branches)
        self.up: list[int] = []  # the branches that have reached the time limit
        self.came: list[tuple[int, Any]] = []  # in the order in which they came; an append is atomic
        self.failures: list[Failed] = []
        self.late: list[Any] = []

    async def branch(self, number: int, run: RunBranch) -> None:
        """Run one branch."""
        branch = self.branches[number]
        await run(branch, _LateOfBranch(self, branch), partial(self._ended, number))

    def _ended(self, number: int, got: Any) -> bool:
        """A branch has ended. Returns whether that decides the fan-out."""
        if got is TIME_IS_UP:
            self.up.append(number)
        elif type(got) is Failed:
            branch = self.branches[number]
            self.failures.append(got)
            if not branch.shared:
                self.late += refused_by((got.error,))
            close(self.strand.run.log, branch.low, branch.high, got.error)
        else:
            self.came.append((number, got))
        return self.is_over(None)

    def is_over(self, _: object) -> bool:
        """Whether no further branch has to be waited for."""
        return len(self.came) >= self.most or len(self.failures) > len(self.branches) - self.need

    def error(self) -> Any:
        """Why there are too few values."""
        if len(self.failures) > len(self.branches) - self.need:
            return self.failures[0].error
        branches = self.branches
        return timed_out(self.strand.run, branches[0].low, branches[-1].high, self.op.time_limit or 0)

    def won(self) -> list[tuple[int, Any]]:
        """The values of the fan-out with the numbers of their branches, in that order; none when it has failed."""
        return sorted(self.came[: self.most], key=itemgetter(0)) if len(self.came) >= self.need else []

    def unwanted(self, kept: list[Any]) -> list[Any]:
        """The answers that may be closed: they are not used, and no cache or other call holds them."""
        came = [value for number, value in self.came if not self.branches[number].shared]
        return [value for value in (*self.late, *came) if not any(value is one for one in kept)]

    def forget(self) -> None:
        """Forget all answers at the end. An abandoned call, or a timer's context, may keep this object for long."""
        self.came, self.failures, self.late = [], [], []


class _LateOfBranch(LateAnswers):
    """Gets the answers of a branch that come when it is being stopped, or later."""

    __slots__ = ("_branch", "_crossing")

    def __init__(self, crossing: _FirstSuccesses, branch: Branch) -> None:
        self._crossing = crossing
        self._branch = branch

    def answered_late(self, value: Any) -> None:
        """As ``LateAnswers.answered_late``."""
        if not self._branch.shared:
            close_here([value])

    def answered_just_now(self, value: Any) -> None:
        """As ``LateAnswers.answered_just_now``."""
        if not self._branch.shared:
            self._crossing.late.append(value)
