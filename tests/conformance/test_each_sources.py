"""Where the items of ``each`` come from: what may be iterated, how far ahead, and what becomes of a generator."""

from __future__ import annotations

import threading
from collections import OrderedDict, UserList, deque
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
from conformance.harness import World
from conformance.works import HANG, Source, Works

from rio_chain import (
    BridgeFailed,
    NotEnoughSuccesses,
    Request,
    Task,
    TaskTimedOut,
    at_least,
    each,
    expand,
    fan_out,
    race,
)


class Countdown:
    """An iterable of one's own."""

    def __iter__(self) -> Any:
        return iter([3, 2, 1])


class ACountdown:
    """The same, async, and no generator."""

    def __init__(self) -> None:
        self.left = 4

    def __aiter__(self) -> ACountdown:
        return self

    async def __anext__(self) -> int:
        self.left -= 1
        if not self.left:
            raise StopAsyncIteration
        return self.left


class Old:
    """A sequence of the old style."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> int:
        return [3, 2, 1][index]


class Mine(list[int]):
    """A list that says for itself what is in it."""

    def __iter__(self) -> Any:
        return iter([3, 2, 1])


async def yields() -> Any:
    for x in (3, 2, 1):
        yield x


MADE: dict[str, Any] = {
    "list": lambda: [3, 2, 1],
    "tuple": lambda: (3, 2, 1),
    "set": lambda: {3, 2, 1},
    "frozenset": lambda: frozenset((3, 2, 1)),
    "dict": lambda: {3: 0, 2: 0, 1: 0},
    "keys": {3: 0, 2: 0, 1: 0}.keys,
    "values": {"a": 3, "b": 2, "c": 1}.values,
    "ordered": partial(OrderedDict, {3: 0, 2: 0, 1: 0}),
    "range": lambda: range(3, 0, -1),
    "deque": partial(deque, [3, 2, 1]),
    "userlist": partial(UserList, [3, 2, 1]),
    "iterator": partial(iter, [3, 2, 1]),
    "map": partial(map, int, "321"),
    "generator": lambda: (x for x in (3, 2, 1)),
    "asyncgen": yields,
    "custom": Countdown,
    "acustom": ACountdown,
    "old": Old,
    "subclass": partial(Mine, [9, 9]),
}


@pytest.mark.parametrize("kind", list(MADE))
@pytest.mark.real_time
async def test_all_that_can_be_iterated(world: World, kind: str) -> None:
    works = Works(world)
    for limit in (1, 2, 10):
        outcome = await world.run(each(Task(works.do), limit=limit)(MADE[kind]()))
        expected = sorted([3, 2, 1]) if "set" in kind else [3, 2, 1]
        assert (sorted(outcome.unwrap()) if "set" in kind else outcome.unwrap()) == expected
        assert outcome.only.attempts == 3


@pytest.mark.parametrize("where", ["task", "bridge", "given"])
@pytest.mark.parametrize("kind", ["plain", "slow"])
@pytest.mark.real_time
async def test_generator_functions(world: World, kind: str, where: str) -> None:
    source, works = Source(world, 25), Works(world)
    make: Any = getattr(source, kind)
    inner = each(Task(works.do).named("work"), limit=4)
    first = Task(lambda x: x).named("first").inline()
    chain, value = {
        "task": (Task(make).named("first") >> inner, 0),
        "bridge": (first >> make >> inner, 0),
        "given": (inner, make(0)),
    }[where]
    outcome = await world.run(chain(value))
    assert outcome.unwrap() == list(range(25))
    assert (source.taken, source.closed) == (25, 1)
    assert {r.status for r in outcome} == {"succeeded"}
    assert works.most <= 4


async def test_an_item_may_be_anything(world: World) -> None:
    async def kind(x: object) -> str:
        return type(x).__name__

    items = [None, [], (), Exception("e"), ..., object]
    outcome = await world.run(each(Task(kind), limit=2)(items))
    assert outcome.unwrap() == ["NoneType", "list", "tuple", "Exception", "ellipsis", "type"]


async def test_a_range_longer_than_a_length_can_say(world: World) -> None:
    # those after the one that fails don't end, so no worker takes another one before the failure is known
    works = Works(world, ms=lambda x: HANG if x > 5 else 1, error=lambda x: OSError(x) if x == 5 else None)
    outcome = await world.run(each(Task(works.do), limit=2)(range(10**30)))
    assert str(outcome.result.failure()) == "5"
    assert len(works.begun) <= 7


# --- how far ahead ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "slow"])
@pytest.mark.real_time
async def test_an_endless_generator_ends_with_a_failure(world: World, kind: str) -> None:
    source = Source(world)
    works = Works(world, ms=lambda x: 1 if x == 3 else HANG, error=OSError)
    outcome = await world.run((Task(getattr(source, kind)).named("s") >> each(Task(works.do), limit=5))(0))
    assert str(outcome.result.failure()) == "3"
    assert 4 <= source.taken <= 10, "those that run, and at most as many ahead"
    assert source.closed == 1
    assert [r.status for r in outcome] == ["succeeded", "failed"]


@pytest.mark.parametrize("kind", ["plain", "slow"])
@pytest.mark.real_time
async def test_an_endless_generator_ends_with_a_limit(world: World, kind: str) -> None:
    source, works = Source(world), Works(world, cleanup=1)

    def request() -> Request[Any]:
        nonlocal source
        source = Source(world)
        chain = (Task(getattr(source, kind)).named("s") >> each(Task(works.do), limit=5)).timeout(world.short)
        return (chain >> Task(works.do).named("after"))(0)

    outcome = await world.run_until_begun(request, lambda: works.begun)
    assert type(outcome.result.failure()) is TaskTimedOut
    await world.until(lambda: source.closed == 1)  # one that runs on a thread is closed when it comes back
    assert works.running == 0
    assert outcome["do"].status == "timed_out"
    assert outcome["after"].status == "skipped"
    taken = source.taken
    await world.pause(20)
    assert source.taken == taken


@pytest.mark.parametrize("kind", ["plain", "slow"])
@pytest.mark.real_time
async def test_no_more_is_taken_than_there_is_room_for(world: World, kind: str) -> None:
    source, gate = Source(world), world.gate()

    async def waits(x: int) -> int:
        await gate.passed()
        raise OSError(x)

    child = world.start(lambda: world.run((Task(getattr(source, kind)) >> each(Task(waits), limit=3))(0)))
    await world.until(lambda: source.taken >= 3)
    await world.pause(20)
    assert source.taken <= 6
    gate.open()
    assert type((await child.result()).result.failure()) is OSError
    assert source.closed == 1


@pytest.mark.parametrize("kind", ["plain", "async"])
@pytest.mark.real_time
async def test_a_generator_may_wait_for_what_comes_of_its_items(world: World, kind: str) -> None:
    if kind == "plain":
        world.not_virtual("a plain generator stops all that would go on beside it")
    done: list[int] = []

    def plain(n: int) -> Any:
        for x in range(n):
            yield x
            while x not in done:
                world.block(1)

    async def slow(n: int) -> Any:
        for x in range(n):
            yield x
            await world.until(lambda x=x: x in done)

    async def work(x: int) -> int:
        done.append(x)
        return x

    make: Any = plain if kind == "plain" else slow
    for limit in (1, 2, 10):
        done.clear()
        outcome = await world.run((Task(make) >> each(Task(work), limit=limit))(5), deadline=5_000)
        assert outcome.unwrap() == list(range(5))


@pytest.mark.real_time
async def test_an_item_does_not_wait_for_the_one_after_it(world: World) -> None:
    begun = threading.Event()

    def pages(_: object) -> Any:
        yield from range(3)
        assert begun.wait(10), "the next page comes only when the items of this one are under way"
        yield from range(3, 6)

    async def work(x: int) -> int:
        if x == 2:
            begun.set()
        return x

    outcome = await world.run((Task(pages) >> each(Task(work), limit=3))(0))
    assert outcome.unwrap() == list(range(6))


@pytest.mark.real_time
async def test_a_generator_that_is_stuck_is_left_alone_at_the_limit(world: World) -> None:
    world.not_virtual("a sync function takes no time, so no limit ends it")
    free, closed = threading.Event(), threading.Event()

    def stuck(_: object) -> Any:
        try:
            yield 0
            free.wait(10)
            yield 1
        finally:
            closed.set()

    works = Works(world)
    chain = (Task(stuck) >> each(Task(works.do), limit=2)).timeout(world.short)
    try:
        outcome = await world.run(chain(0))
        assert type(outcome.result.failure()) is TaskTimedOut
        assert set(works.ended) <= {0}, "a busy machine may not come so far"
    finally:
        free.set()
    await world.until(closed.is_set)


async def test_an_async_generator_is_cancelled_where_it_waits(world: World) -> None:
    ends: list[str] = []

    async def stuck(_: object) -> Any:
        yield 0
        try:
            await world.pause(HANG)
        finally:
            await world.shielded(5)
            ends.append("cleaned up")

    works = Works(world)
    before = world.cancelling()
    outcome = await world.run((Task(stuck) >> each(Task(works.do), limit=3)).timeout(world.short)(0))
    assert type(outcome.result.failure()) is TaskTimedOut
    assert (ends, works.ended, world.cancelling()) == (["cleaned up"], [0], before)

    child = world.start(lambda: world.run((Task(stuck) >> each(Task(works.do), limit=3))(0)))
    await world.until(lambda: len(works.ended) == 2)
    child.stop()
    await child.ended()
    assert child.cancelled
    assert ends == ["cleaned up"] * 2


# --- what goes wrong in it ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("on_error", ["raise", "keep", "drop"])
@pytest.mark.parametrize("kind", ["plain", "slow"])
@pytest.mark.real_time
async def test_what_a_generator_raises_is_the_failure_of_its_task(world: World, kind: str, on_error: Any) -> None:
    error = LookupError("half-way")
    source, works = Source(world, 3, error), Works(world, ms=lambda _: HANG, cleanup=1)
    chain = Task(getattr(source, kind)).named("s") >> each(Task(works.do).named("w"), limit=9, on_error=on_error)
    outcome = await world.run((chain >> Task(works.do).named("after"))(0))
    assert outcome.result.failure() is error
    assert [(r.name, r.status) for r in outcome] == [("s", "failed"), ("w", "cancelled"), ("after", "skipped")]
    assert outcome["s"].result.failure() is error
    assert (sorted(works.cancelled), works.running) == (sorted(works.begun), 0)
    assert source.closed == 1


@pytest.mark.parametrize("kind", ["plain", "slow"])
@pytest.mark.real_time
async def test_with_a_bridge_in_between_that_is_named(world: World, kind: str) -> None:
    source, works = Source(world, 2, LookupError("half-way")), Works(world)
    chain = Task(works.do).named("first") >> getattr(source, kind) >> each(Task(works.do).named("w"))
    outcome = await world.run(chain(0))
    error = outcome.result.failure()
    assert type(error) is BridgeFailed
    assert (error.bridge, type(error.error)) == (kind, LookupError)
    assert outcome["first"].status == "succeeded"


@pytest.mark.parametrize("value", [7, None, "text", b"bytes", bytearray(b"bytes"), object()])
async def test_what_can_not_be_iterated(world: World, value: Any) -> None:
    works = Works(world)
    chain = Task(lambda: value).named("first").inline() >> each(Task(works.do).named("w")) >> Task(works.do).named("z")
    outcome = await world.run(chain())
    error = outcome.result.failure()
    assert type(error) is BridgeFailed
    assert str(error).startswith(
        "bridge `each(w)` between `first` and `w` failed: TypeError('`each` takes an iterable; got"
    )
    assert ("split it first" in str(error)) == isinstance(value, (str, bytes, bytearray))
    assert [r.status for r in outcome] == ["succeeded", "skipped", "skipped"]
    assert outcome["w"].result.failure() is error


async def test_a_value_that_is_changed_on_the_way(world: World) -> None:
    value = {x: x for x in range(9)}
    works = Works(world, ms=lambda x: HANG if x else 1, ready=lambda x: x or 1 in works.begun)

    async def work(x: int) -> int:
        await works.do(x)
        value[x + 100] = 1
        return x

    outcome = await world.run(each(Task(work), limit=2)(value))
    error = outcome.result.failure()
    assert (type(error), type(error.error)) == (BridgeFailed, RuntimeError)
    assert (works.cancelled, outcome.only.status) == ([1], "succeeded")
    assert outcome.only.counts == {"succeeded": 1, "cancelled": 1}


@pytest.mark.real_time
async def test_iterables_that_refuse(world: World) -> None:
    class Refuses:
        def __iter__(self) -> Any:
            raise LookupError

    class Lies:
        def __iter__(self) -> Any:
            return 7

    class ARefuses:
        def __aiter__(self) -> Any:
            raise LookupError

    class Odd:
        __iter__ = None

    works = Works(world)
    for value, kind in ((Refuses(), LookupError), (Lies(), TypeError), (ARefuses(), LookupError), (Odd(), TypeError)):
        outcome = await world.run(each(Task(works.do))(value))
        error = outcome.result.failure()
        assert (type(error), type(error.error)) == (BridgeFailed, kind)
        assert outcome.only.status == "skipped"


@pytest.mark.real_time
async def test_a_generator_is_never_read_twice_in_silence(world: World) -> None:
    works = Works(world, error=lambda x: OSError(x) if x == 1 else None)
    made = Task(lambda n: (x for x in range(n))).named("first").inline()
    retried = await world.run((made >> each(Task(works.do), limit=1).retry(2, backoff=None))(3))
    assert type(retried.result.failure()) is BridgeFailed
    other = await world.run((made >> each(Task(works.do)).or_else(each(Task(works.do).named("b"))))(3))
    assert type(other.result.failure()) is BridgeFailed
    works.error = lambda x: OSError(x) if len(works.begun) == 2 else None
    works.begun.clear()
    whole = await world.run((made >> each(Task(works.do), limit=1)).retry(2, backoff=None)(3))
    assert whole.unwrap() == [0, 1, 2]


async def test_a_file_like_iterator_is_not_closed(world: World) -> None:
    class Stream(ACountdown):
        closed = 0

        async def aclose(self) -> None:
            self.closed += 1

    stream, works = Stream(), Works(world, error=OSError)
    outcome = await world.run(each(Task(works.do))(stream))
    assert type(outcome.result.failure()) is OSError
    assert stream.closed == 0


async def test_too_few_of_a_generator(world: World) -> None:
    source = Source(world, 4)
    works = Works(world, error=lambda x: OSError(x) if x else None)
    outcome = await world.run((Task(source.slow) >> each(Task(works.do), limit=2, on_error=at_least(2)))(0))
    assert type(outcome.result.failure()) is NotEnoughSuccesses
    assert (source.taken, source.closed) == (4, 1)


@pytest.mark.real_time
async def test_generators_in_branches_and_races_are_closed(world: World) -> None:
    sources = [Source(world) for _ in range(4)]
    works = Works(world, ms=lambda _: 5)

    async def quick(_: object) -> str:
        await world.until(lambda: all(source.taken for source in sources))
        return "quick"

    async def fails(_: object) -> str:
        raise OSError(await quick(_))

    def part(k: int, kind: str) -> Any:
        return Task(getattr(sources[k], kind)).named(f"s{k}") >> each(Task(works.do).named(f"w{k}"), limit=2)

    for chain in (
        race(part(0, "slow"), part(1, "plain"), part(2, "slow"), part(3, "plain"), Task(quick)),
        fan_out(part(0, "slow"), part(1, "plain"), part(2, "slow"), part(3, "plain"), Task(fails)),
        fan_out(part(0, "slow"), part(1, "plain"), part(2, "slow"), part(3, "plain"), Task(quick), need=1),
    ):
        for source in sources:
            source.taken = source.closed = 0
        outcome = await world.run(chain(0))
        assert str(outcome.value_or(("quick",))) in {"quick", "('quick',)"}
        await world.until(lambda: [source.closed for source in sources] == [1] * 4)
        assert works.running == 0


async def test_a_limit_beyond_all_bounds_starts_no_worker_for_each(world: World) -> None:
    async def numbers(n: int) -> AsyncIterator[int]:
        for i in range(n):
            yield i

    async def same(x: int) -> int:
        return x

    several = Task(numbers) >> each(Task(same), limit=10**12)
    assert (await world.run(several(5))).unwrap() == [0, 1, 2, 3, 4]
    assert (await world.run(expand(Task(lambda x: []).inline(), limit=10**12)(1))).unwrap() == [[]]
