"""Batches: the decisions against a model, and what each caller gets against a direct call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from returns.result import Failure, Result, Success

from rio_chain import Batch, Chain, Task, TaskTimedOut, each
from rio_chain.executors import runtime_here
from rio_chain.policies._batch_group import BatchedCall, BatchGroup, Ending
from rio_chain.testing import run_virtual, sleep

KEYS = st.integers(0, 4)
SIZE = 3


# --- the decisions --------------------------------------------------------------------------------------------------


class Decisions(RuleBasedStateMachine):
    """Calls join, leave, are sent and answered; the model is a list of groups, each a list of calls with their keys."""

    def __init__(self) -> None:
        super().__init__()
        self.batch = Batch(size=SIZE)
        self.open: dict[int, list[BatchedCall]] = {}  # by place: those that take further calls
        self.all: list[tuple[BatchGroup, list[BatchedCall]]] = []
        self.sent: dict[BatchGroup, list[int]] = {}
        self.asked = self.made = 0

    def waiting(self, calls: list[BatchedCall]) -> list[BatchedCall]:
        return [call for call in calls if call.state == "waiting"]

    def keys(self, calls: list[BatchedCall]) -> list[Any]:
        """Of those who wait, each once. One that all had left is asked for by whoever comes first after that."""
        found: dict[Any, None] = {}
        for k, call in enumerate(calls):
            before = [other for other in calls[:k] if other.key == call.key and other in self.waiting(calls)]
            if call.state == "waiting" and not before:
                found[call.key] = None
        return [*found]

    @rule(place=st.integers(0, 1), key=KEYS)
    def join(self, place: int, key: int) -> None:
        call, first = self.batch.join(place, key, (place, key), caller=None, deadline=1, now=0)
        assert first is (place not in self.open)
        if first:
            self.open[place] = []
            self.all.append((call.group, self.open[place]))
        self.open[place].append(call)
        assert call.group is self.open[place][0].group
        full = len(self.keys(self.open[place])) == SIZE
        assert call.group.due is full
        if full:
            del self.open[place]

    @precondition(lambda self: self.all)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        _, calls = data.draw(st.sampled_from(self.all))
        call = data.draw(st.sampled_from(calls))
        waited = call.state == "waiting"
        last = self.batch.leave(call)
        assert last is (waited and not self.waiting(calls))
        if last:
            self.open = {place: open_ for place, open_ in self.open.items() if open_ is not calls}

    @precondition(lambda self: any(group not in self.sent for group, _ in self.all))
    @rule(data=st.data())
    def send(self, data: st.DataObject) -> None:
        group, calls = data.draw(st.sampled_from([one for one in self.all if one[0] not in self.sent]))
        expected = self.keys(calls)
        items = self.batch.send(group)
        assert sorted([] if items is None else [key for _, key in items]) == sorted(expected)
        self.open = {place: open_ for place, open_ in self.open.items() if open_ is not calls}
        self.sent[group] = [] if items is None else [key for _, key in items]
        self.made += items is not None
        self.asked += len(items or ())

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), lost=st.booleans())
    def end(self, data: st.DataObject, lost: bool) -> None:
        group = data.draw(st.sampled_from([*self.sent]))
        calls = next(calls for one, calls in self.all if one is group)
        waiting = self.waiting(calls)
        ended = self.batch.end(group, None if lost else Ending("f", [100 + key for key in self.sent[group]]))
        assert set(ended) == set(waiting)
        for call in ended:
            assert call.state == ("lost" if lost else "answered")
            assert call.answer is None if lost else call.answer.value == 100 + call.key
        del self.sent[group]
        self.all = [one for one in self.all if one[0] is not group]

    @invariant()
    def it_counts(self) -> None:
        waiting = sum(len(self.waiting(calls)) for _, calls in self.all)
        assert repr(self.batch).endswith(f": {self.made} calls for {self.asked} keys, {waiting} wait>")


TestDecisions = Decisions.TestCase
TestDecisions.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


# --- what each caller gets ------------------------------------------------------------------------------------------

callers = st.lists(st.tuples(KEYS, st.integers(0, 6), st.sampled_from([None, 1, 3, 8, 20])), min_size=1, max_size=12)
"""The key of each, when it begins and its timeout."""


def direct(key: int, bad: set[int]) -> Result[str, Exception]:
    return Failure(KeyError(key)) if key in bad else Success(f"user {key}")


@given(
    callers=callers,
    bad=st.sets(KEYS),
    size=st.integers(1, 4),
    wait=st.sampled_from([0, 1, 2, 5]),
    takes=st.sampled_from([0, 1, 4]),
    kind=st.sampled_from(["list", "dict", "errors"]),
    shape=st.sampled_from(["bodies", "each"]),
    retries=st.integers(0, 1),
)
@settings(max_examples=150, deadline=None)
def test_each_caller_gets_what_a_direct_call_gives_or_its_own_timeout(  # noqa: PLR0917 - by name
    callers: list[tuple[int, int, int | None]],
    bad: set[int],
    size: int,
    wait: float,
    takes: float,
    kind: str,
    shape: str,
    retries: int,
) -> None:
    asked: list[list[int]] = []
    flying = 0

    async def fetch_many(keys: list[int]) -> Any:
        nonlocal flying
        asked.append(keys)
        flying += 1
        try:
            await sleep(takes)
        finally:
            flying -= 1
        values = [direct(key, bad) for key in keys]
        if kind == "errors":
            return [value.failure() if isinstance(value, Failure) else value.unwrap() for value in values]
        return values if kind == "list" else dict(zip(keys, values, strict=True))

    batch = Batch(size=size, wait=wait)
    user = Task(fetch_many).batch(batch).retry(retries, backoff=None)

    async def one(given: tuple[int, int, int | None]) -> tuple[Any, float]:
        key, at, limit = given
        await sleep(at)
        chain: Chain[[int], Any] = user if limit is None else user.timeout(limit)
        began = runtime_here().now()
        outcome = await chain(key)
        return outcome.result, 1000 * (runtime_here().now() - began)

    async def body(_: object) -> list[Any]:
        if shape == "each":
            return (await each(Task(one), limit=len(callers))(callers)).unwrap()
        found: dict[int, Any] = {}

        async def of(number: int) -> None:
            found[number] = await one(callers[number])

        works: list[Callable[[], Awaitable[None]]] = [partial(of, number) for number in range(len(callers))]
        await runtime_here().race(works, lambda _: False)
        return [found[number] for number in range(len(callers))]

    async def main() -> list[Any]:
        return (await Task(body)(None)).unwrap()

    for (key, _, limit), (result, took) in zip(callers, run_virtual(main), strict=True):
        expected = direct(key, bad)
        tries = 1 + retries * (key in bad)
        if isinstance(result, Failure) and isinstance(result.failure(), TaskTimedOut):
            assert limit is not None
            assert limit - 1e-6 <= took <= limit + 1e-6
            assert tries * (wait + takes) >= limit - 1e-6, "there was time for an answer"
            continue
        assert type(result) is type(expected)
        assert repr(result) == repr(expected)
        assert took <= tries * (wait + takes) + 1e-6
    assert flying == 0
    assert all(0 < len(keys) <= size and len(set(keys)) == len(keys) for keys in asked)
    assert repr(batch).endswith("0 wait>")
