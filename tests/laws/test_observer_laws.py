"""What observers hear of a random chain agrees with its Outcome, and what begins ends. Observing changes nothing."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import trio
import trio.testing
from conformance.harness import AutojumpLoop
from hypothesis import given, note, settings
from hypothesis import strategies as st
from laws.test_stream_laws import Part, World, parts, told

from rio_chain import Event, Outcome, add_observer

Ran = tuple[Outcome[Any], list[Event], Outcome[Any]]


async def both(part: Part) -> Ran:
    """The same chain, not observed and observed."""
    plain = await part.made(World())(7)
    events: list[Event] = []
    with add_observer(events.append):
        outcome = await part.made(World())(7)
    return plain, events, outcome


def on_asyncio(part: Part) -> Ran:
    with asyncio.Runner(loop_factory=AutojumpLoop) as runner:
        return runner.run(both(part))


def on_trio(part: Part) -> Ran:
    return trio.run(both, part, clock=trio.testing.MockClock(autojump_threshold=0))


def which(event: Event) -> tuple[Any, ...]:
    return event.task, event.attempt, event.replica


@settings(deadline=None, max_examples=200)
@given(parts, st.sampled_from([on_asyncio, on_trio]))
def test_what_observers_hear_agrees_with_the_outcome(part: Part, run: Callable[[Part], Ran]) -> None:
    plain, events, outcome = run(part)
    note("\n".join(map(repr, events)) + "\n" + outcome.summary())
    assert told(outcome) == told(plain), "observing changes nothing"
    kinds = Counter(event.kind for event in events)
    assert (events[0].kind, events[-1].kind) == ("request_started", "request_ended")
    assert kinds["request_started"] == kinds["request_ended"] == 1
    assert (events[-1].status == "succeeded") == outcome.ok
    assert len({event.run for event in events}) == 1
    open_calls: Counter[tuple[Any, ...]] = Counter()
    for event in events:
        if event.kind == "attempt_started":
            open_calls[which(event)] += 1
        elif event.kind == "attempt_ended":
            open_calls[which(event)] -= 1
            assert open_calls[which(event)] >= 0
    assert not +open_calls
    for response in outcome:
        mine = Counter(event.kind for event in events if event.task == response.name)
        assert mine["attempt_started"] == mine["started"] == response.attempts
        assert mine["hedge_won"] + mine["hedge_wasted"] == mine["hedge_started"]
