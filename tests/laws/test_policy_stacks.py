"""Random stacks of policies mean the same on asyncio and on trio, and what a plain model says.

The model is a few dozen lines of ordinary synchronous code with a clock that it moves itself. It knows nothing of the
engine: each policy is a function around a function. All instants are drawn so that no two of them coincide, as what
happens then is unspecified: each call takes a whole number of ms and a unique share of one, each limit as well.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import trio
import trio.testing
import virtual_loops
from attrs import field, frozen, mutable
from conformance.harness import pause
from hypothesis import example, given, note, settings
from hypothesis import strategies as st

from rio_chain import Backoff, Breaker, Cache, Chain, Limit, Outcome, Task, TaskTimedOut, current_attempt

RUNS = 3  # requests one after the other, so that breakers and caches have something to remember
PAUSE = 40.0  # milliseconds between them
FOREVER = 30_000.0  # `abandon_after`

# --- what is drawn ----------------------------------------------------------------------------------------------


@frozen
class Reply:
    """What a backend does at one call: after ``ms`` it answers with ``value``, or fails if that is negative."""

    ms: int
    value: int


@frozen
class Layer:
    """A policy and its number."""

    kind: str
    number: int = 0


replies = st.lists(st.builds(Reply, st.sampled_from([0, 3, 8, 20, 45, 90]), st.integers(-2, 4)), min_size=1, max_size=8)
plain = st.one_of(
    st.builds(Layer, st.just("timeout"), st.sampled_from([1, 5, 15, 33, 70, 120])),
    st.builds(Layer, st.just("retry"), st.integers(0, 3)),
    st.builds(Layer, st.just("rest"), st.integers(1, 3)),
    st.builds(Layer, st.just("by input"), st.sampled_from([5, 33, 120])),
    st.builds(Layer, st.just("linear"), st.integers(1, 3)),
    st.builds(Layer, st.just("stopped"), st.integers(1, 3)),
    st.builds(Layer, st.just("in turn, on"), st.integers(2, 3)),
    st.builds(Layer, st.just("accept"), st.integers(1, 4)),
    st.builds(Layer, st.just("or_else")),
    st.builds(Layer, st.just("or_task")),
    st.builds(Layer, st.just("in turn"), st.integers(1, 3)),
    st.builds(Layer, st.just("breaker"), st.integers(1, 3)),
    st.builds(Layer, st.just("cache"), st.sampled_from([20, 100])),
    st.builds(Layer, st.just("window"), st.sampled_from([15, 60])),
    st.builds(Layer, st.just("tokens"), st.sampled_from([20, 70])),
)
races = st.builds(Layer, st.sampled_from(["parallel", "hedge"]), st.integers(2, 3))


@st.composite
def hedged(draw: st.DrawFn) -> list[Layer]:
    """A stack with one race in it, as a call knows only which replica of the innermost it is.

    Inside of calls that begin at the same instant a breaker would have to choose which one is its probe, and a cache
    might answer the first before the others have begun.
    """
    race = draw(races)
    alone = plain.filter(lambda layer: not layer.kind.startswith("in turn"))
    inside = (
        alone.filter(lambda layer: layer.kind not in {"breaker", "cache", "window", "tokens"})
        if race.kind == "parallel"
        else alone
    )
    return [*draw(st.lists(inside, max_size=3)), race, *draw(st.lists(alone, max_size=3))]


@frozen
class Said:
    """An error that is equal to those of its kind, so that two runs can be compared."""

    text: str


class BackendError(Exception):
    """What a backend raises."""


def said(error: Any) -> Said:
    if isinstance(error, TaskTimedOut):
        return Said(f"TaskTimedOut {error.ms:.3f}")
    return Said(f"BackendError {error}" if isinstance(error, BackendError) else type(error).__name__)


def unique(layers: list[Layer]) -> list[tuple[Layer, float]]:
    """Each layer with a share of a millisecond that no other has, so that no two instants are the same."""
    return [(layer, 0.001 * (k + 1) ** 2) for k, layer in enumerate(layers)]


# --- the engine -------------------------------------------------------------------------------------------------


@mutable
class Scripted:
    """A backend of the engine. ``calls`` are the instants at which it was called, in ms since the beginning."""

    name: str
    replies: list[Reply]
    clock: Callable[[], float]
    significant: bool  # the replicas have a script each
    calls: list[tuple[str, float]]
    made: Counter[int] = field(factory=Counter[int])

    async def fetch(self, x: int) -> int:
        replica = current_attempt().replica if self.significant else 0
        number = self.made[replica]  # those that begin together do so in any order, so each has a script of its own
        self.made[replica] += 1
        reply = self.replies[(number + replica) % len(self.replies)]
        name = self.name + "'" * replica
        self.calls.append((name, round(self.clock(), 6)))
        await pause(reply.ms + 0.0101 * (number + 1) + 0.0007 * replica)
        if reply.value < 0:
            raise BackendError(f"{name} {number}")
        return 100 * x + reply.value


def chain_of(layers: list[Layer], main: Scripted, spare: Scripted) -> Chain[[int], int]:
    chain: Any = Task(main.fetch).named("main")
    for number, (layer, share) in enumerate(unique(layers)):
        n = layer.number
        wrap: Callable[..., Any] = {
            "timeout": lambda c, n=n, share=share: c.timeout(n + share),
            "retry": lambda c, n=n: c.retry(n, backoff=None),
            "rest": lambda c, n=n, share=share: c.retry(n, backoff=Backoff(7 + share, 2, 1000, "none")),
            "by input": lambda c, n=n, share=share: c.timeout(lambda _: n + share),
            "linear": lambda c, n=n, share=share: c.retry(n, backoff=Backoff(7 + share, step=5, jitter="none")),
            "stopped": lambda c, n=n: c.retry(9, backoff=None, stop=lambda state: state.attempt_number > n),
            "in turn, on": lambda c, n=n: c.replica(n, after=[None], on=is_backend_error),
            "accept": lambda c, n=n: c.accept(partial(below, n)),
            "or_else": lambda c: c.or_else(-1),
            "or_task": lambda c, number=number: c.or_else(Task(spare.fetch).named(f"spare{number}")),
            "in turn": lambda c, n=n: c.replica(n, after=None),
            "parallel": lambda c, n=n: c.replica(n),
            "hedge": lambda c, n=n, share=share: c.replica(n, after=11 + share),
            "breaker": lambda c, n=n, share=share: c.breaker(Breaker(n, open_for=50 + share)),
            "cache": lambda c, n=n, share=share: c.cache(Cache(n + share, key=lambda x: x % 2)),
            "window": lambda c, n=n, share=share: c.limit(Limit(rate=2, per=n + share, window="sliding")),
            "tokens": lambda c, n=n, share=share: c.limit(
                Limit(rate=3, per=n + share, cost=lambda _: 2, actual=used), Limit(9)
            ),
        }[layer.kind]
        chain = wrap(chain)
    made: Chain[[int], int] = chain
    return made


def is_backend_error(error: Any) -> bool:
    return isinstance(error, BackendError)


def used(value: int) -> int:
    return value % 4


def below(limit: int, value: int) -> bool:
    return value % 100 < limit


@mutable
class Observed:
    """What is compared: results, calls and their instants, and when each request ended."""

    results: list[Any] = field(factory=list)
    calls: list[tuple[str, float]] = field(factory=list)
    ended: list[float] = field(factory=list)
    responses: list[Any] = field(factory=list)


async def requests(
    layers: list[Layer], main: list[Reply], spare: list[Reply], seconds: Callable[[], float]
) -> Observed:
    observed = Observed()
    since = seconds()

    def clock() -> float:
        return 1000 * (seconds() - since)

    apart = any(layer.kind in {"parallel", "hedge"} for layer in layers)
    first, second = (
        Scripted(name, script, clock, apart, observed.calls) for name, script in (("main", main), ("spare", spare))
    )
    chain = chain_of(layers, first, second)
    for number in range(RUNS):
        outcome: Outcome[int] = await chain(number)
        observed.ended.append(round(clock(), 6))
        error = outcome.result.swap().value_or(None)
        observed.results.append(said(error) if error is not None else outcome.unwrap())
        observed.responses.append([
            (r.name, r.status, r.attempts, [said(e) for e in r.errors], r.winner, r.started, r.wasted) for r in outcome
        ])  # fmt: skip
        await pause(PAUSE)
    observed.calls.sort(key=lambda call: (call[1], call[0]))
    return observed


def on_asyncio(layers: list[Layer], main: list[Reply], spare: list[Reply]) -> Observed:
    async def body() -> Observed:
        return await requests(layers, main, spare, asyncio.get_running_loop().time)

    observed: Observed = virtual_loops.on_asyncio(body)
    return observed


def on_trio(layers: list[Layer], main: list[Reply], spare: list[Reply]) -> Observed:
    observed: Observed = virtual_loops.on_trio(requests, layers, main, spare, trio.current_time)
    return observed


# --- the model --------------------------------------------------------------------------------------------------

Step = Callable[["Model", int, float], int]
"""Work on an input under a limit: moves the model's clock, and gives the value or raises."""


class Failed(Exception):
    """The failure of some work."""

    def __init__(self, what: Said, *, retryable: bool = True) -> None:
        self.what = what
        self.retryable = retryable


class Expired(BaseException):
    """The limit at ``at`` is over; only the layer that set it may answer for it."""

    def __init__(self, at: float) -> None:
        self.at = at


@mutable
class Model:
    """A clock, and the log of calls."""

    now: float = 0.0
    calls: list[tuple[str, float]] = field(factory=list)

    def wait(self, ms: float, limit: float) -> None:
        if self.now + ms >= limit:
            self.now = limit
            raise Expired(limit)
        self.now += ms


def backend(name: str, script: list[Reply]) -> Step:
    made = [0]

    def call(model: Model, x: int, limit: float) -> int:
        number = made[0]
        made[0] += 1
        reply = script[number % len(script)]
        model.calls.append((name, round(model.now, 6)))
        model.wait(reply.ms + 0.0101 * (number + 1), limit)
        if reply.value < 0:
            raise Failed(Said(f"BackendError {name} {number}"))
        return 100 * x + reply.value

    return call


def timeout(inner: Step, ms: float) -> Step:
    def call(model: Model, x: int, limit: float) -> int:
        mine = model.now + ms
        try:
            return inner(model, x, min(mine, limit))
        except Expired as expired:
            if expired.at == mine < limit:
                raise Failed(Said(f"TaskTimedOut {ms:.3f}")) from None
            raise

    return call


def retry(inner: Step, retries: int, base: float | None, step: float | None = None) -> Step:
    def call(model: Model, x: int, limit: float) -> int:
        for number in range(retries):
            try:
                return inner(model, x, limit)
            except Failed as failed:
                grown = 0.0 if base is None else base * 2**number if step is None else base + step * number
                rest = min(1000, grown)
                if not failed.retryable or model.now + rest >= limit:
                    raise
                model.wait(rest, limit)
        return inner(model, x, limit)

    return call


def accept(inner: Step, limited: int) -> Step:
    def call(model: Model, x: int, limit: float) -> int:
        value = inner(model, x, limit)
        if value % 100 >= limited:
            raise Failed(Said("NotAccepted"))
        return value

    return call


def or_else(inner: Step, other: Step) -> Step:
    def call(model: Model, x: int, limit: float) -> int:
        try:
            return inner(model, x, limit)
        except Failed:
            return other(model, x, limit)

    return call


def in_turn(inner: Step, count: int, *, named: bool = False) -> Step:
    def call(model: Model, x: int, limit: float) -> int:
        first: Failed | None = None
        for _ in range(count):
            try:
                return inner(model, x, limit)
            except Failed as failed:
                if named and not failed.what.text.startswith("BackendError"):
                    raise
                first = first or failed
        assert first is not None
        raise first

    return call


def breaker(inner: Step, failures: int, open_for: float) -> Step:
    row = [0]
    opened: list[float | None] = [None]

    def call(model: Model, x: int, limit: float) -> int:
        probe = opened[0] is not None
        if opened[0] is not None and model.now < opened[0]:
            raise Failed(Said("CircuitOpen"), retryable=False)
        try:
            value = inner(model, x, limit)
        except Failed as failed:
            if failed.retryable:
                row[0] += 1
                if probe or row[0] >= failures:
                    row[0], opened[0] = 0, model.now + open_for
            raise
        row[0], opened[0] = 0, None
        return value

    return call


def cache(inner: Step, ttl: float) -> Step:
    kept: dict[int, tuple[float, int]] = {}

    def call(model: Model, x: int, limit: float) -> int:
        found = kept.get(x % 2)
        if found is not None and model.now < found[0]:
            return found[1]
        value = inner(model, x, limit)
        kept[x % 2] = model.now + ttl, value
        return value

    return call


def window(inner: Step, per: float) -> Step:
    starts: list[float] = []

    def call(model: Model, x: int, limit: float) -> int:
        if len(starts) > 1 and starts[-2] + per > model.now:
            model.wait(starts[-2] + per - model.now, limit)
        starts.append(model.now)
        return inner(model, x, limit)

    return call


def tokens(inner: Step, per: float) -> Step:
    level, last = [3.0], [0.0]

    def call(model: Model, x: int, limit: float) -> int:
        def refill() -> None:
            level[0], last[0] = min(3.0, level[0] + (model.now - last[0]) * 3 / per), model.now

        refill()
        if level[0] < 2:
            model.wait((2 - level[0]) * per / 3, limit)
            refill()
        level[0] -= 2
        value = inner(model, x, limit)
        refill()
        level[0] += 2 - used(value)
        return value

    return call


def model_of(layers: list[Layer], main: list[Reply], spare: list[Reply]) -> Step:
    step, other = backend("main", main), backend("spare", spare)
    for layer, share in unique(layers):
        n = layer.number
        wrap: Callable[..., Step] = {
            "timeout": lambda s, n=n, share=share: timeout(s, n + share),
            "retry": lambda s, n=n: retry(s, n, None),
            "rest": lambda s, n=n, share=share: retry(s, n, 7 + share),
            "accept": lambda s, n=n: accept(s, n),
            "or_else": lambda s: or_else(s, lambda _m, _x, _l: -1),
            "or_task": lambda s: or_else(s, other),
            "in turn": lambda s, n=n: in_turn(s, n),
            "by input": lambda s, n=n, share=share: timeout(s, n + share),
            "linear": lambda s, n=n, share=share: retry(s, n, 7 + share, 5),
            "stopped": lambda s, n=n: retry(s, n, None),
            "in turn, on": lambda s, n=n: in_turn(s, n, named=True),
            "breaker": lambda s, n=n, share=share: breaker(s, n, 50 + share),
            "cache": lambda s, n=n, share=share: cache(s, n + share),
            "window": lambda s, n=n, share=share: window(s, n + share),
            "tokens": lambda s, n=n, share=share: tokens(s, n + share),
        }[layer.kind]
        step = wrap(step)
    return step


def modelled(layers: list[Layer], main: list[Reply], spare: list[Reply]) -> Observed:
    observed, model, step = Observed(), Model(), model_of(layers, main, spare)
    observed.calls = model.calls
    for number in range(RUNS):
        outermost = layers[-1].kind == "timeout" if layers else False
        try:
            observed.results.append(step(model, number, float("inf") if outermost else model.now + FOREVER))
        except Failed as failed:
            observed.results.append(failed.what)
        observed.ended.append(round(model.now, 6))
        model.now += PAUSE
    return observed


# --- the laws ---------------------------------------------------------------------------------------------------


def close(a: list[tuple[str, float]], b: list[tuple[str, float]]) -> bool:
    return [name for name, _ in a] == [name for name, _ in b] and all(
        abs(x - y) < 1e-4 for (_, x), (_, y) in zip(a, b, strict=True)
    )


@settings(deadline=None, max_examples=150)
@given(hedged(), replies, replies)
@example([Layer("tokens", 70), Layer("hedge", 3)], [Reply(30, 0)], [Reply(1, 1)])  # tokens for a call that has lost
def test_a_stack_means_the_same_on_asyncio_and_trio(layers: list[Layer], main: list[Reply], spare: list[Reply]) -> None:
    one, two = on_asyncio(layers, main, spare), on_trio(layers, main, spare)
    assert one.results == two.results
    assert close(one.calls, two.calls), f"{one.calls} != {two.calls}"
    assert all(abs(a - b) < 1e-4 for a, b in zip(one.ended, two.ended, strict=True))
    assert one.responses == two.responses


@settings(deadline=None, max_examples=300)
@given(st.lists(plain, max_size=7), replies, replies)
def test_a_stack_does_what_the_plain_model_does(layers: list[Layer], main: list[Reply], spare: list[Reply]) -> None:
    expected, got = modelled(layers, main, spare), on_trio(layers, main, spare)
    note(f"expected {expected.results} {expected.calls}")
    assert got.results == expected.results
    assert close(got.calls, expected.calls), f"{got.calls} != {expected.calls}"
    assert all(abs(a - b) < 1e-4 for a, b in zip(got.ended, expected.ended, strict=True))
