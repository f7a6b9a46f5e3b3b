"""``map`` and ``amap``: what reads their Outcomes keeps the balancer; their errors name it."""

from __future__ import annotations

import asyncio
import gc
import warnings
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from rio_chain import Balancer, Outcome, Task

EXECUTORS = ["asyncio", "trio", "thread"]
DOUBLE = Task(lambda x: 2 * x)


@pytest.fixture(autouse=True)
def dropped_balancers() -> Iterator[None]:
    """They are dropped open here, and say so."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()


@pytest.mark.parametrize("as_completed", [False, True])
@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_map_may_outlive_the_name_of_its_balancer(executor: str, as_completed: bool) -> None:
    kept: list[weakref.ref[Balancer]] = []

    def prices(*, progress: bool) -> Iterator[Outcome[int]]:
        balancer = Balancer(executor, workers=2)
        kept.append(weakref.ref(balancer))
        return balancer.map(DOUBLE, range(20), as_completed=as_completed, progress=progress)

    for progress in (False, True):
        answers = prices(progress=progress)
        gc.collect()
        values = [next(answers).unwrap()]
        gc.collect()
        values += [outcome.unwrap() for outcome in answers]
        assert sorted(values) == [2 * n for n in range(20)]
        del answers
    gc.collect()
    assert [balancer() for balancer in kept] == [None, None], "nothing else keeps them"


@pytest.mark.parametrize("executor", ["asyncio", "thread"])
def test_an_amap_too(executor: str) -> None:
    def prices() -> AsyncIterator[Outcome[int]]:
        return Balancer(executor, workers=2).amap(DOUBLE, range(20))

    async def read() -> list[int]:
        answers = prices()
        gc.collect()
        return [outcome.unwrap() async for outcome in answers]

    assert asyncio.run(read()) == [2 * n for n in range(20)]


def test_an_unknown_keyword_is_one_of_the_balancer() -> None:
    balancer: Any = Balancer()
    for name in ("map", "amap"):
        with pytest.raises(TypeError, match=rf"^Balancer\.{name}\(\) got an unexpected keyword argument 'deadline'$"):
            getattr(balancer, name)(DOUBLE, [1], deadline=100)
