"""Breaker: closed, open, half open."""

import gc
import pickle
import re
from collections.abc import Callable
from typing import Any
from weakref import ref

import pytest
from fake_clock import FakeClock

from rio_chain import CallbackFailed, ChainDefinitionError, CircuitOpen, LimitExceeded, Task, TaskTimedOut
from rio_chain.policies import Breaker, Call


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(1000.0)


def call(breaker: Breaker, clock: FakeClock, error: object = None, *, drop: bool = False) -> Any:
    """One call through it; gives the refusal, if there is one."""
    got = breaker.enter(Call(clock=clock))
    if isinstance(got, CircuitOpen):
        return got
    if drop:
        got.dropped()
    elif error is None:
        got.succeeded("fine")
    else:
        got.failed(error)
    return None


def enter(breaker: Breaker, clock: FakeClock) -> Any:
    got = breaker.enter(Call(clock=clock))
    assert not isinstance(got, CircuitOpen)
    return got


def tripped(clock: FakeClock, **keywords: Any) -> Breaker:
    breaker = Breaker(1, open_for=500, **keywords)
    call(breaker, clock, OSError())
    assert breaker.state == "open"
    return breaker


class TestInARow:
    def test_it_opens_at_the_last_of_them(self, clock: FakeClock) -> None:
        breaker = Breaker(3)
        for _ in range(2):
            call(breaker, clock, OSError())
        assert repr(breaker) == "<Breaker closed: 2 of 3 failures in a row>"
        call(breaker, clock, OSError())
        assert breaker.state == "open"

    def test_a_success_begins_anew(self, clock: FakeClock) -> None:
        breaker = Breaker(2)
        for error in (OSError(), None, OSError(), None, OSError()):
            call(breaker, clock, error)
        assert breaker.state == "closed"

    def test_an_error_that_on_does_not_mean_is_an_answer(self, clock: FakeClock) -> None:
        breaker = Breaker(2, on=(OSError,))
        for error in (OSError(), KeyError(), OSError()):
            call(breaker, clock, error)
        assert breaker.state == "closed"

    @pytest.mark.parametrize("error", [LimitExceeded(), CircuitOpen(), CallbackFailed("on", "f", 1)])
    def test_what_is_no_answer_of_a_backend_does_not_count(self, clock: FakeClock, error: Exception) -> None:
        breaker = Breaker(2)
        call(breaker, clock, OSError())
        call(breaker, clock, error)
        call(breaker, clock, drop=True)
        assert breaker.state == "closed"
        call(breaker, clock, TaskTimedOut("f", 1))
        assert breaker.state == "open"

    def test_the_error_value_of_a_failure_counts(self, clock: FakeClock) -> None:
        breaker = Breaker(1)
        call(breaker, clock, "bad")
        assert breaker.state == "open"

    def test_a_hold_counts_once(self, clock: FakeClock) -> None:
        breaker = Breaker(2)
        permit = enter(breaker, clock)
        permit.failed(OSError())
        permit.failed(OSError())
        assert breaker.state == "closed"


class TestOpen:
    def test_it_refuses_and_says_until_when(self, clock: FakeClock) -> None:
        breaker = tripped(clock, name="payments")
        clock.move(0.2)
        error = call(breaker, clock)
        assert str(error) == "the breaker payments is open for another 300 ms"
        assert error.retry_after == pytest.approx(0.3)
        again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
        assert (str(again), again.retry_after) == (str(error), error.retry_after)
        assert repr(breaker) == "<Breaker payments open: for another 300 ms>"

    def test_what_began_before_no_longer_counts(self, clock: FakeClock) -> None:
        breaker = Breaker(1, open_for=500)
        early, late, failing = (enter(breaker, clock) for _ in range(3))
        early.failed(OSError())
        late.succeeded(1)
        assert breaker.state == "open"
        clock.move(0.5)
        probe = enter(breaker, clock)
        failing.failed(OSError())
        assert breaker.state == "half_open"
        probe.succeeded(1)
        assert breaker.state == "closed"

    def test_another_executor_sees_the_same_time(self, clock: FakeClock) -> None:
        breaker = tripped(clock)
        other = FakeClock(-5.0)
        clock.move(0.4)
        assert call(breaker, other).retry_after == pytest.approx(0.1)
        other.move(0.1)
        assert call(breaker, other) is None
        assert breaker.state == "closed"


class TestHalfOpen:
    def test_one_probe_at_a_time(self, clock: FakeClock) -> None:
        breaker = tripped(clock)
        clock.move(0.5)
        assert repr(breaker) == "<Breaker half_open: the next call is a probe>"
        probe = enter(breaker, clock)
        error = call(breaker, clock)
        assert str(error) == "the breaker is half open, and its one probe is running"
        assert error.retry_after is None
        assert repr(breaker) == "<Breaker half_open: a probe is running>"
        probe.succeeded(1)
        assert breaker.state == "closed"

    def test_a_probe_that_fails_opens_it_again(self, clock: FakeClock) -> None:
        breaker = tripped(clock)
        clock.move(0.5)
        call(breaker, clock, OSError())
        assert breaker.state == "open"
        assert call(breaker, clock).retry_after == pytest.approx(0.5)

    def test_a_probe_that_is_dropped_makes_room_for_the_next(self, clock: FakeClock) -> None:
        breaker = tripped(clock)
        clock.move(0.5)
        for _ in range(3):
            call(breaker, clock, drop=True)
            call(breaker, clock, LimitExceeded())
            assert breaker.state == "half_open"
        assert call(breaker, clock) is None
        assert breaker.state == "closed"


class TestByHand:
    def test_open_and_close(self, clock: FakeClock) -> None:
        breaker = Breaker(open_for=500)
        call(breaker, clock)
        breaker.open()
        assert breaker.state == "open"
        clock.move(0.5)
        assert breaker.state == "half_open"
        breaker.close()
        assert breaker.state == "closed"

    def test_held_open(self, clock: FakeClock) -> None:
        breaker = Breaker(open_for=500)
        breaker.open(hold=True)
        clock.move(1e9)
        error = call(breaker, clock)
        assert str(error) == "the breaker is held open until close() is called"
        assert error.retry_after is None
        assert repr(breaker) == "<Breaker open: until close() is called>"
        breaker.close()
        assert call(breaker, clock) is None

    def test_a_probe_that_was_overtaken_says_nothing(self, clock: FakeClock) -> None:
        breaker = tripped(clock)
        clock.move(0.5)
        probe = enter(breaker, clock)
        breaker.open(hold=True)
        probe.succeeded(1)
        assert breaker.state == "open"


class TestRatio:
    def test_it_opens_at_the_ratio_of_enough_calls(self, clock: FakeClock) -> None:
        breaker = Breaker(ratio=0.5, min_calls=4)
        for error in (OSError(), OSError(), None):
            call(breaker, clock, error)
        assert breaker.state == "closed"
        assert repr(breaker) == (
            "<Breaker closed: 2 of 3 calls failed; 50 % failures of 4 or more calls in 10000 ms open it>"
        )
        call(breaker, clock)
        assert breaker.state == "closed", "a success opens nothing"
        call(breaker, clock, OSError())
        assert breaker.state == "open"

    def test_what_is_older_than_the_window_is_forgotten(self, clock: FakeClock) -> None:
        breaker = Breaker(ratio=0.5, min_calls=4, window=1000)
        for _ in range(3):
            call(breaker, clock, OSError())
        clock.move(1.0)
        call(breaker, clock, OSError())
        assert breaker.state == "closed"
        for _ in range(3):
            clock.move(0.1)
            call(breaker, clock, OSError())
        assert breaker.state == "open"

    def test_closing_forgets_all(self, clock: FakeClock) -> None:
        breaker = Breaker(ratio=1, min_calls=2, open_for=500)
        for _ in range(2):
            call(breaker, clock, OSError())
        clock.move(0.5)
        call(breaker, clock)
        call(breaker, clock, OSError())
        assert breaker.state == "closed"


def test_it_keeps_the_error_that_opened_it_only_until_it_closes(clock: FakeClock) -> None:
    class Down(Exception):
        pass

    breaker, error = Breaker(1), Down()
    kept = ref(error)
    call(breaker, clock, error)
    del error
    gc.collect()
    assert kept() is not None
    breaker.half_open()
    gc.collect()
    assert kept() is not None
    breaker.close()
    gc.collect()
    assert kept() is None


class TestSettings:
    def test_they_can_be_read(self) -> None:
        breaker = Breaker(3, within=5, open_for=7, successes=2, on=OSError, exclude=KeyError, name="x")
        assert (breaker.failures, breaker.within, breaker.open_for, breaker.successes) == (3, 5, 7, 2)
        assert (breaker.on, breaker.exclude, breaker.name) == (OSError, KeyError, "x")
        breaker = Breaker(ratio=0.5, last=4, open_for=grows)
        assert (breaker.ratio, breaker.last, breaker.min_calls, breaker.window) == (0.5, 4, 4, 10_000)
        assert (breaker.open_for, breaker.within, breaker.exclude, breaker.name) == (grows, None, (), None)

    def test_as_data(self) -> None:
        data = Breaker(3, last=4, open_for=grows, successes=2, exclude=KeyError, key=str).to_dict()
        assert data == {
            "kind": "breaker",
            "failures": 3,
            "last": 4,
            "open_for_ms": None,
            "open_for": f"{__name__}.grows",
            "on": ["Exception"],
            "exclude": ["KeyError"],
            "successes": 2,
            "name": None,
            "key": "str",
        }

    def test_a_fresh_one_has_the_same(self) -> None:
        breaker = Breaker(1, key=str, successes=2, exclude=KeyError)
        breaker.open(key="a")
        fresh = breaker.fresh()
        assert (fresh.to_dict(), fresh.state_of("a")) == (breaker.to_dict(), "closed")

    def test_a_function_that_fails_by_hand_changes_nothing(self) -> None:
        breaker = Breaker(open_for=lambda error, times: 0)
        with pytest.raises(TypeError, match="lambda must return a finite number of milliseconds"):
            breaker.open()
        assert breaker.state == "closed"


def grows(error: Any, times: int) -> float:
    assert error is None
    return 100.0 * times


async def later(error: Any) -> bool:
    return bool(error)


def test_its_text() -> None:
    assert str(Breaker(3, within=100, open_for=grows, successes=2, exclude=KeyError, key=str)) == (
        "breaker, 3 failures in 100 ms open it for as long as grows says, "
        "2 probes close it, not on KeyError, for each str"
    )
    assert str(Breaker(3, last=10)) == "breaker, 3 failures of the last 10 calls open it for 30000 ms"
    assert repr(Breaker(3, within=100)) == "<Breaker closed: 0 of 3 failures in 100 ms>"
    assert str(Breaker(name="x")) == "breaker x, 5 failures in a row open it for 30000 ms"
    assert str(Breaker(ratio=0.25, on=(OSError, KeyError))) == (
        "breaker, 25 % failures of 10 or more calls in 10000 ms open it for 30000 ms, on OSError or KeyError"
    )


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Breaker(0), "`failures` must be a whole number, 1 or more; got 0"),
        (lambda: Breaker(ratio=0), "`ratio` must be a finite number, more than 0; got 0"),
        (lambda: Breaker(ratio=1.5), "`ratio` must be more than 0 and at most 1; got 1.5"),
        (lambda: Breaker(window=0), "`window` must be a finite number of milliseconds (or a timedelta), more than 0"),
        (lambda: Breaker(min_calls=0), "`min_calls` must be a whole number, 1 or more; got 0"),
        (lambda: Breaker(open_for=-1), "`open_for` must be a finite number of milliseconds"),
        (lambda: Breaker(on=3), "`on` must be an exception class, a tuple of them, or a function of the error; got 3"),  # type: ignore[arg-type]
        (lambda: Breaker(on=()), "`on` must be an exception class or a tuple of them; got ()"),
        (
            lambda: Breaker(on=later),
            "`on` must be an exception class, a tuple of them, or a function of the error; got th",
        ),
        (lambda: Breaker(exclude=3), "`exclude` must be an exception class, a tuple of them, or a function of the "),  # type: ignore[arg-type]
        (
            lambda: Breaker(on=OSError, exclude=(LookupError, OSError)),
            "`exclude` leaves no error that could be a failure",
        ),
        (lambda: Breaker(successes=0), "`successes` must be a whole number, 1 or more; got 0"),
        (lambda: Breaker(within=-1), "`within` must be a finite number of milliseconds (or a timedelta), more than 0"),
        (lambda: Breaker(within=1, ratio=0.5), "`within` belongs to `failures`; with a `ratio`, write `window=`"),
        (lambda: Breaker(within=1, last=9), "give `within` or `last`, not both: a time, or a number of calls"),
        (lambda: Breaker(5, last=4), "`last` must be at least `failures`, which is 5, else it never opens; got 4"),
        (lambda: Breaker(ratio=0.5, last=4, min_calls=5), "`min_calls` must be at most `last`, which is 4, else it ne"),
        (lambda: Breaker(open_for=len), "`open_for` must be milliseconds, or a function of the error and of how many "),
        (lambda: Breaker(key=3), "`key` must be a function of the input that returns something hashable, or None"),  # type: ignore[arg-type]
        (lambda: Breaker(key=str, keys=0), "`keys` must be a whole number, 1 or more; got 0"),
        (
            lambda: Breaker(key=str, idle=0),
            "`idle` must be a finite number of milliseconds (or a timedelta), more than",
        ),
        (lambda: Breaker(key=str).state, "this breaker has a `key`, so each key has a state of its own: use state_of("),
        (lambda: Breaker(key=str).stats(), "this breaker has a `key`, so each key has a state of its own: use stats("),
        (lambda: Breaker(key=str).open(), "this breaker has a `key`, so each key has a state of its own: use open("),
        (lambda: Breaker(key=str).close(), "this breaker has a `key`, so each key has a state of its own: use close("),
        (lambda: Breaker().state_of("a"), "this breaker has no `key`, so it has one state for all calls; got 'a'"),
        (lambda: Breaker().half_open(key=1), "this breaker has no `key`, so it has one state for all calls; got 1"),
        (lambda: Breaker(name=" "), "`name` must be a string that is not empty, or None; got ' '"),
    ],
)
def test_bad_input(make: Callable[[], object], text: str) -> None:
    with pytest.raises(ChainDefinitionError, match=re.escape(text)):
        make()


def test_a_measured_time_has_one_place_after_the_point() -> None:
    """On a real clock, the time that is left has as many digits as a float."""
    gate = Breaker(1, open_for=2000)
    task = Task(raises).breaker(gate)
    task(1).run()
    assert re.fullmatch(r"the breaker is open for another \d{4}(\.\d)? ms", str(task(1).run().error))
    assert re.fullmatch(r"<Breaker open: for another \d{4}(\.\d)? ms>", repr(gate))


def raises(number: int) -> int:
    raise OSError(number)
