""".using: the value of an earlier part of the chain as a further keyword."""

from __future__ import annotations

import gc
import pickle
import weakref
from typing import Any

import pytest
from conformance.harness import World
from conformance.works import HANG

from rio_chain import Cache, SingleFlight, Task, TaskTimedOut, choose, each, expand, fan_out, race, reduce, settle, when


async def fetch(x: Any) -> str:
    return f"user {x}"


async def after(x: Any, user: str) -> tuple[Any, str]:
    return x, user


async def shout(x: str) -> str:
    return x.upper()


def pair(left: str, right: str) -> str:
    return f"{left}, {right}"


@pytest.fixture
def user() -> Task[[Any], str]:
    return Task(fetch)


async def test_a_value_from_far_above(world: World, user: Any) -> None:
    chain = user.timeout(5_000).retry(2) >> Task(shout) >> str.title >> Task(after).using(user=user)
    assert (await world.run(chain(42))).unwrap() == ("User 42", "user 42")
    named = user.named("u") >> Task(shout) >> Task(after).using(user=user)
    assert (await world.run(named(1))).unwrap() == ("USER 1", "user 1")


async def test_behind_a_replica_and_a_race_of_its_own(world: World, user: Any) -> None:
    chain = user.replica(3, after=0) >> Task(shout) >> Task(after).using(user=user)
    for _ in range(5):
        assert (await world.run(chain(42))).unwrap() == ("USER 42", "user 42")
    raced = race(user, Task(shout).named("other") >> Task(lambda _: "other").inline())
    either = raced >> Task(shout) >> Task(after).using(user=raced)
    assert (await world.run(either("x"))).unwrap()[1] in {"user x", "other"}


async def test_from_a_branch_after_the_join(world: World, user: Any) -> None:
    other = Task(shout)
    chain = (user & other) >> Task(len).inline() >> Task(after).using(user=user)
    assert (await world.run(chain("x"))).unwrap() == (2, "user x")
    both = fan_out(a=user >> (lambda u: u) >> Task(len).inline(), b=other) >> Task(after).using(user=user)
    assert (await world.run(both("x"))).unwrap() == ({"a": 6, "b": "X"}, "user x")
    whole = (user & other) >> Task(len).inline() >> Task(after).using(user=user & other)
    assert (await world.run(whole("x"))).unwrap() == (2, ("user x", "X"))


async def test_from_before_in_every_kind_of_part(world: World, user: Any) -> None:
    use = Task(after).using(user=user)
    fails = Task(_fails)
    parts: dict[str, tuple[Any, Any]] = {
        "fan_out": (use & Task(shout), (("user x", "user x"), "USER X")),
        "settle": (settle(use, fails) >> (lambda both: both[0].unwrap()) >> Task(tuple).inline(), ("user x", "user x")),
        "need": (fan_out(use, Task(_hangs(world)), need=1), (("user x", "user x"),)),
        "each": ((lambda u: [u, 1]) >> each(use), [("user x", "user x"), (1, "user x")]),
        "keys": ((lambda u: [u]) >> each(Task(shout) >> Task(after).using(user=user)), [("USER X", "user x")]),
        "expand": (expand(use, more=lambda _: None), [("user x", "user x")]),
        "choose": (choose(when(str, use), otherwise=Task(shout)), ("user x", "user x")),
        "race": (race(use, Task(_hangs(world))), ("user x", "user x")),
        "replica": (use.replica(2), ("user x", "user x")),
        "or_else": (use.or_else(Task(shout)), ("user x", "user x")),
        "fallback": (fails.or_else(use), ("user x", "user x")),
        "policies": (use.timeout(5_000).retry(2), ("user x", "user x")),
        "bridge": ((lambda u: u) >> Task(shout) >> (lambda u: u) >> use, ("USER X", "user x")),
    }
    for name, (part, expected) in parts.items():
        outcome = await world.run((user >> part)("x"))
        assert outcome.unwrap() == expected, name


async def _fails(_: object) -> str:
    raise OSError


def _hangs(world: World) -> Any:
    async def hangs(_: object) -> None:
        await world.pause(HANG)

    return hangs


async def test_each_item_uses_what_was_found_for_it(world: World) -> None:
    async def slow(x: int) -> int:
        await world.pause(20 - x)
        return x * 10

    async def check(x: int, made: int) -> tuple[int, int]:
        await world.pause(x % 3)
        return x, made

    made = Task(slow)
    chain = each(made >> (lambda y: y + 1) >> Task(check).using(made=made), limit=4)
    assert (await world.run(chain(range(10)))).unwrap() == [(10 * x + 1, 10 * x) for x in range(10)]
    tree = expand(
        made >> (lambda y: y + 1) >> Task(check).using(made=made),
        more=lambda got: [got[1] // 10 + 1] if got[1] < 50 else [],
    )
    assert (await world.run(tree(0))).unwrap() == [(10 * x + 1, 10 * x) for x in range(6)]
    raced = race(made >> Task(check).using(made=made), Task(_hangs(world))) >> (lambda p: p)
    outcome = await world.run(each(raced >> Task(lambda p: p).inline(), limit=3)(range(5)))
    assert outcome.unwrap() == [(10 * x, 10 * x) for x in range(5)]


async def test_the_last_rounds_value(world: World) -> None:
    rounds: list[int] = []

    async def counts(_: object) -> int:
        rounds.append(1)
        return len(rounds)

    async def flaky(x: int, n: int) -> tuple[int, int]:
        if n < 3:
            raise OSError
        return x, n

    n = Task(counts)
    chain = (n >> (lambda x: x * 10) >> Task(flaky).using(n=n)).retry(5, backoff=None)
    assert (await world.run(chain(0))).unwrap() == (30, 3)
    rounds.clear()
    inner = n >> (lambda x: x * 10) >> Task(flaky).using(n=n).retry(2, backoff=None)
    assert type((await world.run(inner(0))).result.failure()) is OSError
    assert len(rounds) == 1


async def test_longer_sources(world: World, user: Any) -> None:
    nearby = Task(_fails)
    shops = nearby.or_else([])
    chain = user >> shops >> Task(len).inline() >> Task(after).using(user=shops)
    assert (await world.run(chain(1))).unwrap() == (0, [])
    loud = user >> Task(shout)
    row = loud >> Task(len).inline() >> Task(after).using(user=loud)
    assert (await world.run(row(1))).unwrap() == (6, "USER 1")
    folded = each(Task(shout)) >> reduce(pair)
    summed = folded >> Task(len).inline() >> Task(after).using(user=folded)
    assert (await world.run(summed(["a", "b"]))).unwrap() == (4, "A, B")
    lists = each(Task(shout))
    listed = lists >> reduce(pair) >> Task(len).inline() >> Task(after).using(user=lists)
    assert (await world.run(listed(["a", "b"]))).unwrap() == (4, ["A", "B"])


async def test_ways_to_fill_a_function(world: World, user: Any) -> None:
    shouted = Task(shout)

    async def only(*, user: str) -> str:
        return user

    async def mixed(user: str, x: str, *, loud: str = "") -> tuple[str, str, str]:
        return user, x, loud

    async def none_left(user: str, loud: str) -> tuple[str, str]:
        return user, loud

    async def optional(x: str, user: str, more: int = 7) -> tuple[str, str, int]:
        return x, user, more

    async def anything(x: str, **more: object) -> tuple[str, dict[str, object]]:
        return x, more

    base = user >> shouted >> (lambda _: "value")
    expected: list[tuple[Any, Any]] = [
        (Task(only).using(user=user), "user 1"),
        (Task(mixed).using(user=user), ("user 1", "value", "")),
        (Task(mixed).using(user=user).using(loud=shouted), ("user 1", "value", "USER 1")),
        (Task(mixed).using(user=user, loud=shouted), ("user 1", "value", "USER 1")),
        (Task(none_left).using(user=user, loud=shouted), ("user 1", "USER 1")),
        (Task(optional).using(user=user), ("value", "user 1", 7)),
        (Task(anything).using(who=user), ("value", {"who": "user 1"})),
    ]
    for task, value in expected:
        assert (await world.run((base >> task)(1))).unwrap() == value
    twice = base >> Task(after).using(user=user) >> Task(after).named("b").using(user=shouted)
    assert (await world.run(twice(1))).unwrap() == (("value", "user 1"), "USER 1")


async def test_a_run_with_several_arguments(world: World) -> None:
    async def head(a: int, b: int = 2, *, c: int = 3) -> int:
        return a * 100 + b * 10 + c

    async def tail(x: int, head: int) -> tuple[int, int]:
        return x, head

    first = Task(head)
    chain = first >> (lambda x: -x) >> Task(tail).using(head=first)
    assert (await world.run(chain(1, 5, c=7))).unwrap() == (-157, 157)
    assert (await world.run(chain(1))).unwrap() == (-123, 123)


@pytest.mark.parametrize("policy", ["cache", "single_flight"])
async def test_a_cache_or_flight_does_not_mix_what_comes_from_outside(world: World, policy: str) -> None:
    calls: list[tuple[object, str]] = []

    async def render(x: object, user: str) -> tuple[object, str]:
        calls.append((x, user))
        await world.pause(5)
        return x, user

    user = Task(fetch)
    using = Task(render).using(user=user)
    around: Any = using.cache(Cache(ttl=60_000)) if policy == "cache" else using.single_flight(SingleFlight())
    chain = user >> (lambda _: "same") >> around
    first = await world.together(*(lambda k=k: world.run(chain(k)) for k in (1, 2, 3)))
    assert [outcome.unwrap() for outcome in first] == [("same", f"user {k}") for k in (1, 2, 3)]
    again = await world.run(chain(2))
    assert again.unwrap() == ("same", "user 2")
    assert len(calls) == (3 if policy == "cache" else 4)
    region = user >> (lambda _: "same") >> (Task(shout) >> using).cache(Cache(ttl=60_000))
    for k in (1, 2, 1):
        assert (await world.run(region(k))).unwrap() == ("SAME", f"user {k}")


async def test_a_source_behind_a_hit(world: World) -> None:
    calls: list[int] = []

    async def find(x: int) -> str:
        calls.append(x)
        return f"user {x}"

    user = Task(find)
    cached = user.cache(Cache(ttl=60_000))
    for source in (user, cached):
        chain = cached >> Task(shout) >> Task(after).using(user=source)
        for _ in range(2):
            assert (await world.run(chain(1))).unwrap() == ("USER 1", "user 1")
    assert calls == [1]


async def test_a_pickled_chain(world: World, user: Any) -> None:
    chain = user >> Task(shout) >> Task(after).using(user=user)
    again = pickle.loads(pickle.dumps(chain))  # noqa: S301 - our own
    assert again == chain
    assert (await world.run(again(1))).unwrap() == ("USER 1", "user 1")
    plan = pickle.loads(pickle.dumps(chain.plan()))  # noqa: S301 - our own
    assert plan == chain.plan()
    assert plan.uses == (("fetch", "user", "after"),)
    longer = again >> Task(str).inline()
    assert (await world.run(longer(1))).unwrap() == "('USER 1', 'user 1')"


async def test_many_runs_of_one_chain_at_once(world: World) -> None:
    async def slow(x: int) -> int:
        await world.pause(x % 7)
        return x

    async def check(y: int, x: int) -> tuple[int, int]:
        await world.pause(y % 5)
        return y, x

    first = Task(slow)
    chain = first >> (lambda x: x + 1) >> (Task(check).using(x=first) & Task(check).named("b").using(x=first))
    works = [lambda k=k: world.run(chain(k)) for k in range(40)]
    for k, outcome in enumerate(await world.together(*works)):
        assert outcome.unwrap() == ((k + 1, k), (k + 1, k))


async def test_values_are_let_go_with_the_outcome(world: World) -> None:
    class Big:
        pass

    seen: list[weakref.ref[Big]] = []

    async def make(_: object) -> Big:
        big = Big()
        seen.append(weakref.ref(big))
        return big

    async def use(x: object, big: Big) -> int:
        return 1

    async def fails(x: object, big: Big) -> int:
        raise OSError

    made = Task(make)
    chains: list[Any] = [
        made >> (lambda _: 0) >> Task(use).using(big=made),
        made >> (lambda _: 0) >> Task(fails).using(big=made),
        made >> (lambda _: 0) >> race(Task(use).using(big=made), Task(_hangs(world))),
        (lambda x: [x, x]) >> each(made >> (lambda _: 0) >> Task(use).using(big=made)),
        (made >> (lambda _: 0) >> Task(_hangs(world)) >> Task(use).using(big=made)).timeout(5),
    ]
    for chain in chains:
        outcome = await world.run(chain(1))
        assert outcome.result is not None
        del outcome
    await world.pause(20)

    def gone() -> bool:
        gc.collect()
        return all(ref() is None for ref in seen)

    await world.until(gone)


async def test_a_limit_between_the_two(world: World, user: Any) -> None:
    chain = (user >> Task(_hangs(world)).timeout(world.short).or_else("late")) >> Task(after).using(user=user)
    assert (await world.run(chain(1))).unwrap() == ("late", "user 1")
    ended = (user >> Task(_hangs(world)) >> Task(after).using(user=user)).timeout(world.short)
    outcome = await world.run(ended(1))
    assert type(outcome.result.failure()) is TaskTimedOut
    assert [r.status for r in outcome] == ["succeeded", "timed_out", "skipped"]


@pytest.mark.real_time
async def test_sync_functions(world: World) -> None:
    def find(x: int) -> str:
        return f"user {x}"

    def greet(word: str, *, user: str) -> str:
        return f"{word}, {user}"

    user = Task(find)
    chain = user >> (lambda _: "hello") >> Task(greet).using(user=user).timeout(5_000)
    for k in range(5):
        assert (await world.run(chain(k))).unwrap() == f"hello, user {k}"
