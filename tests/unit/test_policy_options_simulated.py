"""The options of policies act in a simulation as in a run."""

from __future__ import annotations

import pytest

from rio_chain import Backoff, Breaker, Quantile, Task
from rio_chain.simulation import LatencyModel, Script, simulate

EVERY = LatencyModel.constant
DOWN = Script().then_raises(OSError).forever()


async def fetch(number: int) -> int:
    raise NotImplementedError


def test_a_timeout_by_input() -> None:
    chain = Task(fetch).timeout(lambda number: 20 if number % 2 else 5)
    simulation = simulate(chain, {"fetch": EVERY(10)}, requests=100)
    assert simulation.failures == {"TaskTimedOut": 50}


def test_hedges_with_delays_by_key_and_by_number() -> None:
    late = Quantile(0.5, warmup=1, key=lambda number: number % 2)
    simulation = simulate(Task(fetch).replica(2, after=late), {"fetch": EVERY(10)}, requests=20)
    assert simulation.failures == {}
    assert late.state_of(0).answers == 0, "the real one was not used"
    slow = simulate(Task(fetch).replica(3, after=lambda number: 5 * number), {"fetch": EVERY(100)}, requests=1)
    assert (slow.backends["fetch"].calls, slow.lasted) == (3, pytest.approx(100))


def test_a_linear_backoff_and_a_stop() -> None:
    linear = Backoff(base=10, step=5, jitter="none")
    chain = Task(fetch).retry(9, backoff=linear, stop=lambda state: state.attempt_number == 4)
    simulation = simulate(chain, {"fetch": DOWN}, requests=1)
    assert simulation.failures == {"OSError": 1}
    assert simulation.lasted == pytest.approx(10 + 15 + 20)


def test_a_breaker_for_each_key() -> None:
    breaker = Breaker(1, key=lambda number: number % 2, on=lambda error: isinstance(error, OSError), open_for=10_000)
    chain = Task(fetch).breaker(breaker)
    simulation = simulate(chain, {"fetch": DOWN}, requests=10)
    assert simulation.failures == {"OSError": 2, "CircuitOpen": 8}
    assert breaker.state_of(0) == "closed", "the real one was not used"
