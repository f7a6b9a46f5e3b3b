"""What an observed run reports where policies decide. Called where something rare has happened."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rio_chain._core.units import milliseconds
from rio_chain.policies._permit import Answer, PendingPermit, StaleAnswer

if TYPE_CHECKING:
    from rio_chain.engine._current_run import Run
    from rio_chain.engine._frames import Frame
    from rio_chain.engine._instructions import Branch
    from rio_chain.policies import Policy
    from rio_chain.results._events import Kind
    from rio_chain.results._task_record import GaveUp


def policy_name(policy: Policy) -> str:
    """The name that it was given, else that of its call."""
    name: str = getattr(policy, "_name", "") or policy.builder_call
    return name


def report_retry_gave_up(run: Run, frame: Frame, reason: GaveUp) -> None:
    """A retry makes no further attempt."""
    attempt = frame.retries + 1
    run.report("retry_gave_up", _alone(frame), attempt=attempt, reason=reason, policy="retry")


def report_retry_waits(run: Run, frame: Frame, seconds: float, error: object) -> None:
    """An attempt has failed, and the retry waits for so long before the next one."""
    attempt, delay = frame.retries + 1, milliseconds(seconds)
    if seconds:
        run.report("retry_waits", _alone(frame), attempt=attempt, error=error, policy="retry", delay=delay)


def report_budget_denied(run: Run, frame: Frame, budget: Policy) -> None:
    """A budget did not allow a retry."""
    run.report("budget_denied", _alone(frame), attempt=frame.retries + 1, policy=policy_name(budget))


def report_hedge_denied(run: Run, index: int, attempt: int, number: int, budget: Policy | None) -> None:
    """A budget did not allow a call beside the first."""
    run.report("hedge_denied", index, attempt=attempt, replica=number)
    if budget is not None:
        run.report("budget_denied", index, attempt=attempt, replica=number, policy=policy_name(budget))


def report_hedges(run: Run, calls: Iterable[tuple[int, int]], attempt: int, winner: int | None) -> None:
    """A race of replicas is over. ``calls``: the numbers of the calls that began, and their first tasks."""
    for number, index in calls:
        if number:
            kind: Any = "hedge_won" if number == winner else "hedge_wasted"
            run.report(kind, index, attempt=attempt, replica=number)


def report_asked(run: Run, policy: Policy, got: object, index: int | None) -> None:
    """A policy with a state of its own was asked, and said this."""
    call, name = policy.builder_call, policy_name(policy)
    if call == "cache":
        answered: Kind = "cache_stale" if isinstance(got, StaleAnswer) else "cache_hit"
        run.report(answered if isinstance(got, Answer) else "cache_miss", index, policy=name)
    elif call == "single_flight" and isinstance(got, PendingPermit):
        run.report("flight_joined", index, policy=name)
    elif call == "limit" and isinstance(got, Exception):
        run.report("limit_refused", index, policy=name, error=got)


def report_batch_joined(run: Run, policy: Policy, branch: Branch) -> None:
    """A call waits for the call that another one has begun for all."""
    run.report("batch_joined", _only_task(branch), policy=policy_name(policy))


def report_batch_sent(run: Run, policy: Policy, branch: Branch, size: int, callers: Iterable[Run]) -> None:
    """The call of all is made, for so many keys. ``callers``: the runs that wait for it."""
    runs = tuple(dict.fromkeys(caller.number for caller in callers if caller.observed))
    run.report("batch_sent", _only_task(branch), policy=policy_name(policy), size=size, runs=runs)


def _only_task(branch: Branch) -> int | None:
    return branch.low if branch.high - branch.low == 1 else None


def report_waited(run: Run, policy: Policy, index: int | None, seconds: float, refusal: object = None) -> None:
    """A call has waited for so long in the line of a policy; ``refusal``: it was not let in."""
    if policy.builder_call != "limit":
        return
    name, elapsed = policy_name(policy), milliseconds(seconds)
    if refusal is None:
        run.report("limit_waited", index, policy=name, elapsed=elapsed)
    else:
        run.report("limit_refused", index, policy=name, elapsed=elapsed, error=refusal)


def _alone(frame: Frame) -> int | None:
    """The one task that the policy is around. None if there are several."""
    return frame.low if frame.high - frame.low == 1 else None
