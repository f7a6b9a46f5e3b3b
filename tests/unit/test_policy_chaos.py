"""Chaos: faults that can be repeated."""

import re
import threading
from typing import Any

import pytest

from rio_chain import ChainDefinitionError
from rio_chain.policies import Chaos
from rio_chain.policies._chaos import NO_FAULT, InjectedFault


def hits(chaos: Chaos, calls: int = 2000) -> list[bool]:
    return [chaos.next() is not NO_FAULT for _ in range(calls)]


def test_the_same_seed_hits_the_same_calls() -> None:
    assert hits(Chaos(0.3, latency=5, seed=7)) == hits(Chaos(0.3, latency=5, seed=7))
    assert hits(Chaos(0.3, latency=5, seed=7)) != hits(Chaos(0.3, latency=5, seed=8))


def test_it_hits_at_its_rate() -> None:
    assert sum(hits(Chaos(0.3, latency=5))) == pytest.approx(600, abs=60)
    assert not any(hits(Chaos(0, latency=5)))
    assert all(hits(Chaos(1, latency=5)))


def test_what_a_hit_is() -> None:
    assert Chaos(1, latency=5).next() == InjectedFault(0.005)
    error = OSError()
    assert Chaos(1, error=error).next() == InjectedFault(0.0, error)
    both = Chaos(1, latency=5, error=OSError).next()
    assert (both.delay, type(both.error)) == (0.005, OSError)


def test_an_error_class_gives_a_new_one_each_time() -> None:
    chaos = Chaos(1, error=OSError)
    assert chaos.next().error is not chaos.next().error


def test_one_switch_for_all() -> None:
    chaos = Chaos(1, latency=200, error=OSError, on=False)
    assert chaos.next() is NO_FAULT
    chaos.on = True
    assert chaos.next() is not NO_FAULT
    assert repr(chaos) == "<Chaos on: 100 % of calls 200 ms late and fail with OSError, hit 1 of 1>"
    chaos.off()
    assert (chaos.on, chaos.next()) == (False, NO_FAULT)
    assert str(Chaos(0.5, error=OSError("x"))) == "chaos, 50 % of calls fail with OSError"


def test_calls_made_while_it_is_off_have_no_number() -> None:
    steady, switched = Chaos(0.5, latency=1), Chaos(0.5, latency=1)
    expected = hits(steady, 20)
    got = hits(switched, 10)
    switched.off()
    hits(switched, 5)
    switched.on = True
    assert got + hits(switched, 10) == expected


def test_threads_share_its_numbers() -> None:
    chaos = Chaos(0.5, latency=1)
    threads = [threading.Thread(target=hits, args=(chaos, 50)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert repr(chaos).endswith(f"hit {sum(hits(Chaos(0.5, latency=1), 200))} of 200>")


@pytest.mark.parametrize(
    ("keywords", "text"),
    [
        ({"rate": 2, "latency": 1}, "`rate` must be a share of the calls, 0 to 1; got 2"),
        ({"rate": -1, "latency": 1}, "`rate` must be a finite number, 0 or more; got -1"),
        ({"rate": 0.1}, "Chaos needs `latency` or `error`, such as Chaos(0.1, latency=200)"),
        ({"rate": 0.1, "latency": -1}, "`latency` must be a finite number of milliseconds (or a timedelta), 0 or more"),
        ({"rate": 0.1, "error": "bad"}, "`error` must be an Exception, its class, or None; got 'bad'"),
        ({"rate": 0.1, "error": KeyboardInterrupt}, "`error` must be an Exception, its class, or None; got "),
        ({"rate": 0.1, "latency": 1, "seed": 0.5}, "`seed` must be a whole number; got 0.5"),
        ({"rate": 0.1, "latency": 1, "on": 1}, "`on` must be True or False; got 1"),
    ],
)
def test_bad_input(keywords: dict[str, Any], text: str) -> None:
    with pytest.raises(ChainDefinitionError, match=re.escape(text)):
        Chaos(**keywords)
