"""Random DAGs do what a plain model says, on every executor, in the order of their edges."""

from __future__ import annotations

import json
import pickle
from typing import Any

from hypothesis import example, given, note, settings
from hypothesis import strategies as st
from laws.dag_parts import TIMELESS, Builder, Part, chain_of, named_tasks, numbered, parts
from laws.dag_runs import Run, on_asyncio, on_threads, on_trio, played_by, sure, virtual
from laws.dag_uses import using, with_use
from laws.dag_values import Async, Sync, said

from rio_chain import Chain, Plan


def task(ms: int = 0, faults: int = 0) -> Part:
    return Part("task", ms=ms, faults=faults)


def a_race_beside() -> Part:
    """What a branch keeps for its own tasks must survive a race in the branch beside it."""
    race, row = Part("race", (task(2), task(2))), Part("seq", (task(), task(4), task()))
    return with_use(numbered(Part("and", (race, row))), 7, 5)


def items_beside() -> Part:
    """What one item keeps is not for another."""
    row = Part("seq", (task(), task(4), task()))
    return with_use(numbered(Part("each", (row,), n=4, ms=2, mode="raise")), 4, 2)


def never_reached() -> Part:
    """A task that no item has come to when the ``each`` was stopped."""
    row = Part("each", (Part("seq", (task(4), task())),), n=1, mode="raise")
    return numbered(Part("and", (Part("timeout", (task(4),), n=2), row)))


def none_succeeded() -> Part:
    """Which item ended first must not tell what is said of a task."""
    return numbered(Part("each", (Part("choose", (task(), task(1, 1))),), n=2, ms=1, mode="keep"))


# --- the same everywhere ----------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=400)
@given(using(parts()))
@example(a_race_beside())
@example(items_beside())
@example(never_reached())
@example(none_succeeded())
def test_a_dag_does_what_the_plain_model_does(part: Part) -> None:
    expected, memory = sure(part)
    for run in (on_asyncio, on_trio):
        outcome, record = run(chain_of(part))
        got = played_by(outcome)
        note(f"{run.__name__} {got}\nexpected {expected}")
        assert got.result == expected.result
        assert got.tasks == expected.tasks
        assert abs(got.ms - expected.ms) < 1e-4
        assert record.running == 0
        for task in part.tasks():
            used = [e.used for e in record.events if e.kind == "began" and e.task == task.task]
            assert sorted(tuple(said(value) for _, value in one) for one in used) == sorted(
                memory.used.get(task.number, [])
            )


def quick(task: int, _: int, faults: int) -> Any:
    return (Sync if task % 2 else Async)(task, 0, faults)


@settings(deadline=None, max_examples=80)
@given(using(parts(TIMELESS)))
def test_threads_agree_where_time_decides_nothing(part: Part) -> None:
    expected, memory = sure(part, timeless=True)
    outcome, record = on_threads(chain_of(part, named_tasks(quick)))
    got = played_by(outcome)
    note(f"{got}\nexpected {expected}")
    assert got.result == expected.result
    for task, mine, theirs in zip(part.tasks(), got.tasks, expected.tasks, strict=True):
        assert mine == theirs or task.number in memory.loose, task
    assert record.running == 0


# --- order and number of calls ----------------------------------------------------------------------------------


def before(plan: Plan) -> dict[str, set[str]]:
    """For each task those whose values come to it, straight or over bridges."""
    sources: dict[str, set[str]] = {}
    for source, target in plan.edges:
        sources.setdefault(target, set()).add(source)
    tasks = {task.name for task in plan.tasks}
    found: dict[str, set[str]] = {}
    for task in tasks:
        waiting, seen = [task], set[str]()
        while waiting:
            new = sources.get(waiting.pop(), set()) - seen
            seen |= new
            waiting += new - tasks
        found[task] = seen & tasks
    return found


def related(a: tuple[int, ...] | None, b: tuple[int, ...] | None) -> bool:
    """Whether one of two calls may be for an item that the other is for as well."""
    return a is not None and b is not None and a[: len(b)] == b[: len(a)]


@settings(deadline=None, max_examples=200)
@given(using(parts()), virtual)
def test_the_order_of_calls_is_that_of_the_edges(part: Part, run: Run) -> None:
    note(repr(part))
    outcome, record = run(chain_of(part))
    names = {task.task: planned.name for task, planned in zip(part.tasks(), outcome.plan.tasks, strict=True)}
    sources = before(outcome.plan)
    ended = {event.call: (i, event.kind) for i, event in enumerate(record.events) if event.kind != "began"}
    calls = [(i, event) for i, event in enumerate(record.events) if event.kind == "began"]
    for at, event in calls:
        for began, other in calls:
            if began < at and names[other.task] in sources[names[event.task]] and related(other.item, event.item):
                assert ended[other.call][0] < at, (other, event)


@settings(deadline=None, max_examples=200)
@given(using(parts()), virtual)
def test_no_task_is_called_more_often_than_its_response_says(part: Part, run: Run) -> None:
    note(repr(part))
    outcome, record = run(chain_of(part))
    again = part.has("retry", "replica", "each")
    for task, response in zip(part.tasks(), outcome, strict=True):
        assert response.attempts == record.calls[task.task]
        assert response.attempts <= 1 or again
        assert response.attempts or response.status == "skipped"


# --- brackets and pickles ---------------------------------------------------------------------------------------


def joined(row: list[Chain[..., Any]], splits: list[int]) -> Chain[..., Any]:
    """The row with brackets as the numbers say."""
    if len(row) == 1:
        return row[0]
    split = 1 + splits[0] % (len(row) - 1)
    return joined(row[:split], splits[1:]) >> joined(row[split:], splits[1:][::-1])


rows = st.lists(parts(), min_size=2, max_size=4).map(lambda row: numbered(Part("seq", tuple(row))))


@settings(deadline=None, max_examples=100)
@given(using(rows), st.lists(st.integers(0, 5), min_size=4, max_size=4), virtual)
def test_brackets_and_pickles_make_no_difference(part: Part, splits: list[int], run: Run) -> None:
    expected, _ = sure(part)
    builder = Builder(named_tasks())
    row = [builder.build(one) for one in part.inner]
    left, other = joined(row, [len(row) - 1 - i for i in range(1, 5)]), joined(row, splits)
    revived = pickle.loads(pickle.dumps(other))  # noqa: S301 - our own
    for chain in (other, revived):
        assert chain == left
        assert hash(chain) == hash(left)
        assert chain.plan() == left.plan()
        assert (chain.plan().tasks, chain.plan().edges) == (left.plan().tasks, left.plan().edges)
        assert json.dumps(chain.plan().to_dict()) == json.dumps(left.plan().to_dict())
        assert repr(chain) == repr(left)
        outcome, _ = run(chain)
        assert played_by(outcome).result == expected.result
        assert played_by(outcome).tasks == expected.tasks
