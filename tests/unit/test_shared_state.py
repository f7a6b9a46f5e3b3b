"""What all policies with a state have in common: one clock, no copies, keys, checks, status lines."""

import copy
import pickle
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from fake_clock import FakeClock
from refusals import refused

from rio_chain.policies import Breaker, Budget, Cache, Chaos, Limit, Quantile, SingleFlight
from rio_chain.policies._keys import Key, key_of
from rio_chain.policies._number_format import exact_ms, exact_number
from rio_chain.policies._permit import Answer, PendingPermit
from rio_chain.policies._shared_clock import Timeline

OBJECTS: list[Any] = [
    Breaker(),
    Breaker(ratio=0.5),
    Limit(3, rate=5),
    Budget(),
    Cache(100),
    SingleFlight(),
    Quantile(),
    Chaos(0.1, latency=3),
]


class TestTimeline:
    def test_the_first_clock_is_the_axis(self) -> None:
        clock = FakeClock(-7.0)
        line = Timeline()
        assert line.now(clock) == -7.0
        clock.move(2.5)
        assert (line.now(clock), line.now()) == (-4.5, -4.5)

    def test_another_clock_goes_on_without_a_jump(self) -> None:
        one, other = FakeClock(100.0), FakeClock(1e6)
        line = Timeline()
        line.now(one)
        one.move(5)
        other.move(77)
        assert line.now(other) == 105.0
        other.move(3)
        one.move(1000)
        assert line.now(other) == 108.0

    def test_a_clock_that_runs_back_does_not(self) -> None:
        clock = FakeClock(10.0)
        line = Timeline()
        line.now(clock)
        clock.move(-5)
        assert line.now(clock) == 10.0
        clock.move(6)
        assert line.now(clock) == 11.0

    def test_the_clock_of_an_executor_that_is_over(self) -> None:
        clock, dead = FakeClock(5.0), False

        def of_the_dead() -> float:
            if dead:
                raise RuntimeError
            return 50.0

        line = Timeline()
        line.now(of_the_dead)
        dead = True
        assert (line.now(), line.now(clock)) == (50.0, 50.0)

    def test_a_bound_method_is_the_same_clock_each_time(self) -> None:
        class Loop:
            at = 3.0

            def time(self) -> float:
                return self.at

        loop, line = Loop(), Timeline()
        line.now(loop.time)
        loop.at = 4.0
        assert line.now(loop.time) == 4.0

    def test_without_any_clock_it_is_the_machines(self) -> None:
        line = Timeline()
        assert line.now() <= line.now()


@pytest.mark.parametrize("shared", OBJECTS, ids=repr)
@pytest.mark.parametrize("travel", [pickle.dumps, copy.copy, copy.deepcopy])
def test_shared_state_does_not_travel(shared: Any, travel: Callable[[object], object]) -> None:
    refused(lambda: travel(shared), f"{shared!r} can't be pickled or copied, because all chains that use")


@pytest.mark.parametrize("shared", OBJECTS, ids=repr)
def test_shared_state_is_equal_to_itself_alone(shared: Any) -> None:
    assert shared == shared  # noqa: PLR0124 - the point
    assert len({*OBJECTS}) == len(OBJECTS)
    assert all(" " <= c <= "~" for c in repr(shared) + str(shared))
    assert bool(shared)


class TestKeys:
    def test_the_input_itself(self) -> None:
        assert key_of(None)(7) == 7
        assert key_of(None)(7, 8) == key_of(None)(7, 8)
        assert key_of(None)(7, 8) != key_of(None)((7, 8))
        assert key_of(None)(7, b=1, a=2) == key_of(None)(7, a=2, b=1)

    def test_what_a_function_makes_of_it(self) -> None:
        def owner(order: dict[str, int], **_: object) -> int:
            return order["owner"]

        assert key_of(owner)({"owner": 3}, more=1) == 3
        assert (repr(key_of(owner)), key_of(owner).__name__, repr(Key())) == ("owner", "owner", "the input")

    def test_what_cannot_be_hashed(self) -> None:
        with pytest.raises(
            TypeError, match=re.escape("and the input is [1]; give a key= that returns a str, a number")
        ):
            Key()([1])
        with pytest.raises(TypeError, match=re.escape("a key must be hashable, and list gave ['a']; return a str,")):
            key_of(list)("a")

    @pytest.mark.parametrize("make", [lambda key: Cache(1, key=key), SingleFlight, lambda key: Limit(1, key=key)])
    def test_a_key_that_is_no_plain_function(self, make: Callable[[Any], object]) -> None:
        async def later(_: object) -> int:
            return 1

        def many(_: object) -> Any:
            yield 1

        rule = "`key` must be a function of the input that returns something hashable, or None; got "
        refused(lambda: make("user"), rule + "'user'")
        refused(lambda: make(later), rule + "the async function `later`")
        refused(lambda: make(many), rule + "the generator function `many`")


def test_a_turn_without_a_wake_can_be_decided() -> None:
    class Waits(PendingPermit):
        def quit(self) -> None:
            self.state = "gone"

    turn = Waits()
    turn.tell()
    turn.ask(FakeClock())
    assert (turn.state, turn.permit, turn.answer, turn.after) == ("waiting", None, None, None)
    assert Answer(3) == Answer(3, failed=False)


@pytest.mark.parametrize("ms", [1, 0.1, 100, 1 / 3, 1e9, 0.30000000000000004])
def test_milliseconds_are_written_exactly(ms: float) -> None:
    assert float(exact_ms(ms / 1000)) / 1000 == ms / 1000
    assert float(exact_number(ms)) == ms


def test_a_timedelta_between_two_milliseconds_is_written_as_one() -> None:
    odd = [timedelta(microseconds=n) for n in range(1_030_000, 1_040_000, 7)]
    texts = [exact_ms(delta.total_seconds()) for delta in odd]
    for delta, text in zip(odd, texts, strict=True):
        read = eval(text, {"timedelta": timedelta})  # noqa: S307 - our own
        assert (read.total_seconds() if isinstance(read, timedelta) else read / 1000) == delta.total_seconds()
