"""The output of the demo: plain text, made from Outcomes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from returns.pipeline import is_successful

from rio_chain import NotAccepted, Outcome, TaskTimedOut
from rio_chain._core.quantiles import quantile
from rio_chain.demo.faults import KINDS, RATES

Page = Outcome[str]

_KINDS = {"slow": "later than its timeout", "flaky": "HTTP 503", "wrong": "right in form, wrong in content"}


def intro(seed: int) -> str:
    """The introduction."""
    lines = [f"One chain over three HTTP servers that misbehave; each fault follows from the seed, here {seed}.", ""]
    lines += [f"  {node:<8}{RATES[node]:>4.0%} of the answers are {_KINDS[kind]}" for node, kind in KINDS.items()]
    return "\n".join(lines)


def describe_error(error: Any) -> str:
    """An error in a word or two."""
    if isinstance(error, TaskTimedOut):
        return "timed out"
    if isinstance(error, NotAccepted):
        return "answer refused"
    response = getattr(error, "response", None)
    return type(error).__name__ if response is None else f"HTTP {response.status_code}"


def table(outcome: Page) -> str:
    """One line per task: its Response. ``winner`` is the call that gave the answer, ``-`` if none did."""
    lines = [f"  {'task':<14}{'status':<11}{'attempts':>8}{'time':>12}  {'winner':<8}errors on the way"]
    for task in outcome:
        winner = "-" if task.winner is None else str(task.winner)
        errors = ", ".join(describe_error(error) for error in task.errors) or "none"
        time = f"{task.elapsed:.1f} ms"
        lines.append(f"  {task.name:<14}{task.status:<11}{task.attempts:>8}{time:>12}  {winner:<8}{errors}")
    return "\n".join(lines)


def ending(outcome: Page) -> str:
    """The text of the page, or the error that ended the run."""
    if is_successful(outcome.result):
        return f"  Success in {outcome.elapsed:.1f} ms: {outcome.unwrap()}"
    error = outcome.result.failure()
    return f"  Failure in {outcome.elapsed:.1f} ms: {describe_error(error)}: {error}"


def figures(outcomes: Sequence[Page], seconds: float) -> str:
    """Throughput, latencies from start to end of a run (without its time in the queue), and how the runs ended."""
    elapsed = sorted(outcome.elapsed for outcome in outcomes)
    p50, p95, p99 = (quantile(elapsed, share) for share in (0.5, 0.95, 0.99))
    failures = Counter(describe_error(o.result.failure()) for o in outcomes if not is_successful(o.result))
    failed = failures.total()
    why = ", ".join(f"{times} x {kind}" for kind, times in failures.most_common())
    attempts = sum(task.attempts for outcome in outcomes for task in outcome)
    count = len(outcomes)
    lines = [
        f"  {count} outcomes in {seconds:.1f} s, {count / seconds:.0f} per second, {attempts} calls",
        f"  p50 {p50:.0f} ms, p95 {p95:.0f} ms, p99 {p99:.0f} ms",
        f"  {count - failed} succeeded, {failed} failed" + (f" ({why})" if why else ""),
    ]
    return "\n".join(lines)


def essence(outcome: Page) -> tuple[Any, ...]:
    """What must not depend on the executor: the result, and status and attempts of every task.

    If a run failed, only the task that ended it is compared: where the other tasks were stopped depends on timing.
    """
    if is_successful(outcome.result):
        return outcome.unwrap(), *((task.name, task.status, task.attempts) for task in outcome)
    error = outcome.result.failure()
    ended = (task for task in outcome if task.errors and task.errors[-1] is error)
    return describe_error(error), *((task.name, task.status, task.attempts) for task in ended)


def differences(runs: Mapping[str, Sequence[Page]]) -> list[str]:
    """The differences between executors, one on each line; empty if there are none."""
    found: list[str] = []
    for number, outcomes in enumerate(zip(*runs.values(), strict=True), start=1):
        pictures = [essence(outcome) for outcome in outcomes]
        if any(picture != pictures[0] for picture in pictures):
            found += [f"  request {number}, {name}: {picture}" for name, picture in zip(runs, pictures, strict=True)]
    return found


def verdict(runs: Mapping[str, Sequence[Page]]) -> str:
    """Whether all executors gave the same result."""
    wrong = differences(runs)
    names = ", ".join(runs)
    if wrong:
        return "\n".join([f"The outcomes differ between {names}:", *wrong])
    return f"Same outcomes on {names}: the same results, and for every task the same status and number of attempts."
