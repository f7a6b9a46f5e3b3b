"""A Cache with stale answers does what a table of arrivals says."""

from __future__ import annotations

from typing import Any

from fake_clock import FakeClock
from hypothesis import given, settings
from hypothesis import strategies as st

from rio_chain import Cache
from rio_chain.policies import Call
from rio_chain.policies._permit import Answer, StaleAnswer

steps = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.sampled_from("ab")),
        st.tuples(st.sampled_from(["succeeded", "failed", "dropped"]), st.integers(0, 9)),
        st.tuples(st.just("move"), st.integers(1, 12)),
    ),
    max_size=60,
)


@settings(max_examples=300)
@given(st.integers(1, 8), st.none() | st.integers(1, 16), steps)
def test_fresh_then_stale_then_gone(ttl: int, stale: int | None, script: list[tuple[Any, ...]]) -> None:
    cache = Cache(125 * ttl, stale=stale and 125 * stale)  # eighths of a second are exact as floats
    clock = FakeClock(0.0)
    came: dict[str, tuple[int, int]] = {}  # of each key: when its answer came, and the answer
    behind: set[str] = set()
    calls: list[tuple[str, Any, bool]] = []  # those under way: the key, the permit, and whether it is made behind
    now = number = 0
    for name, arg in script:
        if name == "move":
            now += arg
            clock.at = now / 8
        elif name == "ask":
            got = cache.enter(Call(key=arg, clock=clock))
            age = now - came[arg][0] if arg in came else None
            if age is not None and age < ttl:
                assert type(got) is Answer
                assert got.value == came[arg][1]
            elif age is not None and age < ttl + (stale or 0):
                assert isinstance(got, StaleAnswer)
                assert got.value == came[arg][1]
                assert (got.refresh is not None) == (arg not in behind)
                if got.refresh is not None:
                    behind.add(arg)
                    calls.append((arg, got.refresh, True))
            else:
                calls.append((arg, got, False))
        elif calls:
            key, permit, is_behind = calls.pop(arg % len(calls))
            if is_behind:
                behind.discard(key)
            if name == "succeeded":
                number += 1
                permit.succeeded(number)
                came[key] = now, number
            else:
                permit.dropped() if name == "dropped" else permit.failed(OSError())
