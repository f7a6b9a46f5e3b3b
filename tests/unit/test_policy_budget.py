"""Budget: retries and hedges in flight against executions in flight."""

import re
from typing import Any

import pytest
from fake_clock import FakeClock

from rio_chain import ChainDefinitionError
from rio_chain.policies import Budget


def granted(budget: Budget, tries: int = 100) -> list[Any]:
    return [permit for permit in (budget.extra() for _ in range(tries)) if permit is not None]


def test_the_floor_works_without_any_execution() -> None:
    """failsafe-go#139: the floor did nothing until 0.9.7."""
    assert len(granted(Budget(0.2, floor=3))) == 3


def test_the_floor_works_beside_few_executions() -> None:
    budget = Budget(0.2, floor=3)
    for _ in range(5):
        budget.execution()
    assert len(granted(budget)) == 3


def test_the_ratio_works_beside_many() -> None:
    budget = Budget(0.2, floor=3)
    for _ in range(100):
        budget.execution()
    assert len(granted(budget)) == 20
    assert repr(budget) == "<Budget 20 %, at least 3: 20 extra on 100 executions in flight, 80 denied>"


def test_a_rate_allows_so_many_in_a_time_whatever_is_in_flight() -> None:
    budget, clock = Budget(rate=4, burst=2), FakeClock(100.0)
    taken = [budget.extra(clock=clock) is not None for _ in range(3)]
    clock.move(0.25)
    taken += [budget.extra(clock=clock) is not None for _ in range(2)]
    clock.move(100)
    taken += [budget.extra(clock=clock) is not None for _ in range(3)]
    assert taken == [True, True, False, True, False, True, True, False]
    assert repr(budget) == "<Budget 4 per 1000 ms: 5 extra on 0 executions in flight, 3 denied>"


def test_a_rate_and_a_ratio_must_both_allow_it() -> None:
    clock = FakeClock(0.0)
    assert len([1 for _ in range(9) if Budget(0, floor=1, rate=5).extra(clock=clock) is not None]) == 9
    narrow = Budget(0, floor=1, rate=5)
    assert len([1 for _ in range(9) if narrow.extra(clock=clock) is not None]) == 1
    slow = Budget(10, floor=9, rate=2)
    assert len([1 for _ in range(9) if slow.extra(clock=clock) is not None]) == 2
    assert str(slow) == "budget of extra attempts, 1000 %, at least 9, 2 per 1000 ms"
    assert slow.to_dict() == {"kind": "budget", "ratio": 10, "floor": 9, "interval_ms": 500, "burst": 2}
    assert Budget(rate=0.5, per=2000).to_dict() == {
        "kind": "budget", "ratio": None, "floor": None, "interval_ms": 4000, "burst": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Budget(rate=0), "`rate` must be a finite number, more than 0; got 0"),
        (lambda: Budget(rate=1, per=0), "`per` must be a finite number of milliseconds (or a timedelta), more than 0"),
        (lambda: Budget(rate=1, burst=0), "`burst` must be a whole number, 1 or more; got 0"),
        (lambda: Budget(burst=2), "`burst` belongs to a `rate`, such as Budget(rate=10, burst=1); got 2"),
        (lambda: Budget(floor=2, rate=1), "`floor` belongs to a `ratio`, such as Budget(0.2, 3, rate=10); got 2"),
    ],
)
def test_bad_rates(make: Any, text: str) -> None:
    with pytest.raises(ChainDefinitionError, match=re.escape(text)):
        make()


def test_a_ratio_that_no_float_holds_loses_none() -> None:
    budget = Budget(0.29, floor=0)
    for _ in range(100):
        budget.execution()
    assert len(granted(budget)) == 29


def test_one_that_is_denied_changes_nothing() -> None:
    """failsafe-go#141: a denied hedge failed the attempts in flight."""
    budget = Budget(0, floor=1)
    execution, extra = budget.execution(), budget.extra()
    assert extra is not None
    assert budget.extra() is None
    assert (budget.executions, budget.extras, budget.denied) == (1, 1, 1)
    extra.failed(OSError())
    assert budget.extra() is not None
    execution.succeeded(1)
    assert (budget.executions, budget.extras) == (0, 1)


@pytest.mark.parametrize("end", ["succeeded", "failed", "dropped"])
def test_all_that_ends_comes_back_once(end: str) -> None:
    budget = Budget(floor=1)
    for permit in (budget.execution(), budget.extra()):
        args = () if end == "dropped" else (None,)
        getattr(permit, end)(*args)
        getattr(permit, end)(*args)
    assert (budget.executions, budget.extras) == (0, 0)


def test_none_at_all() -> None:
    budget = Budget(0, floor=0)
    budget.execution()
    assert granted(budget) == []
    assert str(budget) == "budget of 0 % extra attempts, at least 0"


@pytest.mark.parametrize(
    ("keywords", "text"),
    [
        ({"ratio": -0.1}, "`ratio` must be a finite number, 0 or more; got -0.1"),
        ({"ratio": "20 %"}, "`ratio` must be a finite number, 0 or more; got '20 %'"),
        ({"floor": -1}, "`floor` must be a whole number, 0 or more; got -1"),
        ({"floor": 1.5}, "`floor` must be a whole number, 0 or more; got 1.5"),
    ],
)
def test_bad_input(keywords: dict[str, Any], text: str) -> None:
    with pytest.raises(ChainDefinitionError, match=re.escape(text)):
        Budget(**keywords)
