"""compare: the same luck for all variants, and differences that are none are seen as none."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest

from rio_chain import ChainDefinitionError, Task, Unstable
from rio_chain.simulation import LatencyModel, Script, advise, compare, poisson


async def fetch(number: int) -> int:
    raise NotImplementedError


async def store(number: int) -> int:
    raise NotImplementedError


SLOW_AT_TIMES = {"fetch": LatencyModel.lognormal(20, p99=60).stalling(0.03, 400)}
plain = Task(fetch)


def test_a_variant_that_is_the_same_differs_by_nothing() -> None:
    found = compare(plain, Task(fetch), backends=SLOW_AT_TIMES, requests=300, arrivals=poisson(50))
    assert all((value, value.low, value.high) == (0, 0, 0) for value in found.differences["B"].values())


def test_variants_meet_the_same_luck_call_by_call() -> None:
    """A hedge begins no sooner than 60 ms: all requests that were quicker are as they were."""
    found = compare(plain, plain.replica(2, after=60), backends=SLOW_AT_TIMES, requests=500, names=["now", "hedged"])
    now, hedged = (each.latency.values for each in found.simulations.values())
    assert all(b == pytest.approx(a) if a <= 60 else b <= a + 1e-9 for a, b in zip(now, hedged, strict=True))


def test_variants_meet_a_script_from_its_first_step_on() -> None:
    script = Script().then(1, after=500).then(2, after=10).forever()
    found = compare(plain, plain.timeout(900), backends={"fetch": script}, requests=20)
    assert all(list(each.latency.values) == pytest.approx([500, *[10] * 19]) for each in found.simulations.values())


def test_a_difference_has_an_interval_that_is_narrower_than_those_of_its_parts() -> None:
    backends = {"fetch": LatencyModel.lognormal(20, p99=60), "store": LatencyModel.constant(5)}
    found = compare(plain, plain >> Task(store), backends=backends, requests=1000)
    a, b = (each.latency.p99 for each in found.simulations.values())
    p99 = found.differences["B"]["p99"]
    assert (p99.low, p99, p99.high) == pytest.approx((5, 5, 5))
    assert a.high - a.low > 5
    assert found.differences["B"]["calls"] == pytest.approx(1)
    assert b > a


def test_a_variant_that_fails_too_often_never_gets_there() -> None:
    found = compare(plain, plain.timeout(100), backends=SLOW_AT_TIMES, requests=1000)
    assert found.differences["B"]["p99"] == math.inf
    assert found.differences["B"]["succeeded"].high < 0
    assert "never" in found.summary()
    assert "never" in found._repr_html_()
    json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: compare(plain, backends=SLOW_AT_TIMES), "two chains or more"),
        (lambda: compare(plain, plain, backends=SLOW_AT_TIMES, names=["a", "a"]), "2 different names"),
        (lambda: compare(plain, plain(1), backends=SLOW_AT_TIMES), "page, not page(42)"),
        (lambda: compare(plain, plain, backends={**SLOW_AT_TIMES, "x": 1}), "not a task of any of these chains"),
        (lambda: advise(plain, SLOW_AT_TIMES, goal="p98"), "`goal` must be one of 'p50'"),
        (lambda: advise(plain, SLOW_AT_TIMES, tasks=["store"]), "`tasks` names 'store'"),
        (lambda: advise(plain, SLOW_AT_TIMES, extra_load=-1), "`extra_load`"),
        (lambda: advise(plain, {}), "missing: fetch"),
    ],
)
def test_what_makes_no_sense_is_refused(call: Callable[[], Any], says: str) -> None:
    with pytest.raises(ChainDefinitionError) as refused:
        call()
    assert says in str(refused.value)


def test_all_variants_are_looked_at_before_one_is_played() -> None:
    with pytest.raises(Unstable):
        compare(plain, plain >> Task(store), backends={**SLOW_AT_TIMES, "store": LatencyModel.constant(900)},
                arrivals=poisson(20), requests=10)  # fmt: skip
