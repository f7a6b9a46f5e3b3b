"""The results of each part of a chain in a run: a status, and a few words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from returns.result import Failure

from rio_chain.chain._plan import PlannedBridge
from rio_chain.errors import BridgeFailed, describe_error
from rio_chain.inspect.pictures._picture import Mark, Marks
from rio_chain.inspect.pictures._text_width import cut
from rio_chain.results._error_summary import ErrorSummary
from rio_chain.results._outcome import Outcome
from rio_chain.results._response import Response, Span

LISTED = 10  # attempts, or errors, in a tooltip
HEADLINE = 70
NESTED = 3  # levels of Requests within Requests that are shown
LONG = 200  # characters of an error


def duration(ms: float) -> str:
    """Milliseconds with few digits."""
    few = f"{ms:.1f}"
    return f"{ms:.0f} ms" if len(few) > len("99.9") else f"{few} ms"


def error_text(error: object) -> str:
    """An error in one line."""
    if isinstance(error, ErrorSummary):
        return cut(str(error), LONG)
    kind = type(error).__name__
    said = describe_error(error, str) if isinstance(error, BaseException) else describe_error(error)
    return cut(f"{kind}: {said}", LONG)


def headline(outcome: Outcome[Any]) -> Mark:
    """The result of the run, in a line."""
    result = outcome.result
    failed = isinstance(result, Failure)
    queued = f", after waiting {duration(waited(outcome))}" if waited(outcome) else ""
    text = f"{'failed' if failed else 'succeeded'} in {duration(outcome.elapsed)}{queued}"
    if not failed:
        return Mark("succeeded", text)
    error = error_text(result.failure())
    return Mark("failed", f"{text}: {cut(error, HEADLINE)}", error)


def waited(outcome: Outcome[Any]) -> float:
    """The time that it waited before it began, in a queue or for its loop; 0 if it is negligible."""
    return outcome.queued if outcome.queued > max(1, 0.01 * outcome.elapsed) else 0.0


def marks(outcome: Outcome[Any], deep: int = NESTED) -> Marks:
    """The marks of a run that has ended. Requests that tasks returned are included, to a depth of ``deep``."""
    plan = outcome.plan
    failed = {(e.bridge, e.before, e.after): error_text(e.error) for e in _bridges_failed(outcome)}

    def found(edges: Sequence[PlannedBridge]) -> dict[int, Mark]:
        told_of = ((i, failed.get((edge.name, edge.before, edge.after))) for i, edge in enumerate(edges))
        return {i: Mark("failed", "failed", text) for i, text in told_of if text is not None}

    tasks = {i: mark(response) for i, response in enumerate(outcome)}
    returned = {i: inner for i, r in enumerate(outcome) if deep and (inner := r.nested) is not None}
    nested = {i: (inner.plan, marks(inner, deep - 1)) for i, inner in returned.items()}
    return Marks(tasks, found(plan.bridges), found(plan.joints), headline(outcome), _fallbacks(outcome), nested)


def _fallbacks(outcome: Outcome[Any]) -> frozenset[int]:
    """The number of each ``or_else`` whose fallback was used. They are numbered in plan order."""
    bits = 0
    for response in outcome:
        bits |= response._fallbacks  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # of interest to pictures alone
    return frozenset(number for number in range(bits.bit_length()) if bits >> number & 1)


def mark(response: Response) -> Mark:
    """The mark of one task."""
    status = response.status.replace("_", " ")
    return Mark(response.status, short(response), "\n".join([status, *_story(response)]))


def short(response: Response) -> str:
    """The result of a task in a few words."""
    status = response.status.replace("_", " ")
    if response.counts:
        done, total = response.counts.get("succeeded", 0), sum(response.counts.values())
        items = ("1 item" if total == 1 else f"{total} items") if done == total else f"{done} of {total} items"
        return f"{items}, {duration(response.elapsed)}" if response.attempts else items
    if not response.attempts:
        return "without a call" if response.status == "succeeded" else status
    text = duration(response.elapsed)
    if response.status != "succeeded":
        text = f"{status} after {text}"
    text += f", {response.attempts} calls" if response.attempts > 1 else ""
    return text + (f", replica {response.winner} won" if response.winner and response.started else "")


def _story(response: Response) -> Iterator[str]:
    """All that is recorded of a task, one fact a line."""
    if response.attempts:
        yield f"{response.attempts} {'call' if response.attempts == 1 else 'calls'} in {duration(response.elapsed)}"
    if response.counts:
        yield "items: " + ", ".join(f"{n} {status}" for status, n in response.counts.items())
        for item in [one for one in response.items if one.status not in ("succeeded", "skipped")][:LISTED]:
            yield f"item {item.index}: {error_text(item.result.failure())}"
        return
    if response.attempts > 1:
        yield from (span_text(span) for span in response.spans[:LISTED])
        if response.attempts > LISTED:
            yield f"and {response.attempts - LISTED} more"
    elif response.status != "succeeded":
        yield error_text(response.result.failure())


def span_text(span: Span) -> str:
    """One call in one line."""
    replica = f" of replica {span.replica}" if span.replica else ""
    text = f"call {span.attempt}{replica}: {span.status.replace('_', ' ')}, {duration(span.began)} to "
    text += duration(span.ended)
    failed = span.error is not None and span.status not in ("cancelled", "timed_out")
    return text + (f", {error_text(span.error)}" if failed else "")


def _bridges_failed(outcome: Outcome[Any]) -> Iterator[BridgeFailed]:
    return (error for error in _errors(outcome) if isinstance(error, BridgeFailed))


def _errors(outcome: Outcome[Any]) -> Iterator[Any]:
    """The error of the run, and the errors of its tasks and items."""
    if isinstance(outcome.result, Failure):
        yield outcome.result.failure()
    for response in outcome:
        if response.status != "succeeded":
            yield response.result.failure()
        for item in response.items:
            if item.status != "succeeded":
                yield item.result.failure()
