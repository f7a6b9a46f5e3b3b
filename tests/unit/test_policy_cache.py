"""Cache and SingleFlight: the same question is asked once."""

import re
import time
from functools import partial
from typing import Any

import pytest
from fake_clock import FakeClock

from rio_chain import ChainDefinitionError, Task
from rio_chain.policies import Cache, Call, SingleFlight
from rio_chain.policies._cache import MISS, CacheLookup
from rio_chain.policies._permit import Answer
from rio_chain.policies._single_flight import Follower, Leader
from rio_chain.simulation import LatencyModel, regular, simulate


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(1000.0)


class TestCache:
    def test_an_answer_is_fresh_for_its_ttl(self, clock: FakeClock) -> None:
        cache = Cache(100)
        assert cache.get("a", clock) == MISS
        cache.put("a", None, clock)
        clock.move(0.0999)
        assert cache.get("a", clock) == CacheLookup(hit=True, value=None)
        clock.move(0.0001)
        assert cache.get("a", clock) is MISS
        assert len(cache) == 0
        assert repr(cache) == "<Cache 0/1000 fresh for 100 ms: 1 hits, 2 misses>"

    def test_the_one_not_used_for_longest_goes_first(self, clock: FakeClock) -> None:
        cache = Cache(100, size=2)
        for key in "ab":
            cache.put(key, key, clock)
        cache.get("a", clock)
        cache.put("c", "c", clock)
        assert [cache.get(key, clock).hit for key in "abc"] == [True, False, True]

    def test_a_new_answer_replaces_the_old_one(self, clock: FakeClock) -> None:
        cache = Cache(100, size=1)
        for value in (1, 2):
            cache.put("a", value, clock)
        assert (cache.get("a", clock).value, len(cache)) == (2, 1)

    def test_forgetting(self, clock: FakeClock) -> None:
        cache = Cache(100)
        for key in "abc":
            cache.put(key, key, clock)
        cache.forget("a")
        cache.forget("never there")
        assert (len(cache), cache.get("a", clock).hit) == (2, False)
        cache.clear()
        assert (len(cache), bool(cache)) == (0, True)

    def test_the_end_of_a_value_may_use_the_cache(self, clock: FakeClock) -> None:
        cache = Cache(100, size=1)

        class Value:
            def __del__(self) -> None:
                cache.get("b", clock)

        cache.put("a", Value(), clock)
        cache.put("b", 1, clock)
        assert cache.get("b", clock).value == 1

    def test_its_text(self) -> None:
        assert str(Cache(100, key=str, size=5)) == "cache for 100 ms by str, up to 5"

    @pytest.mark.parametrize(
        ("keywords", "text"),
        [
            ({"ttl": 0}, "`ttl` must be a finite number of milliseconds (or a timedelta), more than 0; got 0"),
            ({"ttl": None}, "`ttl` must be a finite number of milliseconds (or a timedelta), more than 0; got None"),
            ({"ttl": 1, "size": 0}, "`size` must be a whole number, 1 or more; got 0"),
        ],
    )
    def test_bad_input(self, keywords: dict[str, Any], text: str) -> None:
        with pytest.raises(ChainDefinitionError, match=re.escape(text)):
            Cache(**keywords)


def lead(flights: SingleFlight, key: str = "a") -> Leader:
    got = flights.enter(Call(key=key, clock=time.monotonic))
    assert isinstance(got, Leader)
    return got


class Waiting:
    def __init__(self, flights: SingleFlight, key: str = "a") -> None:
        got = flights.enter(Call(key=key, clock=time.monotonic))
        assert isinstance(got, Follower)
        self.turn = got
        self.wakes = 0
        got.wake = self.wake

    def wake(self) -> None:
        self.wakes += 1


class TestFlights:
    def test_all_get_the_answer_of_the_leader(self) -> None:
        flights = SingleFlight()
        leader, followers = lead(flights), [Waiting(flights) for _ in range(3)]
        assert repr(flights) == "<SingleFlight by the input: 1 in flight, 3 follow>"
        value = object()
        leader.succeeded(value)
        assert [(f.turn.state, f.wakes) for f in followers] == [("answered", 1)] * 3
        assert all(f.turn.answer is not None and f.turn.answer.value is value for f in followers)
        assert repr(flights) == "<SingleFlight by the input: 0 in flight, 0 follow>"

    def test_they_share_its_error_which_is_not_kept(self) -> None:
        flights = SingleFlight()
        leader, follower, error = lead(flights), Waiting(flights), OSError()
        leader.failed(error)
        assert follower.turn.answer == Answer(error, failed=True)
        lead(flights)

    def test_keys_are_apart(self) -> None:
        flights = SingleFlight()
        lead(flights, "a")
        lead(flights, "b")

    def test_when_the_leader_is_dropped_the_next_leads(self) -> None:
        flights = SingleFlight()
        leader, a, b = lead(flights), Waiting(flights), Waiting(flights)
        leader.dropped()
        assert (a.turn.state, a.wakes, b.turn.state, b.wakes) == ("granted", 1, "waiting", 0)
        late = Waiting(flights)
        assert a.turn.permit is not None
        a.turn.permit.succeeded(7)
        assert b.turn.answer == late.turn.answer == Answer(7)

    def test_when_nobody_follows_the_flight_is_over(self) -> None:
        flights = SingleFlight()
        lead(flights).dropped()
        lead(flights)

    def test_a_caller_that_quits_does_no_harm(self) -> None:
        flights = SingleFlight()
        leader, a, b = lead(flights), Waiting(flights), Waiting(flights)
        a.turn.quit()
        leader.succeeded(7)
        assert (a.turn.state, a.wakes, b.turn.answer) == ("gone", 0, Answer(7))
        b.turn.quit()

    def test_a_caller_that_quits_when_it_should_lead_passes_it_on(self) -> None:
        flights = SingleFlight()
        leader, a, b = lead(flights), Waiting(flights), Waiting(flights)
        leader.dropped()
        a.turn.quit()
        a.turn.quit()
        assert (a.turn.state, b.turn.state) == ("gone", "granted")

    def test_a_leader_ends_once(self) -> None:
        flights = SingleFlight()
        leader = lead(flights)
        leader.succeeded(1)
        second = lead(flights)
        leader.failed(OSError())
        leader.dropped()
        follower = Waiting(flights)
        second.succeeded(2)
        assert follower.turn.answer == Answer(2)

    def test_its_text(self) -> None:
        assert str(SingleFlight(key=len)) == "single flight by len"


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            lambda: ANY_CACHE(5, stale=0),
            "`stale` must be a finite number of milliseconds (or a timedelta), more than 0",
        ),
        (lambda: ANY_CACHE(5, stale=float("nan")), "`stale` must be a finite number of milliseconds"),
        (lambda: ANY_CACHE(5, when=3), "`when` must be a function of the answer that returns True or False; got 3"),
    ],
)
def test_bad_input_of_stale_answers(make: Any, text: str) -> None:
    with pytest.raises(ChainDefinitionError, match=re.escape(text)):
        make()


ANY_CACHE: Any = Cache


def test_a_simulation_refreshes_behind() -> None:
    async def fetch(x: int) -> int:
        return x

    play = partial(
        simulate,
        backends={"fetch": LatencyModel.constant(50)},
        arrivals=regular(100),
        requests=500,
        inputs=[1],
        warmup=20,
    )
    plain = play(Task(fetch).cache(Cache(200)))
    stale = play(Task(fetch).cache(Cache(200, stale=1000)))
    assert plain.latency.p99 == pytest.approx(50)
    assert stale.latency.p99 == pytest.approx(0)


def test_its_text_with_stale_answers() -> None:
    cache = Cache(100, stale=50, when=bool)
    assert str(cache) == "cache for 100 ms, stale for 50 ms more by the input, up to 1000, when bool"
    assert repr(cache) == "<Cache 0/1000 fresh for 100 ms: 0 hits, 0 misses, 0 stale>"
    assert (cache.to_dict()["stale_ms"], cache.fresh().to_dict()) == (50, cache.to_dict())
