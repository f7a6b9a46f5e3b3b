"""What a body learns from ``current_attempt()`` and ``Deadline.current()``: its key, its end, its limit."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from attrs import define, field
from conformance.harness import World

from rio_chain import (
    Deadline,
    Limit,
    Task,
    choose,
    current_attempt,
    each,
    expand,
    fan_out,
    quorum,
    race,
    remaining,
    settle,
    when,
)

NEVER = "a sync function is never abandoned there"


class Keys:
    """A backend that notes the key of each call, by task and input."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.calls: list[tuple[Any, str]] = []

    def note(self, what: Any) -> None:
        self.calls.append((what, current_attempt().key))

    def of(self, *what: Any) -> set[str]:
        """The keys of the calls with one of these inputs."""
        return {key for name, key in self.calls if name in what}

    async def fails(self, x: Any) -> Any:
        self.note(x)
        raise OSError(x)

    async def slow(self, x: Any) -> Any:
        self.note(x)
        await self.world.pause(60)
        return x

    async def fetch(self, x: Any) -> Any:
        self.note(x)
        return x

    def blocking(self, x: Any) -> Any:
        self.note(x)
        raise OSError(x)


@pytest.fixture
def keys(world: World) -> Keys:
    return Keys(world)


# --- the key ----------------------------------------------------------------------------------------------------


async def test_all_attempts_of_a_task_in_a_run_have_one_key_and_other_runs_have_others(
    world: World, keys: Keys
) -> None:
    chain = Task(keys.fails).retry(2, backoff=None)
    await world.run(chain("first"))
    await world.run(chain("second"))
    assert len(keys.calls) == 6
    assert len(keys.of("first")) == len(keys.of("second")) == 1
    assert keys.of("first") != keys.of("second")
    assert all(re.fullmatch("[0-9a-f]{32}", key) for _, key in keys.calls)


@pytest.mark.real_time
async def test_the_same_holds_for_sync_functions_and_retries_around_more(world: World, keys: Keys) -> None:
    chain = (Task(keys.fetch) >> Task(keys.blocking).retry(1, backoff=None)).retry(1, backoff=None)
    await world.run(chain("x"))
    assert len(keys.calls) == 6
    assert len(keys.of("x")) == 2, "one for each of the two tasks"
    assert len({key for _, key in (keys.calls[0], keys.calls[3])}) == 1, "the first task, twice"


async def test_hedges_have_the_key_of_the_first_call(world: World, keys: Keys) -> None:
    elsewhere = Task(keys.slow).named("elsewhere")
    slow, fails = Task(keys.slow), Task(keys.fails)
    for chain in (slow.replica(3), slow.replica(2, after=5), fails.replica(3, after=None)):
        await world.run(chain("one place"))
        assert len(keys.of("one place")) == 1
        keys.calls.clear()
    await world.run(Task(keys.slow).replica(to=[elsewhere])("two places"))
    assert len(keys.calls) == 2
    assert len(keys.of("two places")) == 1
    await world.run(race(Task(keys.slow), elsewhere)("two chains"))
    assert len(keys.of("two chains")) == 2, "these are different tasks"


async def test_each_item_has_its_own_key_and_keeps_it(world: World, keys: Keys) -> None:
    async def numbers(x: str) -> list[str]:
        return [f"{x}{n}" for n in range(4)]

    items = each(Task(keys.fails).retry(1, backoff=None), limit=2, on_error="keep") >> list
    for x in ("a", "b"):
        await world.run((Task(numbers) >> items >> Task(keys.fails).retry(1, backoff=None)).retry(1, backoff=None)(x))
    names = [f"{x}{n}" for x in ("a", "b") for n in range(4)]
    assert [sum(name == called for called, _ in keys.calls) for name in names] == [4] * 8
    assert all(len(keys.of(name)) == 1 for name in names)
    assert len(keys.of(*names)) == 8


async def test_items_of_items_have_keys_of_their_own(world: World, keys: Keys) -> None:
    chain = each(each(Task(keys.fetch)), limit=2).retry(1)
    await world.run(chain([["a", "b"], ["c", "d"]]))
    assert len(keys.of("a", "b", "c", "d")) == 4


async def test_pieces_of_an_expand_keep_their_keys_whatever_comes_first(world: World, keys: Keys) -> None:
    rounds = [0]

    async def links(page: str) -> list[str]:
        keys.note(page)
        await world.pause({"0a": 20, "0b": 5, "1a": 5, "1b": 20}.get(f"{rounds[0]}{page}", 1))
        return [page + "a", page + "b"] if len(page) < 2 else []

    async def again(_: Any) -> None:
        rounds[0] += 1
        raise OSError

    crawl = expand(Task(links), limit=2)
    await world.run((crawl >> Task(again)).retry(1, backoff=None)(""))
    pages = {page for page, _ in keys.calls}
    assert len(pages) == 7
    assert len(keys.calls) == 14
    assert all(len(keys.of(page)) == 1 for page in pages)
    assert len(keys.of(*pages)) == 7


@pytest.mark.parametrize("text", [str, len, lambda page: (len(page), page)], ids=["str", "int", "tuple"])
async def test_a_piece_that_is_found_on_another_way_keeps_its_key(
    world: World, keys: Keys, text: Callable[[str], Any]
) -> None:
    rounds = [0]
    found = {"": ["a", "bb"], "a": ["shared"], "bb": ["shared"]}

    async def links(page: str) -> list[str]:
        keys.note(page)
        await world.pause(20 if page == ("a", "bb")[rounds[0]] else 1)
        return found.get(page, [])

    async def again(_: Any) -> None:
        rounds[0] += 1
        if rounds[0] < 2:
            raise OSError

    crawl = expand(Task(links), limit=2, key=text) >> Task(again)
    await world.run(crawl.retry(1, backoff=None)(""))
    assert len(keys.calls) == 8
    assert len(keys.of("shared")) == 1
    assert len(keys.of(*found, "shared")) == 4


async def test_branches_and_routes_have_keys_of_their_own(world: World, keys: Keys) -> None:
    one, two = Task(keys.fetch).named("one"), Task(keys.fetch).named("two")
    routed = choose(when(bool, one), otherwise=two) & two.named("three")
    for chain in (one & two, settle(one, two), fan_out(one, two, need=2), routed):
        keys.calls.clear()
        await world.run(chain("x"))
        assert len(keys.calls) == len(keys.of("x")) == 2


async def test_a_request_that_a_function_returns_belongs_to_the_run(world: World, keys: Keys) -> None:
    pay = Task(keys.fails).retry(1, backoff=None)

    async def chosen(x: str) -> Any:
        return pay(x)

    await world.run(Task(chosen).retry(1, backoff=None)("paid once"))
    assert len(keys.calls) == 4
    assert len(keys.of("paid once")) == 1
    keys.calls.clear()
    fetch = Task(keys.fetch)
    await world.run((Task(chosen).or_else("") >> (lambda _: fetch("second")) >> (lambda _: fetch("third")))("first"))
    assert len(keys.of("first", "second", "third")) == 3, "each place that returns a Request has its own"


async def test_a_run_that_a_body_begins_is_a_run_of_its_own(world: World, keys: Keys) -> None:
    async def body(x: str) -> None:
        await Task(keys.fetch)(x)
        await Task(keys.fetch)(x)

    await world.run(Task(body)("x"))
    assert len(keys.of("x")) == 2


@pytest.mark.real_time
async def test_bodies_that_ask_at_the_same_moment_have_the_keys_of_one_run(world: World) -> None:
    on_threads(world)
    found: list[str] = []
    barrier = threading.Barrier(2)

    def body(x: Any) -> None:
        barrier.wait(5)
        found.append(current_attempt().key)

    for _ in range(20):
        found.clear()
        await world.run(Task(body).replica(2, pick=quorum(2))(1))
        assert len(found) == 2
        assert len(set(found)) == 1


async def test_an_observed_run_has_keys_too(world: World, keys: Keys) -> None:
    chain = each(Task(keys.fails).replica(2).retry(1, backoff=None), on_error="keep")
    async for _ in chain(["a", "b"]).stream():
        pass
    assert len(keys.calls) == 8
    assert len(keys.of("a")) == len(keys.of("b")) == 1
    assert len(keys.of("a", "b")) == 2


# --- cancelled --------------------------------------------------------------------------------------------------


@define(eq=False)
class Long:
    """A long sync function that stops when nobody waits for it any more, or after ten seconds."""

    calls: int = 0
    stopped: list[bool] = field(factory=list)
    held: bool = False
    """It asks the ``Attempt`` that it got when it began, instead of a new one."""

    def __call__(self, x: Any) -> Any:
        self.calls += 1
        attempt, until = current_attempt(), time.monotonic() + 10
        while time.monotonic() < until:
            if (attempt if self.held else current_attempt()).cancelled:
                self.stopped.append(True)
                return x
            time.sleep(0.001)
        self.stopped.append(False)
        return x


def on_threads(world: World) -> None:
    world.not_virtual(NEVER)


async def ended(world: World, long: Long, calls: int = 1) -> None:
    await world.until(lambda: len(long.stopped) == calls)
    assert long.stopped == [True] * calls


@pytest.mark.real_time
@pytest.mark.parametrize("held", [False, True])
async def test_a_long_function_stops_when_a_limit_has_passed(world: World, held: bool) -> None:
    on_threads(world)
    for chain, deadline in (
        (lambda long: Task(long).timeout(world.short), None),
        (lambda long: Task(long).retry(1, backoff=None).timeout(world.short), None),
        (lambda long: Task(long).limit(Limit(1)).timeout(world.short), None),
        (lambda long: Task(lambda x: x) >> long >> Task(lambda x: x).named("b"), world.short),  # a bridge
        (lambda long: each(Task(long)), world.short),
        (Task, world.short),
    ):
        while True:
            long = Long(held=held)
            await world.run(chain(long)([1]), deadline=deadline and world.short)  # type: ignore[no-untyped-call]
            if long.calls:
                break
            world.short *= 2  # a busy machine has not begun within the limit
        await ended(world, long)


@pytest.mark.real_time
async def test_each_attempt_that_is_given_up_stops(world: World) -> None:
    on_threads(world)
    long = Long()
    await world.run(Task(long).timeout(world.short).retry(1, backoff=None)(1))
    await ended(world, long, calls=2)


@pytest.mark.real_time
async def test_a_loser_stops(world: World) -> None:
    on_threads(world)

    async def quick(x: Any) -> Any:
        await world.until(lambda: long.calls)
        return x

    async def fails(_: Any) -> Any:
        await world.until(lambda: long.calls)
        raise OSError

    for chain in (
        lambda task: race(Task(quick), task),
        lambda task: Task(fails) & task,
        lambda task: fan_out(Task(quick), task, need=1),
    ):
        long = Long()
        await world.run(chain(Task(long))(1))  # type: ignore[no-untyped-call]
        await ended(world, long)


@pytest.mark.real_time
async def test_it_stops_when_the_caller_is_cancelled(world: World) -> None:
    on_threads(world)
    long = Long()
    child = world.start(lambda: world.run(Task(long)(1)))
    await world.until(lambda: long.calls)
    child.stop()
    await child.ended()
    await ended(world, long)


@pytest.mark.real_time
async def test_it_stops_when_its_ticket_is_cancelled_or_the_balancer_closes(world: World) -> None:
    on_threads(world)
    for how in ("cancel", "close"):
        long = Long()
        async with world.balancer() as balancer:
            ticket = balancer.post(Task(long)(1))
            await world.until(lambda: long.calls)  # noqa: B023
            if how == "cancel":
                ticket.cancel()
            else:
                await balancer.aclose(grace=0)
            assert (await ticket).result.failure()
            await ended(world, long)


@pytest.mark.real_time
async def test_a_function_of_a_run_inside_of_a_cancelled_call_stops(world: World) -> None:
    on_threads(world)
    long = Long()

    def body(x: Any) -> Any:
        return Task(long)(x).run(executor="thread")

    async def quick(x: Any) -> Any:
        await world.until(lambda: long.calls)
        return x

    await world.run(race(Task(quick), Task(body))(1))
    await ended(world, long)


@pytest.mark.real_time
async def test_an_inline_function_learns_that_its_limit_has_passed(world: World) -> None:
    world.not_virtual("no time passes while a function runs")
    looks: list[bool] = []

    def body(x: Any) -> Any:
        looks.append(current_attempt().cancelled)
        world.block(world.short)
        looks.append(current_attempt().cancelled)
        return x

    await world.run(Task(body).inline().timeout(world.short / 2)(1))
    assert looks == [False, True]


@pytest.mark.real_time
async def test_an_attempt_that_is_waited_for_is_not_cancelled(world: World) -> None:
    looks: list[bool] = []

    async def nested(x: Any) -> Any:
        looks.append(current_attempt().cancelled)
        return x

    async def body(x: Any) -> Any:
        await Task(nested)(x)
        looks.append(current_attempt().cancelled)
        return x

    def sync(x: Any) -> Any:
        looks.append(current_attempt().cancelled)
        return x

    chain = Task(body).timeout(5_000).replica(2) >> Task(sync) >> each(Task(sync).named("items"))
    await world.run((Task(lambda x: x) >> chain)([1, 2]))
    assert len(looks) >= 5
    assert not any(looks)


# --- the deadline -----------------------------------------------------------------------------------------------


@pytest.mark.real_time
async def test_the_current_deadline_is_the_earliest_limit(world: World) -> None:
    looks: list[tuple[float, float]] = []

    async def body(x: Any) -> Any:
        looks.append((Deadline.current().remaining(), remaining()))
        return x

    def sync(x: Any) -> Any:
        looks.append((Deadline.current().remaining(), remaining()))
        return x

    for fn in (body, sync):
        await world.run((Task(fn).timeout(5_000) >> Task(fn).named("b")).timeout(20_000)(1), deadline=100_000)
    for (deadline, left), most in zip(looks, [5_000, 20_000] * 2, strict=True):
        assert most - 4_000 < left <= deadline <= most
    assert Deadline.current() == Deadline(float("inf"))


@pytest.mark.real_time
async def test_a_bridge_does_not_see_the_limit_of_the_task_before(world: World) -> None:
    looks: list[tuple[float, float, bool]] = []

    def look(x: Any) -> Any:
        looks.append((Deadline.current().remaining(), remaining(), current_attempt().cancelled))
        return x

    async def alook(x: Any) -> Any:
        return look(x)

    async def body(x: Any) -> Any:
        return x

    for bridge in (look, alook):
        quick = Task(body).timeout(1_000)
        await world.run((quick >> bridge >> quick >> bridge)(1), deadline=100_000)
    assert len(looks) == 4
    for deadline, left, cancelled in looks:
        assert 90_000 < left <= deadline <= 100_000
        assert not cancelled


async def test_the_next_hop_learns_what_is_left(world: World) -> None:
    async def body(_: Any) -> dict[str, str]:
        return Deadline.current().headers()

    sent = (await world.run(Task(body).timeout(5_000)(1))).unwrap()
    received = Deadline.from_headers(sent, default=100)
    assert 1_000 < received.remaining() <= 5_000
    assert "inf" not in str((await world.run(Task(body)(1))).unwrap()), "abandon_after is a limit, too"


@pytest.mark.real_time
async def test_in_an_abandoned_body_the_deadline_has_passed(world: World) -> None:
    on_threads(world)
    seen: list[Deadline] = []

    def body(_: Any) -> None:
        until = time.monotonic() + 10
        while not current_attempt().cancelled and time.monotonic() < until:
            time.sleep(0.001)
        seen.append(Deadline.current())

    async def quick(x: Any) -> Any:
        await world.pause(5)
        return x

    for chain in (Task(body).timeout(world.short), race(Task(quick), Task(body)).timeout(60_000)):
        seen.clear()
        await world.run(chain(1))
        await world.until(lambda: seen)
        assert seen[0].remaining() <= 0
        assert seen[0].headers()["x-deadline-ms"] == "0"
