"""What holds for the policies whatever happens, on clocks that tests move."""

import math
import statistics
import time
from datetime import timedelta
from typing import Any

import pytest
from attrs import frozen
from fake_clock import FakeClock
from hypothesis import given
from hypothesis import strategies as st

from rio_chain import CircuitOpen, LimitExceeded
from rio_chain.policies import Backoff, Breaker, Budget, Cache, Call, Limit, Quantile, SingleFlight
from rio_chain.policies._number_format import exact_number
from rio_chain.policies._permit import PendingPermit
from rio_chain.policies._shared_clock import Timeline
from rio_chain.policies._single_flight import Leader

short = st.floats(0, 2, allow_subnormal=False)

# --- Timeline ---------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 2), st.tuples(short, short, short))))
def test_the_axis_moves_with_the_clock_used_last(steps: list[tuple[int, tuple[float, float, float]]]) -> None:
    clocks = [FakeClock(at) for at in (0.0, 1e5, -300.0)]
    line = Timeline()
    expected = line.now(clocks[0])
    last = 0
    for used, moves in steps:
        for clock, move in zip(clocks, moves, strict=True):
            clock.move(move)
        before, expected = expected, expected + moves[last]
        got = line.now(clocks[used])
        assert got == pytest.approx(expected, abs=1e-6)
        assert got >= before - 1e-6
        expected, last = got, used


# --- Backoff ----------------------------------------------------------------------------------------------------

backoffs = st.builds(
    Backoff,
    base=st.floats(0, 1e6) | st.timedeltas(timedelta(0), timedelta(days=1)),
    factor=st.floats(1, 1e6),
    cap=st.floats(0, 1e7) | st.timedeltas(timedelta(0), timedelta(days=1)),
    jitter=st.sampled_from(["full", "equal", "none", "decorrelated"]),
) | st.builds(
    Backoff,
    base=st.floats(0, 1e6),
    step=st.floats(0, 1e6),
    cap=st.floats(0, 1e7),
    jitter=st.sampled_from(["full", "equal", "none"]),
)


@given(backoffs, st.integers(0, 10**6), st.floats(0, 1, exclude_max=True), st.none() | st.floats(0, 1e5))
def test_a_delay_stays_within_its_bounds(backoff: Backoff, retry: int, draw: float, previous: float | None) -> None:
    delay = backoff.delay(retry, lambda: draw, previous)
    assert 0 <= delay <= backoff.cap
    if backoff.jitter == "none":
        assert delay == backoff.bound(retry)
    elif backoff.jitter != "decorrelated":
        assert backoff.least(retry) <= delay <= backoff.bound(retry)
        assert backoff.least(retry) == (0 if backoff.jitter == "full" else backoff.bound(retry) / 2)
    else:
        assert delay >= min(backoff.base, backoff.cap)
        most = max(backoff.base, 3 * (backoff.base if previous is None else previous))
        assert delay <= most or math.isclose(delay, most)


@given(backoffs, st.lists(st.floats(0, 1, exclude_max=True), max_size=20))
def test_a_chain_of_delays_stays_within_its_bounds(backoff: Backoff, draws: list[float]) -> None:
    previous = None
    for retry, draw in enumerate(draws):
        previous = backoff.delay(retry, lambda draw=draw: draw, previous)  # type: ignore[misc]
        assert previous <= backoff.bound(retry) * (1 + 1e-9)


@given(backoffs)
def test_the_repr_of_a_backoff_is_its_source(backoff: Backoff) -> None:
    assert eval(repr(backoff), {"Backoff": Backoff, "timedelta": timedelta}) == backoff  # noqa: S307 - our own


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_written_exactly(value: float) -> None:
    assert float(exact_number(value)) == value


# --- Limit ------------------------------------------------------------------------------------------------------


class Caller:
    """Waits as the engine does: it asks when it was woken or when ``after`` has passed, never else."""

    def __init__(self, turn: PendingPermit, clock: FakeClock) -> None:
        self.turn = turn
        self.clock = clock
        self.woken = False
        turn.wake = self.wake
        self.sleep()

    def wake(self) -> None:
        self.woken = True

    def sleep(self) -> None:
        self.due = math.inf if self.turn.after is None else self.clock() + self.turn.after

    def step(self) -> bool:
        """Ask if there is a reason to; whether it changed anything."""
        if self.turn.state != "waiting" or not (self.woken or self.clock() >= self.due - 1e-12):
            return False
        self.woken = False
        self.turn.ask(self.clock)
        self.sleep()
        return True


class Crowd:
    """Callers of one Limit, a log of which was let in when, and what is checked after each step."""

    def __init__(self, limit: Limit, concurrency: int | None) -> None:
        self.limit = limit
        self.concurrency = concurrency
        self.clock = FakeClock(50.0)
        self.callers: list[Caller] = []
        self.permits: list[Any] = []
        self.starts: list[float] = []
        self.served: list[int] = []

    def enter(self) -> None:
        got = self.limit.enter(Call(clock=self.clock))
        if isinstance(got, PendingPermit):
            self.callers.append(Caller(got, self.clock))
        elif not isinstance(got, LimitExceeded):
            assert not any(c.turn.state == "waiting" for c in self.callers), "nobody overtakes"
            self.let_in(got)
        self.settle()

    def let_in(self, permit: Any) -> None:
        self.permits.append(permit)
        self.starts.append(self.clock())

    def settle(self) -> None:
        while any([caller.step() for caller in self.callers]):  # noqa: C419 - all of them, each time
            pass
        for number, caller in enumerate(self.callers):
            if caller.turn.state == "granted" and number not in self.served:
                self.served.append(number)
                self.let_in(caller.turn.permit)
        assert self.concurrency is None or len(self.permits) <= self.concurrency
        assert self.limit.running == len(self.permits)
        waiting = [c for c in self.callers if c.turn.state == "waiting"]
        assert self.limit.waiting == len(waiting)
        if waiting and (self.concurrency is None or len(self.permits) < self.concurrency):
            bucket = self.limit._lines[None].bucket
            assert bucket is not None
            assert waiting[0].due <= self.clock() + bucket.wait(self.clock()) + 1e-6, "it will ask in time"

    def end(self, number: int) -> None:
        if self.permits:
            self.permits.pop(number % len(self.permits)).dropped()
        self.settle()

    def leave(self, number: int) -> None:
        waiting = [c for c in self.callers if c.turn.state == "waiting"]
        if waiting:
            waiting[number % len(waiting)].turn.quit()
        self.settle()

    def move(self, seconds: float) -> None:
        """Time passes from timer to timer, as on a loop."""
        target = self.clock() + seconds
        while True:
            due = min((c.due for c in self.callers if c.turn.state == "waiting"), default=math.inf)
            self.clock.at = max(self.clock(), min(target, due))
            self.settle()
            if self.clock() >= target or due == math.inf:
                break
        self.clock.at = target
        self.settle()


steps = st.lists(
    st.one_of(
        st.tuples(st.just("enter")),
        st.tuples(st.just("enter")),
        st.tuples(st.sampled_from(["end", "leave"]), st.integers(0, 9)),
        st.tuples(st.just("move"), st.floats(0, 0.5)),
    ),
    max_size=60,
)


@given(
    st.none() | st.integers(1, 3),
    st.none() | st.floats(0.5, 50),
    st.none() | st.integers(1, 4),
    st.none() | st.floats(0, 400),
    steps,
)
def test_a_limit_is_kept_and_nobody_is_forgotten(
    concurrency: int | None, rate: float | None, burst: int | None, wait: float | None, script: list[tuple[Any, ...]]
) -> None:
    if concurrency is None and rate is None:
        concurrency = 2
    crowd = Crowd(Limit(concurrency, rate=rate, burst=burst if rate else None, wait=wait), concurrency)
    for name, *args in script:
        getattr(crowd, name)(*args)
    if rate is not None:
        depth = burst or max(1, int(rate))
        for i, begin in enumerate(crowd.starts):
            for j in range(i, len(crowd.starts)):
                assert j - i + 1 <= depth + rate * (crowd.starts[j] - begin) + 1e-6
    assert crowd.served == sorted(crowd.served), "first come, first served"
    for _ in range(200):  # all ends well: what still waits gets in, or is refused when its patience ends
        if not crowd.limit.waiting and not crowd.permits:
            break
        crowd.end(0)
        crowd.move(2.5)
    assert (crowd.limit.running, crowd.limit.waiting) == (0, 0)


# --- Breaker ----------------------------------------------------------------------------------------------------


@frozen
class Rule:
    """The arguments of a breaker, in seconds."""

    failures: int = 3
    ratio: float | None = None
    least: int = 1
    within: float | None = None
    last: int | None = None
    probes: int = 1

    def breaker(self) -> Breaker:
        within = None if self.within is None else self.within * 1000
        fewest = None if self.ratio is None else self.least
        rest: Any = {"window": 2000, "min_calls": fewest, "open_for": 1000, "successes": self.probes}
        return Breaker(self.failures, ratio=self.ratio, within=within, last=self.last, **rest)

    def too_many(self, calls: list[tuple[float, bool]], now: float) -> bool:
        """Whether a breaker opens after these calls. The latest one has failed."""
        if self.within is not None:
            return sum(failed for at, failed in calls if now - at < self.within) >= self.failures
        recent = [failed for _, failed in calls][-(self.last or len(calls)) :]
        if self.ratio is not None:
            if self.last is None:  # the window moves in ten steps
                recent = [failed for at, failed in calls if math.floor(at / 0.2) > math.floor(now / 0.2) - 10]
            return len(recent) >= self.least and sum(recent) >= self.ratio * len(recent)
        if self.last is not None:
            return sum(recent) >= self.failures
        return len(recent) >= self.failures and all(recent[-self.failures :])


class Model:
    """A breaker as one would tell it: all calls in a list."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.calls: list[tuple[float, bool]] = []
        self.era = self.good = self.opened = 0
        self.until: float | None = None
        self.probes: set[int] = set()

    def state(self, now: float) -> str:
        if self.until is None:
            return "closed"
        return "open" if now < self.until else "half_open"

    def turn(self, until: float | None) -> None:
        self.until, self.probes, self.calls, self.good = until, set(), [], 0
        self.era += 1

    def enter(self, now: float, number: int) -> bool:
        state = self.state(now)
        if state == "half_open" and len(self.probes) < self.rule.probes:
            self.probes.add(number)
            return True
        return state == "closed"

    def end(self, now: float, number: int, era: int, how: str) -> None:
        probe = number in self.probes
        self.probes.discard(number)
        if era != self.era or how == "dropped":
            return
        if how == "succeeded":
            self.calls.append((now, False))
            self.good += probe
            if self.good == self.rule.probes:
                self.turn(None)
            return
        self.calls.append((now, True))
        if probe or self.rule.too_many(self.calls, now):
            self.turn(now + 1)


rules = st.one_of(
    st.builds(Rule, st.integers(1, 4), probes=st.integers(1, 3)),
    st.builds(Rule, st.integers(1, 4), within=st.sampled_from([0.04, 0.3, 1.0]), probes=st.integers(1, 3)),
    st.builds(Rule, st.integers(1, 3), last=st.integers(3, 6)),
    st.builds(Rule, ratio=st.sampled_from([0.1, 0.5, 1.0]), least=st.integers(1, 5)),
    st.builds(Rule, ratio=st.sampled_from([0.1, 0.5, 1.0]), least=st.integers(1, 3), last=st.integers(3, 6)),
)


@given(
    rules,
    st.lists(
        st.one_of(
            st.tuples(st.just("enter"), st.just(0)),
            st.tuples(st.just("enter"), st.just(0)),
            st.tuples(st.sampled_from(["succeeded", "failed", "failed", "dropped"]), st.integers(0, 5)),
            st.tuples(st.just("move"), st.sampled_from([0.05, 0.3, 1.0])),
            st.tuples(st.just("half_open"), st.just(0)),
        ),
        max_size=80,
    ),
)
def test_a_breaker_does_as_its_model(rule: Rule, script: list[tuple[str, Any]]) -> None:
    breaker, model = rule.breaker(), Model(rule)
    clock = FakeClock(0.0)
    flying: list[tuple[int, int, Any]] = []
    breaker._time.now(clock)
    for number, (what, arg) in enumerate(script):
        now = clock()
        if what == "move":
            clock.move(arg)
        elif what == "half_open":
            breaker.half_open()
            model.turn(now)
        elif what == "enter":
            got = breaker.enter(Call(clock=clock))
            assert model.enter(now, number) is not isinstance(got, CircuitOpen)
            if not isinstance(got, CircuitOpen):
                flying.append((number, model.era, got))
        elif flying:
            call, era, permit = flying.pop(arg % len(flying))
            getattr(permit, what)(*(() if what == "dropped" else (OSError(),)))
            model.end(now, call, era, what)
        stats = breaker.stats()
        assert (stats.state, stats.probes) == (model.state(clock()), len(model.probes))
        assert stats.successes == (model.good if model.state(clock()) == "half_open" else 0)


@given(st.integers(1, 4), st.lists(st.tuples(st.integers(0, 9), st.booleans(), st.sampled_from([0.0, 0.4, 2.0]))))
def test_the_states_of_keys_are_bounded_and_independent(most: int, script: list[tuple[int, bool, float]]) -> None:
    """With room for all keys, each key has the state of a breaker of its own."""
    clock = FakeClock(0.0)
    few, many = (Breaker(2, key=str, keys=keys, open_for=1000) for keys in (most, 10))
    alone = {key: Breaker(2, open_for=1000) for key in range(10)}
    for key, failed, move in script:
        for breaker, call in ((few, key), (many, key), (alone[key], None)):
            got = breaker.enter(Call(key=call, clock=clock))
            if not isinstance(got, CircuitOpen):
                got.failed(OSError()) if failed else got.succeeded(1)
        clock.move(move)
        assert len(few._circuits) <= most
        for other, one in alone.items():
            one._time.follow(clock)
            assert many.state_of(other) == one.state


# --- Budget, Quantile, Cache, SingleFlight ---------------------------------------------------------------------------


@given(st.floats(0, 2), st.integers(0, 5), st.lists(st.sampled_from(["execution", "extra", "end", "end"]), max_size=80))
def test_a_budget_grants_what_it_has_and_no_more(ratio: float, floor: int, script: list[str]) -> None:
    budget = Budget(ratio, floor)
    flying: list[tuple[str, Any]] = []
    for what in script:
        most = max(floor, ratio * sum(kind == "execution" for kind, _ in flying))
        extras = sum(kind == "extra" for kind, _ in flying)
        if what == "end":
            if flying:
                flying.pop(0)[1].dropped()
            continue
        permit = getattr(budget, what)()
        assert (permit is not None) == (what == "execution" or extras + 1 <= most + 1e-9)
        if permit is not None:
            flying.append((what, permit))
        assert budget.extras == sum(kind == "extra" for kind, _ in flying)
    for _, permit in flying:
        permit.failed(OSError())
    assert (budget.executions, budget.extras) == (0, 0)


@given(st.lists(st.floats(0, 1e3), min_size=2, max_size=60), st.integers(1, 99), st.integers(2, 20))
def test_a_quantile_is_exact_over_its_window(samples: list[float], percent: int, window: int) -> None:
    late = Quantile(percent / 100, warmup=2, window=window)
    for sample in samples:
        late.add(sample)
    expected = statistics.quantiles(samples[-window:], n=100, method="inclusive")[percent - 1]
    assert late.value() == pytest.approx(expected, abs=1e-9)


@given(st.integers(1, 3), st.lists(st.tuples(st.sampled_from(["get", "put", "move"]), st.integers(0, 4)), max_size=60))
def test_a_cache_does_as_a_dict_with_dates(size: int, script: list[tuple[str, int]]) -> None:
    cache, clock = Cache(1000, size=size), FakeClock()
    model: dict[int, tuple[float, int]] = {}  # in the order of their last use
    for number, (what, key) in enumerate(script):
        if what == "move":
            clock.move(key / 4)
        elif what == "put":
            model.pop(key, None)
            model[key] = (clock() + 1, number)
            cache.put(key, number, clock)
            if len(model) > size:
                del model[next(iter(model))]
        else:
            kept = model.pop(key, None)
            fresh = kept is not None and clock() < kept[0]
            found = cache.get(key, clock)
            assert found.hit is fresh
            if kept is not None and fresh:
                model[key] = kept
                assert found.value == kept[1]
        assert len(cache) == len(model)


@given(st.lists(st.tuples(st.sampled_from(["enter", "succeeded", "failed", "dropped", "quit"]), st.integers(0, 9))))
def test_of_a_flight_one_leads_and_all_are_answered(script: list[tuple[str, int]]) -> None:
    flights = SingleFlight()
    leader: Any = None
    turns: list[PendingPermit] = []
    for what, number in script:
        waiting = [turn for turn in turns if turn.state == "waiting"]
        if what == "enter":
            got = flights.enter(Call(key="key", clock=time.monotonic))
            assert isinstance(got, Leader) is (leader is None)
            if isinstance(got, Leader):
                leader = got
            else:
                turns.append(got)
        elif what == "quit":
            if waiting:
                waiting[number % len(waiting)].quit()
        elif leader is not None:
            getattr(leader, what)(*(() if what == "dropped" else (number,)))
            if what == "dropped" and waiting:
                assert waiting[0].state == "granted"
                leader = waiting[0].permit
            else:
                leader = None
                assert all(turn.answer is not None and turn.answer.value == number for turn in waiting)
    if leader is not None:
        leader.succeeded(0)
    assert not any(turn.state == "waiting" for turn in turns)
    assert isinstance(flights.enter(Call(key="key", clock=time.monotonic)), Leader)
