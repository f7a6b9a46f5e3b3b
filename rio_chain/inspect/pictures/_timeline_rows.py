"""Where the time of a run went, as plain data: a row for each task, a bar for each call. Times are milliseconds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from attrs import evolve, field, frozen

from rio_chain.chain._nodes import Choose, FanOutNode, Node, OrElse, RaceNode, TaskNode, parts, walk
from rio_chain.chain._plan import Plan
from rio_chain.inspect.pictures._picture import Mark
from rio_chain.inspect.pictures._status_marks import NESTED, duration, headline, short, span_text, waited
from rio_chain.results._outcome import Outcome
from rio_chain.results._response import Response, Span
from rio_chain.results._task_record import Status

MOST = 60  # rows of a timeline
ITEMS = 3  # items of an ``each``: this many that failed, and this many that took longest
EPS = 1e-6


@frozen
class Bar:
    """A call. ``lane``: its line in the row, as calls made at once are below each other."""

    began: float
    ended: float
    lane: int
    status: Status
    full: str
    items: int = 0


@frozen
class Rest:
    """A wait between two calls."""

    began: float
    ended: float
    lane: int


@frozen
class TimelineRow:
    """A task. ``lanes``: how many lines of calls it has."""

    name: str
    status: Status
    said: str
    bars: tuple[Bar, ...] = ()
    rests: tuple[Rest, ...] = ()
    lanes: int = 1
    critical: bool = False
    began: float = 0.0
    ended: float = 0.0
    inner: bool = False  # it is an item of the task above
    folded: bool = False  # it is for all other items, and has text only


@frozen
class Timeline:
    """A run. It waited ``queued`` before it began at 0."""

    title: str
    head: Mark
    queued: float
    elapsed: float
    rows: tuple[TimelineRow, ...] = field(repr=False)
    folded: int = 0  # the number of tasks without a row


def timeline(outcome: Outcome[Any]) -> Timeline:
    """The rows of a run, in plan order. If there are too many tasks, those that took longest are shown."""
    responses = outcome.responses
    path = critical(outcome.plan, responses)
    longest = sorted(range(len(responses)), key=lambda i: (i not in path, -responses[i].elapsed, i))
    kept = sorted(longest[:MOST])
    rows = [
        one
        for i in kept
        for one in (row(responses[i], critical=i in path), *_item_rows(responses[i]), *_nested_rows(responses[i]))
    ]
    folded = len(responses) - len(kept) + max(0, len(rows) - MOST)
    return Timeline(outcome.plan.title, headline(outcome), waited(outcome), outcome.elapsed, tuple(rows[:MOST]), folded)


def _item_rows(response: Response) -> Iterator[TimelineRow]:
    """Rows of a task in an ``each`` or ``expand``: its first items that failed, and those that took longest."""
    ran = [item for item in response.items if item.attempts and not item.counts]
    if len(ran) <= 1:
        return
    failed = [item for item in ran if item.status != "succeeded"][:ITEMS]
    others = [item for item in ran if item not in failed]
    slowest = sorted(others, key=lambda item: (-item.elapsed, item.index or 0))[:ITEMS]
    total = sum(response.counts.values())
    for item in sorted([*failed, *slowest], key=lambda item: item.index or 0):
        one = row(item, critical=False)
        yield evolve(one, name=f"{response.name}[{item.index}]", inner=True)
    left = total - len(failed) - len(slowest)
    if left:
        text = f"and {left} more {'item' if left == 1 else 'items'}"
        yield TimelineRow("", response.status, text, inner=True, folded=True)


def _nested_rows(response: Response, deep: int = NESTED) -> Iterator[TimelineRow]:
    """The rows of the Request that a task returned. Their times are those of the run around it."""
    nested = response.nested
    if nested is None or not deep:
        return
    for one in nested:
        for inner in (row(one, critical=False), *_nested_rows(one, deep - 1)):
            yield _later(inner, f"{response.name}/{inner.name}", response.nested_began)


def _later(row: TimelineRow, name: str, ms: float) -> TimelineRow:
    bars = tuple(evolve(bar, began=bar.began + ms, ended=bar.ended + ms) for bar in row.bars)
    rests = tuple(evolve(rest, began=rest.began + ms, ended=rest.ended + ms) for rest in row.rests)
    return evolve(row, name=name, bars=bars, rests=rests, began=row.began + ms, ended=row.ended + ms)


def row(response: Response, *, critical: bool) -> TimelineRow:
    """The row of a task."""
    began, ended = response.began, response.began + response.elapsed
    about = response.name, response.status, short(response)
    if response.counts:
        counts = ", ".join(f"{n} {status}" for status, n in response.counts.items())
        full = f"{sum(response.counts.values())} items: {counts}, {response.attempts} calls"
        bar = Bar(began, ended, 0, response.status, full, sum(response.counts.values()))
        return TimelineRow(*about, (bar,), critical=critical, began=began, ended=ended)
    bars, rests, free = list[Bar](), list[Rest](), list[Span]()
    for span in response.spans:
        lane = next((i for i, last in enumerate(free) if _follows(last, span)), len(free))
        if lane < len(free):
            if span.began - free[lane].ended > EPS:
                rests.append(Rest(free[lane].ended, span.began, lane))
            free[lane] = span
        else:
            free.append(span)
        bars.append(Bar(span.began, span.ended, lane, span.status, span_text(span)))
    return TimelineRow(*about, tuple(bars), tuple(rests), max(1, len(free)), critical, began, ended)


def _follows(last: Span, span: Span) -> bool:
    return last.ended <= span.began + EPS and last.replica == span.replica


def rest_text(rest: Rest) -> str:
    """A wait in words."""
    return f"waited {duration(rest.ended - rest.began)}"


# --- the critical path ------------------------------------------------------------------------------------------


@frozen
class _Path:
    """The tasks that a part of a chain had to wait for, and when the last of them ended."""

    tasks: tuple[int, ...]
    ended: float
    stopped: bool  # another part has ended it


_NONE = _Path((), -1.0, stopped=True)


def critical(plan: Plan, responses: Sequence[Response]) -> frozenset[int]:
    """The tasks that determine how long the run took: if one of them had been faster, the run would have been too.

    Of several branches it is the one that ended last; of calls made at once the one that won.
    """
    made: list[_Path] = []
    index = len(plan.tasks)
    for node in reversed(list(walk(plan.root))):  # from the last to the first, so that no plan is too deep
        inner = [made.pop() for _ in parts(node)]
        if isinstance(node, TaskNode):
            index -= 1
            made.append(_task(index, responses[index]))
        else:
            made.append(_joined(node, inner))
    return frozenset(made[0].tasks)


def _task(index: int, response: Response) -> _Path:
    if not response.attempts:
        return _NONE
    return _Path((index,), response.began + response.elapsed, response.status == "cancelled")


def _joined(node: Node, inner: list[_Path]) -> _Path:
    ran = [path for path in inner if path.tasks]
    if not ran:
        return _NONE
    if isinstance(node, (FanOutNode, RaceNode, Choose)):
        return max(ran, key=lambda path: (not path.stopped, path.ended))
    if isinstance(node, OrElse) or len(ran) > 1:
        tasks = tuple(index for path in ran for index in path.tasks)
        return _Path(tasks, ran[-1].ended, ran[-1].stopped)
    return ran[0]
