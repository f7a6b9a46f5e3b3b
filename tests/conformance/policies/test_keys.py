"""Keys that change after they were filed, or raise when they are hashed or compared: only their own call feels it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from conformance.harness import World
from returns.result import Success

from rio_chain import Cache, CallbackFailed, Chain, Limit, SingleFlight, Task, expand


class Changing:
    """Its hash is that of its text, which changes."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __hash__(self) -> int:
        return hash(self.text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Changing) and other.text == self.text


class HashedOnce(Changing):
    """A second call of its hash raises."""

    hashed = False

    def __hash__(self) -> int:
        if self.hashed:
            raise LookupError
        self.hashed = True
        return 1


class Incomparable(Changing):
    """All have the same hash, and none can be compared."""

    def __hash__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        raise LookupError


KINDS = (Changing, HashedOnce, Incomparable)


class Backend:
    """Changes what it is asked for, before it answers or fails."""

    def __init__(self, world: World, *, fails: bool = False) -> None:
        self.world = world
        self.fails = fails
        self.calls = 0

    async def fetch(self, x: Changing) -> str:
        self.calls += 1
        text = x.text
        await self.world.pause(5)
        x.text = f"{text} changed {self.calls}"
        if self.fails:
            raise OSError(text)
        return text


def itself(x: Any) -> Any:
    return x


def empty(policy: Cache | SingleFlight | Limit) -> None:
    """Nobody is in, and nobody waits."""
    if not isinstance(policy, Cache):
        shown = repr(policy)
        assert ("0 in flight, 0 follow" in shown) or ("0 running, 0 waiting" in shown), shown


MAKES: dict[str, Callable[[], Any]] = {
    "cache": lambda: Cache(1_000, key=itself, size=3),
    "flights": lambda: SingleFlight(key=itself),
    "limit": lambda: Limit(1, key=itself),
    "limit of a rate": lambda: Limit(2, rate=1_000, key=itself),
}


def chain_with(task: Chain[..., Any], policy: Any) -> Chain[..., Any]:
    if isinstance(policy, Cache):
        return task.cache(policy)
    return task.single_flight(policy) if isinstance(policy, SingleFlight) else task.limit(policy)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", MAKES)
async def test_a_bad_key_hurts_nobody(world: World, kind: type[Changing], make: str) -> None:
    for fails in (False, True):
        policy = MAKES[make]()
        backend = Backend(world, fails=fails)
        chain = chain_with(Task(backend.fetch), policy)
        keys = [kind(f"key {n % 3}") for n in range(9)]
        outcomes = await world.together(*(partial(world.run, chain(key)) for key in keys))
        answers = [str(o.value_or("")) or str(o.result.failure()) for o in outcomes]
        assert answers == [f"key {n % 3}" for n in range(9)]
        after = await world.run(chain_with(Task(len).inline(), policy)("somebody else's"))
        assert after.result == Success(15)
        empty(policy)


@pytest.mark.parametrize("make", MAKES)
async def test_a_good_key_beside_bad_ones_works_as_ever(world: World, make: str) -> None:
    policy = MAKES[make]()
    backend = Backend(world)
    for n in range(5):
        assert (await world.run(chain_with(Task(backend.fetch), policy)(Incomparable(f"{n}")))).result == Success(
            f"{n}"
        )
    calls: list[int] = []

    async def fetch(x: int) -> int:
        calls.append(x)
        await world.pause(5)
        return x

    chain = chain_with(Task(fetch), policy)  # the hash of 1 is that of the bad keys
    outcomes = await world.together(*[lambda: world.run(chain(1))] * 3)
    assert all(outcome.result == Success(1) for outcome in outcomes)
    if not isinstance(policy, Limit):
        assert len(calls) == 1 if isinstance(policy, SingleFlight) else len(calls) <= 3
    empty(policy)


async def test_a_flight_ends_whatever_becomes_of_its_key(world: World) -> None:
    flights, backend = SingleFlight(key=itself), Backend(world)
    key = Changing("one")
    chain = Task(backend.fetch).single_flight(flights)
    outcomes = await world.together(*[lambda: world.run(chain(key))] * 4)
    assert [outcome.result for outcome in outcomes] == [Success("one")] * 4
    assert backend.calls == 1
    empty(flights)


async def test_the_next_leads_when_a_leader_whose_key_has_changed_is_cancelled(world: World) -> None:
    flights = SingleFlight(key=itself)
    calls: list[str] = []
    key = Changing("one")

    async def fetch(x: Changing) -> int:
        calls.append(x.text)
        x.text += "!"
        await world.pause(10 if len(calls) > 1 else 2_000)
        return len(calls)

    chain = Task(fetch).single_flight(flights)
    leader = world.start(lambda: world.run(chain(key)))
    await world.until(lambda: calls)
    key.text = "one"
    follower = world.start(lambda: world.run(chain(key)))
    await world.until(lambda: "1 follow" in repr(flights))
    key.text = "another"
    leader.stop()
    await leader.ended()
    assert (await follower.result()).result == Success(2)
    empty(flights)


async def test_a_key_that_can_not_be_hashed_is_the_failure_of_its_own_call(world: World) -> None:
    class Bad:
        def __hash__(self) -> int:
            raise ValueError("no hash")

    for make in MAKES.values():
        policy = make()
        chain = chain_with(Task(itself).inline(), policy)
        error = (await world.run(chain(Bad()))).result.failure()
        assert isinstance(error, CallbackFailed)
        assert (error.role, type(error.error)) == ("key", ValueError)
        assert (await world.run(chain(1))).result == Success(1)
        empty(policy)


async def test_keys_that_change_leave_no_entries(world: World) -> None:
    limit, cache = Limit(2, rate=1_000_000, key=itself), Cache(1_000, key=itself, size=3)
    backend = Backend(world)
    for chain in (Task(backend.fetch).limit(limit), Task(backend.fetch).cache(cache)):
        for n in range(20):
            assert (await world.run(chain(Changing(f"{n}")))).result == Success(f"{n}")
    assert len(cache) == 3
    assert len(limit._lines) < 10


async def test_work_of_expand_may_change(world: World) -> None:
    async def visit(x: Changing) -> str:
        text, x.text = x.text, "visited"
        return text

    def more(text: str) -> list[Changing]:
        return [Changing(text + side) for side in "ab"] if len(text) < 3 else []

    outcome = await world.run(expand(Task(visit), more=more)(Changing("")))
    assert sorted(outcome.unwrap()) == ["", "a", "aa", "aaa", "aab", "ab", "aba", "abb",
                                        "b", "ba", "baa", "bab", "bb", "bba", "bbb"]  # fmt: skip
