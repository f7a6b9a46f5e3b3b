"""A run that is killed at any moment and run again gives the same result, and calls nothing again that was recorded."""

from __future__ import annotations

from collections import Counter
from typing import Any

import virtual_loops
from hypothesis import assume, given, note, settings
from hypothesis import strategies as st
from laws.dag_parts import ALL, Part, chain_of, named_tasks, parts
from laws.dag_runs import INPUT
from laws.dag_uses import using
from laws.dag_values import ALWAYS, RECORD, Async, Record, Sync, said
from laws.journal_stores import Kept, in_memory

from rio_chain import Balancer, Journal, Outcome

# A timeout may pass in one run and not in the other, as what is recalled takes no time.
STEADY = ("seq", "and", "keys", "choose", "each", "retry", "named")
UNTIMED = tuple(kind for kind in ALL if kind != "timeout")


def pure(task: int, ms: int, faults: int) -> Async:
    """A body that depends on its input alone."""
    return Async(task, ms, ALWAYS if faults == ALWAYS else 0)


def quick(task: int, ms: int, faults: int) -> Any:
    """On threads time decides what a failure stops, so nothing fails."""
    return (Sync if task % 2 else Async)(task, 0, 0)


async def ran(chain: Any, journal: Journal | None) -> tuple[Outcome[Any], Record]:
    RECORD.set(record := Record())
    request = chain(INPUT)
    return await (request if journal is None else request.arun(journal=journal, run_id="one")), record


def on_threads(chain: Any, journal: Journal | None) -> tuple[Outcome[Any], Record]:
    RECORD.set(record := Record())
    with Balancer("thread", workers=1) as balancer:
        if journal is None:
            return balancer.run(chain(INPUT)), record
        return balancer.run(chain(INPUT), journal=journal, run_id="one"), record


def on_asyncio(chain: Any, journal: Journal | None) -> tuple[Outcome[Any], Record]:
    return virtual_loops.on_asyncio(ran, chain, journal)


def on_trio(chain: Any, journal: Journal | None) -> tuple[Outcome[Any], Record]:
    return virtual_loops.on_trio(ran, chain, journal)


def answers(record: Record) -> Counter[int]:
    """The calls, by what they answer; each input of each task has its own answer."""
    return Counter(event.value.digest for event in record.events if event.kind in {"succeeded", "failed"})


def recorded(kept: Kept) -> Counter[int]:
    """The answers of tasks that are in a store."""
    found: Counter[int] = Counter()
    for rows in kept[1].values():
        for row in rows.values():
            if row.value is not None and (row.more is None or "log" not in row.more):
                text = str(row.value)
                if text.startswith('["v"'):
                    found[int(text.split(",")[1])] += 1
    return found


def check_killed(part: Part, body: Any, run: Any, instants: list[float]) -> None:
    note(repr(part))
    chain = chain_of(part, named_tasks(body))
    plain, before = run(chain, None)
    assume(plain.ok or body is pure)
    journal, store = in_memory()
    whole, record = run(chain, journal)
    journal.close()
    assert said(whole.result) == said(plain.result)
    made = answers(before) | answers(record)  # trio draws which of two tasks goes first
    assert run is on_trio or answers(record) == answers(before)
    assert run is on_trio or [(r.status, r.attempts) for r in whole] == [(r.status, r.attempts) for r in plain]
    for instant in instants:
        kept = store.snapshots[int(instant * len(store.snapshots))]
        again, _ = in_memory(kept)
        outcome, second = run(chain, again)
        again.close()
        note(f"killed with {[*kept[1].values()]}")
        if plain.ok:  # else time decides which of several failures comes first
            assert said(outcome.result) == said(plain.result)
        assert outcome.ok == plain.ok
        known, calls = recorded(kept), answers(second)
        for answer, times in calls.items():
            if not plain.ok and not known[answer]:
                continue  # what is recalled takes no time, so more calls may begin before a failure stops them
            assert times <= made[answer] - known[answer], (answer, times, made[answer], known[answer])


instants = st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=4)


@settings(deadline=None, max_examples=150)
@given(using(parts(UNTIMED)), instants, st.sampled_from([on_asyncio, on_trio]))
def test_a_killed_run_goes_on_in_virtual_time(part: Part, instants: list[float], run: Any) -> None:
    check_killed(part, pure, run, instants)


@settings(deadline=None, max_examples=40)
@given(using(parts(STEADY)), instants)
def test_a_killed_run_goes_on_on_threads(part: Part, instants: list[float]) -> None:
    check_killed(part, quick, on_threads, instants)
