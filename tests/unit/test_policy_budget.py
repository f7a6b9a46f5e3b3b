"""Budget: retries and hedges in flight against executions in flight."""

import re
from typing import Any

import pytest

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
