"""A limit may be over at any reading of the clock: the run fails with that limit, whichever step it hits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf
from typing import Any

import pytest
import trio
from conformance.harness import AutojumpLoop

from rio_chain import Backoff, Chain, Task, TaskTimedOut, choose, each, expand, fan_out, race, reduce, settle, when

TICK = 0.001  # seconds


class Ticking(AutojumpLoop):
    """A loop in virtual time on which each look at the clock takes a while."""

    def time(self) -> float:
        self._jumps.at += TICK
        return super().time()


async def work(x: Any) -> Any:
    await asyncio.sleep(0)
    return x


async def after(x: Any) -> Any:
    return x


async def yields(x: Any) -> Any:
    for _ in range(3):
        await asyncio.sleep(0)
        yield x


def good(x: object) -> bool:
    return x is not None


a, b = Task(work).named("a"), Task(work).named("b")
SHAPES: dict[str, Any] = {
    "bare": a,
    "region": a >> b,
    "bridge": a >> (lambda x: x) >> b,
    "accept": (a >> b).retry(1, accept=good),
    "fan-out": a & b,
    "need": fan_out(a, b, need=1),
    "race": race(a, b),
    "replica": a.replica(2, after=5),
    "each": (lambda x: [x, x, x]) >> each(a, limit=2),
    "generator": yields >> each(a, limit=2),
    "reduce": (lambda x: [x, x, x]) >> each(a, limit=2) >> reduce(max),
    "expand": expand(a, more=lambda x: [x + 1] if x < 9 else []),
    "choose": choose(when(int, a), otherwise=b),
    "nested": (lambda x: [[x, x], [x]]) >> each(each(a).timeout(40), on_error="keep"),
    "using": a >> (lambda x: x) >> Task(lambda x, u: x).inline().named("b").using(u=a),
}


@pytest.mark.parametrize("shape", list(SHAPES))
def test_a_limit_answers_for_itself_wherever_it_falls(shape: str) -> None:
    """Whether it is in time or late; never as a limit of the run, which is far away."""
    chain = SHAPES[shape]
    found: set[str] = set()
    with asyncio.Runner(loop_factory=Ticking) as runner:
        for limit in range(2, 80):
            limited = chain.timeout(limit) >> Task(after)
            for request in (limited(7), limited.or_else(0)(7), (Task(after).named("c") & limited)(7)):

                async def run(request: Any = request) -> Any:
                    return await request

                outcome = runner.run(run())
                error = None if outcome.value_or(None) is not None else outcome.result.failure()
                assert type(error) in {type(None), TaskTimedOut}, f"{shape}, {limit} ms: {error!r}"
                found.add(type(error).__name__)
                statuses = {r.status for r in outcome} | {s for r in outcome for s in r.counts}
                assert statuses <= {"succeeded", "timed_out", "skipped", "cancelled"}, f"{shape}, {limit} ms"
    assert found == {"NoneType", "TaskTimedOut"} or shape == "nested"


# --- trio: its scopes look at the clock by themselves ---------------------------------------------------------------


class TickingClock(trio.abc.Clock):
    """The same for trio."""

    def __init__(self) -> None:
        self.at = 1_000.0  # seconds

    def start_clock(self) -> None:
        """It needs no start."""

    def current_time(self) -> float:
        self.at += TICK
        return self.at

    def deadline_to_sleep_time(self, deadline: float) -> float:
        self.at = self.at if deadline == inf else max(self.at, deadline)
        return 1.0 if deadline == inf else 0.0


async def fails(_: Any) -> None:
    await trio.lowlevel.checkpoint()
    raise OSError


f = Task(fails).named("f")
FAILING: dict[str, Callable[[float], Chain[..., Any]]] = {
    "bare": f.timeout,
    "settle": lambda ms: settle(f.timeout(ms), Task(after)),
    "race": lambda ms: race(f.timeout(ms), Task(fails)),
    "replica": lambda ms: f.timeout(ms).replica(2, after=5),
    "each": lambda ms: (lambda x: [x, x]) >> each(f.timeout(ms), on_error="keep"),
    "expand": lambda ms: expand(f.timeout(ms), on_error="keep"),
    "nested": lambda ms: Task(lambda x: f.timeout(ms)(x + 1)).inline(),
}


@pytest.mark.parametrize("shape", list(FAILING))
def test_what_fails_about_when_its_limit_is_over_has_failed_or_timed_out(shape: str) -> None:
    """And never the limit of the run, which is far away."""
    for limit in range(2, 60):
        request = FAILING[shape](limit)(7)

        async def run(request: Any = request) -> Any:
            return await request

        outcome = trio.run(run, clock=TickingClock())
        error = None if outcome.value_or(None) is not None else outcome.result.failure()
        assert type(error) in {type(None), OSError, TaskTimedOut}, f"{limit} ms: {error!r}"
        statuses = {r.status for r in outcome}
        assert statuses <= {"succeeded", "failed", "timed_out", "cancelled"}, f"{limit} ms: {statuses}"


def test_a_limit_that_passes_just_before_another_attempt_ends_the_task_and_does_not_skip_it() -> None:
    async def fails(_: object) -> None:
        raise OSError

    steady = Backoff(base=10, factor=1, jitter="none")
    found: set[str] = set()
    with asyncio.Runner(loop_factory=Ticking) as runner:
        for limit in range(10, 200):

            async def run(limit: int = limit) -> Any:
                return await Task(fails).retry(50, backoff=steady).timeout(limit)(7)

            found.add(runner.run(run()).only.status)
    assert found <= {"failed", "timed_out"}
    assert "timed_out" in found
