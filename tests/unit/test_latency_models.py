"""LatencyModel: what is drawn follows the distribution that was written, and the seed says which draws."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from returns.result import Failure

from rio_chain import ChainDefinitionError
from rio_chain.testing import LatencyModel

DRAWS = 20_000


def drawn(model: LatencyModel, at: float = 0) -> list[float]:
    """Milliseconds of many calls, the quickest first."""
    random = Random(1)
    return sorted(model.draw(random, at).delay * 1000 for _ in range(DRAWS))


def share(values: list[float], quantile: float) -> float:
    return values[int(quantile * len(values))]


def test_a_constant_is_always_the_same() -> None:
    assert set(drawn(LatencyModel.constant(timedelta(milliseconds=20)))) == {20}
    assert set(drawn(LatencyModel.constant(0))) == {0}


def test_a_uniform_fills_its_bounds_evenly() -> None:
    values = drawn(LatencyModel.uniform(10, 30))
    assert 10 <= values[0] < values[-1] <= 30
    assert share(values, 0.5) == pytest.approx(20, rel=0.02)


def test_an_exponential_has_its_mean_and_its_tail() -> None:
    values = drawn(LatencyModel.exponential(20))
    assert sum(values) / len(values) == pytest.approx(20, rel=0.03)
    assert share(values, 0.99) == pytest.approx(20 * math.log(100), rel=0.05)


def test_a_lognormal_has_its_median_and_its_p99() -> None:
    values = drawn(LatencyModel.lognormal(20, p99=200))
    assert share(values, 0.5) == pytest.approx(20, rel=0.03)
    assert share(values, 0.99) == pytest.approx(200, rel=0.1)
    assert set(drawn(LatencyModel.lognormal(20, p99=20))) == {20}


def test_an_empirical_gives_what_was_measured_and_nothing_else() -> None:
    values = drawn(LatencyModel.empirical([30, 10, 20, 20]))
    assert set(values) == {10, 20, 30}
    assert values.count(20) / DRAWS == pytest.approx(0.5, rel=0.03)


@pytest.mark.parametrize(
    "model",
    [
        LatencyModel.constant(20),
        LatencyModel.uniform(10, 30),
        LatencyModel.exponential(20),
        LatencyModel.lognormal(20, p99=90),
        LatencyModel.empirical([10, 20, 60]),
        LatencyModel.uniform(10, 30).failing(0.2, OSError, after=1).failing(0.1, ValueError).stalling(0.1, 200),
    ],
    ids=repr,
)
def test_the_mean_is_that_of_the_draws(model: LatencyModel) -> None:
    values = drawn(model)
    assert model.mean == pytest.approx(sum(values) / len(values), rel=0.03)


def test_shares_of_the_calls_fail_and_stall_as_written() -> None:
    model = LatencyModel.constant(20).failing(0.2, OSError).failing(0.1, ValueError, after=1).stalling(0.05, 500)
    random = Random(2)
    fates = [model.draw(random) for _ in range(DRAWS)]
    kinds = {kind: [f for f in fates if (f.error, f.delay) == kind] for kind in {(f.error, f.delay) for f in fates}}
    assert {kind: pytest.approx(len(found) / DRAWS, rel=0.1) for kind, found in kinds.items()} == {
        (OSError, 0.02): 0.2,
        (ValueError, 0.001): 0.1,
        (None, 0.5): 0.05,
        (None, 0.02): 0.65,
    }


def test_an_outage_holds_from_its_start_until_before_its_end() -> None:
    model = LatencyModel.constant(20).outage(100, 200, error=OSError, after=2)
    at = {at: model.draw(Random(1), at) for at in (0, 99.9, 100, 199.9, 200)}
    assert [at[t].error for t in at] == [None, None, OSError, OSError, None]
    assert at[100].delay == 0.002
    assert model.mean == 20


def test_every_draw_takes_two_numbers_so_that_two_models_meet_the_same_luck() -> None:
    models = [
        LatencyModel.constant(20),
        LatencyModel.lognormal(20, p99=30),
        LatencyModel.exponential(5).failing(0.5, OSError, after=0).stalling(0.3, 1),
        LatencyModel.constant(20).outage(0, 10),
    ]
    for model in models:
        mine, other = Random(7), Random(7)
        model.draw(mine)
        other.random(), other.random()
        assert mine.random() == other.random()


def test_the_extremes_of_random_are_fine() -> None:
    class Fixed(Random):
        def __init__(self, value: float) -> None:
            super().__init__()
            self.value = value

        def random(self) -> float:
            return self.value

    for value in (0.0, 1 - 2**-53):
        for model in (
            LatencyModel.lognormal(20, p99=90),
            LatencyModel.exponential(20),
            LatencyModel.empirical([1]),
            LatencyModel.uniform(1, 2),
        ):
            assert 0 <= model.draw(Fixed(value)).delay < math.inf


def test_models_are_values() -> None:
    first = LatencyModel.constant(20).failing(0.1, OSError)
    assert first == LatencyModel.constant(20).failing(0.1, OSError)
    assert first.returning(1) != first
    assert LatencyModel.constant(20).faults == ()


def test_the_repr_of_a_model_is_one_line() -> None:
    model = LatencyModel.empirical([1, 2, 9]).failing(0.025, Failure("no")).outage(1000, 2000).returning({"id": 7})
    assert repr(model) == (
        "<LatencyModel 3 latencies as measured, median 2 ms, the longest 9 ms; 2.5 % fail with Failure('no'); "
        "ConnectionError from 1000 ms to 2000 ms; answers {'id': 7}>"
    )


base = LatencyModel.constant(20)
WRONG: list[tuple[Callable[[], object], str]] = [
    (lambda: LatencyModel.constant(-1), "`ms` must be a finite number of milliseconds"),
    (lambda: LatencyModel.constant(float("nan")), "`ms` must be a finite number"),
    (lambda: LatencyModel.uniform(30, 10), "`high` must be `low` or more; got 10 ms, below 30 ms"),
    (lambda: LatencyModel.exponential(0), "`mean` must be .* more than 0; got 0"),
    (lambda: LatencyModel.exponential(float("inf")), "`mean` must be a finite number"),
    (lambda: LatencyModel.lognormal(20, p99=10), "`p99` must be the median or more"),
    (lambda: LatencyModel.lognormal(0, p99=10), "`median` must be .* more than 0"),
    (lambda: LatencyModel.empirical([]), "`samples` needs at least one latency"),
    (lambda: LatencyModel.empirical([1, -2]), "`samples` must be .*; got -2"),
    (lambda: LatencyModel.empirical([1, float("nan")]), "`samples` must be .*; got nan"),
    (lambda: LatencyModel.empirical("123"), "`samples` must be a list of latencies"),  # type: ignore[arg-type]
    (lambda: LatencyModel.empirical(5), "`samples` must be a list of latencies"),  # type: ignore[arg-type]
    (lambda: base.failing(1.1, OSError), "`rate` must be a share of the calls, 0 to 1; got 1.1"),
    (lambda: base.failing(-0.1, OSError), "`rate` must be a finite number, 0 or more; got -0.1"),
    (lambda: base.failing(float("nan"), OSError), "`rate` must be a finite number"),
    (lambda: base.failing(0.7, OSError).stalling(0.7, 5), "at most 1 together; got 1.4"),
    (lambda: base.failing(0.1, "down"), "`error` must be an Exception, its class, or a Failure"),  # type: ignore[arg-type]
    (lambda: base.failing(0.1, Failure), "`error` must be an Exception, its class, or a Failure"),  # type: ignore[arg-type]
    (lambda: base.failing(0.1, OSError, after=-1), "`after` must be"),
    (lambda: base.outage(20, 10), "`end` must be more than `start`; got 10 ms, not after 20 ms"),
    (lambda: base.outage(-1, 10), "`start` must be"),
    (lambda: LatencyModel(latency=5), r"write LatencyModel.constant\(20\) or the like; got 5"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("write", "text"), WRONG, ids=[text for _, text in WRONG])
def test_what_is_no_model_is_refused(write: Callable[[], Any], text: str) -> None:
    with pytest.raises(ChainDefinitionError, match=text):
        write()
