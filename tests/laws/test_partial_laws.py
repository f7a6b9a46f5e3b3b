"""Partial answers on asyncio, trio and in virtual time are what a plain schedule says: who has ended by the limit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import virtual_loops
from conformance.harness import pause
from hypothesis import given
from hypothesis import strategies as st
from returns.result import Failure, Success

from rio_chain import Task, TaskTimedOut, each, fan_out, settle
from rio_chain.testing import run_virtual

RUN: dict[str, Callable[[Callable[[], Any]], Any]] = {
    "asyncio": virtual_loops.on_asyncio,
    "trio": virtual_loops.on_trio,
    "virtual": run_virtual,
}


async def wait(ms: float) -> float:
    """Answer after this time; negative: fail after it."""
    await pause(abs(ms))
    if ms < 0:
        raise OSError(ms)
    return ms


def identity(x: Any) -> Any:
    return x


def ends(items: list[int], limit: int) -> list[float]:
    """When each item ends, if ``limit`` workers take them in order."""
    free, found = [0.0] * limit, list[float]()
    for item in items:
        at = min(free)
        free.remove(at)
        free.append(at + abs(item))
        found.append(at + abs(item))
    return found


durations = st.lists(st.integers(1, 40), max_size=12)


@pytest.mark.parametrize("where", RUN)
@given(durations, st.integers(1, 4), st.integers(1, 60), st.booleans())
def test_each_gives_what_has_ended(where: str, items: list[int], limit: int, t: int, ordered: bool) -> None:
    chain = Task(identity).inline() >> each(
        Task(wait), limit=limit, ordered=ordered, time_limit=t + 0.5, on_timeout="keep"
    )  # fmt: skip

    async def body() -> Any:
        return await chain(items)

    outcome = RUN[where](body)
    ended = ends(items, limit)
    came = [item for item, end in zip(items, ended, strict=True) if end < t + 0.5]
    begun = sum(end - item < t + 0.5 for item, end in zip(items, ended, strict=True))
    got = outcome.unwrap()
    assert (got if ordered else sorted(got)) == (came if ordered else sorted(came))
    expected = {"succeeded": len(came), "timed_out": begun - len(came), "skipped": len(items) - begun}
    assert outcome["wait"].counts == {status: n for status, n in expected.items() if n}
    assert outcome.elapsed == pytest.approx(min(t + 0.5, max(ended, default=0)))


branches = st.lists(st.integers(-30, 30).filter(bool), min_size=1, max_size=6)


@pytest.mark.parametrize("where", RUN)
@given(branches, st.integers(1, 30))
def test_settle_has_a_result_for_each(where: str, items: list[int], t: int) -> None:
    chain = settle(
        *(Task(identity).inline() >> (lambda _, ms=ms: ms) >> Task(wait) for ms in items), time_limit=t + 0.5
    )

    async def body() -> Any:
        return await chain(0)

    for ms, got in zip(items, RUN[where](body).unwrap(), strict=True):
        if abs(ms) > t:
            assert isinstance(got, Failure)
            assert type(got.failure()) is TaskTimedOut
        elif ms < 0:
            assert type(got.failure()) is OSError
        else:
            assert got == Success(ms)


@pytest.mark.parametrize("where", RUN)
@given(branches, st.integers(1, 30), st.integers(1, 6))
def test_a_fan_out_gives_what_has_come_if_it_is_enough(where: str, items: list[int], t: int, need: int) -> None:
    need = min(need, len(items))
    steps = [Task(identity).inline() >> (lambda _, ms=ms: ms) >> Task(wait) for ms in items]

    async def body() -> Any:
        return await fan_out(*steps, need=need, time_limit=t + 0.5)(0)

    result = RUN[where](body).result
    bad = sorted(-ms for ms in items if -t <= ms < 0)
    came = tuple(ms for ms in items if 0 < ms <= t)
    if len(bad) > len(items) - need:
        assert type(result.failure()) is OSError
        assert result.failure().args == (-bad[0],)
    elif len(came) < need:
        assert type(result.failure()) is TaskTimedOut
    else:
        assert result == Success(came)
