"""The events of a random chain agree with the Responses of its Outcome, and watching it changes nothing.

No two instants coincide: of two tasks that are due at the same instant, trio lets a random one go on first. So each
duration has a share of a millisecond of its own, and no sum of some shares is likely to be a sum of others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import count, pairwise
from typing import Any

from attrs import field, frozen, mutable
from conformance.harness import pause
from hypothesis import given, note, settings
from hypothesis import strategies as st
from laws.dag_values import share
from virtual_loops import on_asyncio, on_trio

from rio_chain import Backoff, Chain, Event, Outcome, Task, add_observer, fan_out, race, settle


class BackendError(Exception):
    pass


@mutable(eq=False)
class World:
    """Numbers the parts of a chain, so that each limit is an instant of its own, and each call takes its own time."""

    numbers: Any = field(factory=count)

    def share(self) -> float:
        return share(next(self.numbers))


@frozen
class Part:
    """A recipe for a part of a chain, as the same chain is needed twice, with new backends each time."""

    build: Callable[..., Chain[..., Any]] = field(eq=False)
    inner: tuple[Part, ...] = ()
    text: str = ""

    def made(self, world: World) -> Chain[..., Any]:
        return self.build(world, *(part.made(world) for part in self.inner))

    def __repr__(self) -> str:
        return f"{self.text}{self.inner or ''}"


def leaf(script: list[tuple[int, int]]) -> Part:
    def build(world: World) -> Chain[..., Any]:
        calls, leaf = count(), next(world.numbers)

        async def fetch(_: object) -> int:
            number = next(calls)
            ms, value = script[number % len(script)]
            await pause(ms + share(leaf, number))
            if value < 0:
                raise BackendError
            return value

        return Task(fetch)

    return Part(build, text=f"{script}")


def wrap(text: str, build: Callable[..., Any], n: int, *inner: Part) -> Part:
    return Part(lambda world, *chains: build(n, world, *chains), inner, f"{text} {n}")


def below(limit: int, value: object) -> bool:
    return not isinstance(value, int) or value < limit


WRAPS: dict[str, Callable[..., Any]] = {
    "timeout": lambda n, w, a: a.timeout((3, 15, 40, 90)[n] + w.share()),
    "retry": lambda n, _, a: a.retry(n, backoff=None),
    "rest": lambda n, w, a: a.retry(n, backoff=Backoff(7 + w.share(), 2, 1000, "none")),
    "judged retry": lambda n, _, a: a.retry(n, backoff=None, accept=partial(below, n)),
    "accept": lambda n, _, a: a.accept(partial(below, n)),
    "or_else": lambda _n, _w, a: a.or_else(-1),
    "in turn": lambda n, _, a: a.replica(n + 2, after=None) if n < 2 else a,
    "hedge": lambda n, w, a: a.replica(2, after=5 + 9 * n + w.share()),
}
JOINS: dict[str, Callable[..., Any]] = {
    "then": lambda _n, _w, a, b: a >> b,
    "bridge": lambda n, _, a, b: a >> partial(crossed, n) >> b,
    "and": lambda _n, _w, a, b: a & b,
    "fan": lambda _n, _w, a, b: fan_out(x=a, y=b),
    "settle": lambda _n, _w, a, b: settle(a, b),
    "or": lambda _n, _w, a, b: a | b,
    "race": lambda _n, _w, a, b: race(a, b),
}


def crossed(n: int, value: object) -> object:
    if value == n:
        raise ValueError(n)
    return value


scripts = st.lists(st.tuples(st.sampled_from([0, 4, 11, 25, 60]), st.integers(-2, 3)), min_size=1, max_size=5)
numbers = st.integers(0, 3)
parts = st.recursive(
    scripts.map(leaf),
    lambda inner: st.one_of(
        *(st.builds(partial(wrap, name, build), numbers, inner) for name, build in WRAPS.items()),
        *(st.builds(partial(wrap, name, build), numbers, inner, inner) for name, build in JOINS.items()),
    ),
    max_leaves=5,
)

Ran = tuple[Outcome[Any], list[Event], Outcome[Any]]


async def streamed(part: Part) -> Ran:
    """The same chain, awaited and streamed."""
    plain = await part.made(World())(7)
    events = [event async for event in part.made(World())(7).stream()]
    assert events[-1].outcome is not None
    return plain, events, events[-1].outcome


def compared(outcome: Outcome[Any]) -> list[Any]:
    """What a run is compared by."""
    return [
        (r.name, r.status, r.attempts, [*map(type, r.errors)], r.winner, r.started, r.wasted, type(r.result))
        for r in outcome
    ]


@settings(deadline=None, max_examples=200)
@given(parts, st.sampled_from([on_asyncio, on_trio]))
def test_the_events_of_a_stream_agree_with_the_outcome(part: Part, loop: Callable[..., Ran]) -> None:
    plain, events, outcome = loop(streamed, part)
    note("\n".join(map(repr, events)) + "\n" + outcome.summary())
    assert compared(outcome) == compared(plain), "watching changes nothing"
    assert [event.kind == "ended" for event in events] == [False] * (len(events) - 1) + [True]
    assert all(a.at <= b.at + 1e-6 for a, b in pairwise(events))
    for response in outcome:
        mine = [event for event in events if event.task == response.name]
        assert sum(event.kind == "started" for event in mine) == response.attempts
        errors = [event.error for event in mine if event.kind == "attempt_failed"]
        assert sorted(map(id, errors)) == sorted(map(id, response.errors))
        last = mine[-1]
        assert (last.kind, last.status, last.attempt) == ("finished", response.status, response.attempts)
        assert last.error is response.result.swap().value_or(None) or response.status == "skipped"
        begun = False
        for event in mine:  # what finishes, has started since it finished before; or it was skipped
            assert event.kind != "finished" or begun or event.attempt == 0 or event.status == "skipped", event
            begun = event.kind == "started" or (begun and event.kind != "finished")


async def observed(part: Part) -> Ran:
    """The same chain, not observed and observed."""
    plain = await part.made(World())(7)
    events: list[Event] = []
    with add_observer(events.append):
        outcome = await part.made(World())(7)
    return plain, events, outcome


def which(event: Event) -> tuple[Any, ...]:
    return event.task, event.attempt, event.replica


@settings(deadline=None, max_examples=200)
@given(parts, st.sampled_from([on_asyncio, on_trio]))
def test_the_events_that_observers_get_agree_with_the_outcome(part: Part, loop: Callable[..., Ran]) -> None:
    plain, events, outcome = loop(observed, part)
    note("\n".join(map(repr, events)) + "\n" + outcome.summary())
    assert compared(outcome) == compared(plain), "observing changes nothing"
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
