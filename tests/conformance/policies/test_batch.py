"""Batch: calls that come at the same time become one, and each caller gets its own value or error."""

from __future__ import annotations

from itertools import chain
from typing import Any

import pytest
from conformance.harness import World
from conformance.policies.batches import Backend, gathered, in_one_run, now, waiting
from returns.result import Failure, Success

from rio_chain import (
    Batch,
    BatchMismatch,
    CallbackFailed,
    Task,
    TaskTimedOut,
    current_attempt,
    each,
    fan_out,
    remaining,
    settle,
)

LONG = 10_000
"""Milliseconds that no test waits: where calls would wait out that much, it fails by the time it takes."""


def results(outcomes: list[Any]) -> list[Any]:
    return [outcome.result for outcome in outcomes]


# --- which calls become one -----------------------------------------------------------------------------------------


async def test_calls_of_one_run_become_one_with_the_keys_in_order(world: World) -> None:
    back = Backend()
    user = Task(back.fetch_many).batch(Batch(wait=LONG))
    outcome = await world.run(each(user, limit=10)([3, 1, 2]))
    assert outcome.result == Success(["user 3", "user 1", "user 2"])
    assert sorted(back.asked[0]) == [1, 2, 3]
    assert back.asked == [[3, 1, 2]] or world.mode.startswith(("trio", "thread")), "there strands begin in any order"


async def test_a_key_is_asked_once_and_all_who_asked_get_the_same(world: World) -> None:
    back = Backend(value=lambda key: [key])
    user = Task(back.fetch_many).batch(Batch(wait=LONG))
    values = (await world.run(each(user, limit=10)([1, 2, 1, 1]))).unwrap()
    assert values == [[1], [2], [1], [1]]
    assert values[0] is values[2] is values[3]
    assert sorted(back.asked[0]) == [1, 2]


async def test_no_call_has_more_than_size_keys(world: World) -> None:
    back = Backend()
    user = Task(back.fetch_many).batch(Batch(size=2, wait=LONG))
    outcome = await world.run(each(user, limit=10)([1, 2, 3]))
    assert outcome.result == Success(["user 1", "user 2", "user 3"])
    assert sorted(map(len, back.asked)) == [1, 2]
    assert sorted(chain.from_iterable(back.asked)) == [1, 2, 3]


async def test_bodies_that_await_requests_join_within_wait(world: World) -> None:
    back = Backend()
    user = Task(back.fetch_many).batch(Batch(wait=20))

    async def nested(key: int) -> str:
        await world.pause(1)
        value: str = (await user(key)).unwrap()
        return value

    async def deeper(key: int) -> str:
        return await nested(key)

    outcomes = await in_one_run(world, user(1), user(2), Task(nested)(3), Task(deeper)(4))
    assert results(outcomes) == [Success(f"user {key}") for key in (1, 2, 3, 4)]
    assert [sorted(keys) for keys in back.asked] == [[1, 2, 3, 4]]


async def test_what_comes_after_wait_is_asked_anew(world: World) -> None:
    back = Backend()
    user = Task(back.fetch_many).batch(Batch(wait=5))

    async def late(key: int) -> str:
        await world.pause(60)
        value: str = (await user(key)).unwrap()
        return value

    outcomes = await in_one_run(world, user(1), user(2), Task(late)(1))
    assert results(outcomes) == [Success("user 1"), Success("user 2"), Success("user 1")]
    assert [sorted(keys) for keys in back.asked] == [[1, 2], [1]], "nothing is kept"


@pytest.mark.parametrize("wait", [0, 30])
async def test_it_waits_no_longer_than_wait(world: World, wait: float) -> None:
    times = []

    async def fetch_many(keys: list[int]) -> list[int]:
        times.append(now())
        return keys

    user = Task(fetch_many).batch(Batch(wait=wait))

    async def body(_: object) -> None:
        times.append(now())
        await user(1)

    await world.run(Task(body)(7))
    assert world.about(times[1] - times[0], wait)


async def test_branches_of_a_run_wait_for_nobody(world: World) -> None:
    """Also where one of them asks a second batch, ends later or begins in an ``each`` inside of it."""
    users, shops = Backend(), Backend(value=lambda key: f"shop {key}")
    user = Task(users.fetch_many).batch(Batch(wait=LONG))
    shop = Task(shops.fetch_many).batch(Batch(wait=LONG))

    async def other(key: int) -> int:
        await world.pause(5)
        return key

    page = fan_out(
        user,
        shop,
        Task(other),
        (lambda key: [key, key + 1]) >> each(user, limit=5),
        user >> (lambda _: 9) >> settle(user, shop),
    )
    begun = world.now()
    outcome = await world.run(page(1))
    assert outcome.result == Success(
        ("user 1", "shop 1", 1, ["user 1", "user 2"], (Success("user 9"), Success("shop 9")))
    )
    assert [sorted(keys) for keys in users.asked] == [[1, 2], [9]]
    assert [sorted(keys) for keys in shops.asked] == [[1], [9]]
    assert world.about(world.now() - begun, 5)


async def test_a_hundred_items_ten_at_once_make_ten_calls(world: World) -> None:
    back = Backend()
    user = Task(back.fetch_many).batch(Batch(wait=LONG))
    outcome = await world.run(each(user, limit=10)(range(100)))
    assert outcome.result == Success([f"user {key}" for key in range(100)])
    assert sorted(chain.from_iterable(back.asked)) == list(range(100))
    assert [len(keys) for keys in back.asked] == [10] * 10


async def test_a_batch_function_may_ask_other_batches_which_still_batch(world: World) -> None:
    teams = Backend(value=lambda key: f"team {key}")
    team = Task(teams.fetch_many).batch(Batch(wait=20))
    asked: list[list[int]] = []

    async def fetch_users(keys: list[int]) -> list[Any]:
        asked.append(keys)
        return [(key, found.unwrap()) for key, found in zip(keys, await gathered(world, map(team, keys)), strict=True)]

    user = Task(fetch_users).batch(Batch(wait=20))
    shop = Task(fetch_users).named("shop").batch(Batch(wait=20))
    outcomes = await in_one_run(world, user(1), user(2), shop(3), shop(2))
    assert results(outcomes) == [Success((key, f"team {key}")) for key in (1, 2, 3, 2)]
    assert sorted(map(sorted, asked)) == [[1, 2], [2, 3]]
    assert [sorted(keys) for keys in teams.asked] == [[1, 2, 3]], "also of two batches of one request"


async def test_a_batch_inside_a_batch_waits_for_nobody(world: World) -> None:
    back = Backend()
    inner = Task(back.fetch_many).batch(Batch(wait=LONG))
    outer = each(inner, limit=10).batch(Batch(wait=LONG))
    outcome = await world.run(each(outer, limit=10)([1, 2, 3]))
    assert outcome.result == Success(["user 1", "user 2", "user 3"])
    assert [sorted(keys) for keys in back.asked] == [[1, 2, 3]]


async def test_key_makes_keys_of_what_has_none(world: World) -> None:
    back = Backend(value=lambda item: sum(item["ids"]))
    user = Task(back.fetch_many).batch(Batch(wait=LONG, key=lambda item: tuple(item["ids"])))
    outcome = await world.run(each(user, limit=3)([{"ids": [1]}, {"ids": [1, 2]}, {"ids": [1]}]))
    assert outcome.result == Success([1, 3, 1])
    assert sorted(back.asked[0], key=str) == [{"ids": [1, 2]}, {"ids": [1]}]


async def test_one_object_around_several_functions_keeps_them_apart(world: World) -> None:
    one, other, batch = Backend(), Backend(value=lambda key: f"shop {key}"), Batch(wait=LONG)
    page = fan_out(Task(one.fetch_many).batch(batch), Task(other.fetch_many).batch(batch))
    assert (await world.run(page(1))).result == Success(("user 1", "shop 1"))
    assert (one.asked, other.asked) == ([[1]], [[1]])


async def test_one_task_in_several_chains_is_one(world: World) -> None:
    back = Backend()
    user = Task(back.fetch_many).retry(2).batch(Batch(wait=20))
    outcomes = await in_one_run(world, (user >> str.upper)(1), (user >> len)(2), user(3), user.or_else(0)(4))
    assert results(outcomes) == [Success("USER 1"), Success(6), Success("user 3"), Success("user 4")]
    assert [sorted(keys) for keys in back.asked] == [[1, 2, 3, 4]]


async def test_callers_that_use_other_values_are_not_one(world: World) -> None:
    asked = []

    async def fetch_many(keys: list[int], *, rights: str) -> list[str]:
        asked.append((rights, sorted(keys)))
        return [f"{rights} {key}" for key in keys]

    rights = Task(lambda key: "odd" if key % 2 else "even").inline()

    async def same(key: int, *, rights: str) -> int:
        assert rights
        return key

    user = Task(fetch_many).using(rights=rights).batch(Batch(wait=20))
    page = rights >> Task(same).using(rights=rights) >> (lambda _: 7) >> user
    outcome = await world.run(each(page, limit=4)([1, 2, 3, 4]))
    assert outcome.result == Success(["odd 7", "even 7", "odd 7", "even 7"])
    assert sorted(asked) == [("even", [7]), ("odd", [7])]


# --- what each caller gets ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["list", "results", "dict", "dict of results", "a bridge"])
async def test_each_caller_gets_its_own_value_or_error(world: World, kind: str) -> None:
    error = LookupError("no user 2")

    async def fetch_many(keys: list[int]) -> Any:
        if kind in ("list", "a bridge"):
            return [error if key == 2 else key for key in keys]
        if kind == "dict":
            return {key: error if key == 2 else key for key in reversed(keys)}
        found = {key: Failure(error) if key == 2 else Success(key) for key in keys}
        return found if kind == "dict of results" else list(found.values())

    batched: Any = Task(fetch_many)
    if kind == "a bridge":
        batched = batched >> (lambda values: values) >> Task(lambda values: [*values]).inline()
    results = (await world.run(each(batched.batch(Batch(wait=LONG)), limit=3, on_error="keep")([1, 2, 3]))).unwrap()
    assert results == [Success(1), Failure(error), Success(3)]
    assert results[1].failure() is error


@pytest.mark.parametrize("fails", ["raises", "returns a Failure"])
async def test_a_function_that_fails_fails_every_caller(world: World, fails: str) -> None:
    error = OSError("down")

    async def fetch_many(_: list[int]) -> Any:
        if fails == "raises":
            raise error
        return Failure(error)

    outcome = await world.run(each(Task(fetch_many).batch(Batch(wait=LONG)), limit=3, on_error="keep")([1, 2, 3]))
    assert [one.failure() for one in outcome.unwrap()] == [error] * 3


@pytest.mark.parametrize(
    ("answer", "values", "name"),
    [
        ([], 0, "list"),
        ([1, 2], 2, "list"),
        ([1, 2, 3, 4], 4, "list"),
        (None, None, "NoneType"),
        ("abc", None, "str"),
        ((1, 2, 3), None, "tuple"),
        ({1, 2, 3}, None, "set"),
        (7, None, "int"),
        (object, None, "type"),
    ],
)
async def test_another_number_or_kind_of_values_fails_every_caller(
    world: World, answer: Any, values: int | None, name: str
) -> None:
    async def fetch_many(_: list[int]) -> Any:
        return answer

    outcome = await world.run(each(Task(fetch_many).batch(Batch(wait=LONG)), limit=3, on_error="keep")([1, 2, 3]))
    for one in outcome.unwrap():
        error = one.failure()
        assert type(error) is BatchMismatch
        assert (error.task, error.keys, error.values, error.answer) == ("fetch_many", 3, values, name)
        assert "3 keys" in str(error)


async def test_a_dict_without_a_key_fails_that_caller_alone(world: World) -> None:
    async def fetch_many(keys: list[int]) -> dict[Any, Any]:
        return {key: None for key in keys if key != 2} | {"not asked for": 1}

    outcome = await world.run(each(Task(fetch_many).batch(Batch(wait=LONG)), limit=3, on_error="keep")([1, 2, 3]))
    first, second, third = outcome.unwrap()
    assert (first, third) == (Success(None), Success(None))
    assert type(second.failure()) is BatchMismatch
    assert second.failure().missing


async def test_a_generator_of_values_is_refused_and_a_sync_function_may_return_a_coroutine(world: World) -> None:
    def generated(keys: list[int]) -> Any:
        return (key for key in keys)

    async def later(keys: list[int]) -> list[int]:
        return keys

    def awaited(keys: list[int]) -> Any:
        return later(keys)

    page = fan_out(
        *(each(Task(fn).inline().batch(Batch(wait=LONG)), limit=2, on_error="keep") for fn in (generated, awaited))
    )
    refused, given = (await world.run(page([1, 2]))).unwrap()
    assert [type(one.failure()) for one in refused] == [BatchMismatch] * 2
    assert given == [Success(1), Success(2)]


@pytest.mark.real_time
async def test_a_sync_function_runs_on_a_thread_once_for_all(world: World) -> None:
    asked = []

    def fetch_many(keys: list[int]) -> list[int]:
        asked.append(keys)
        world.block(5)
        return keys

    outcome = await world.run(each(Task(fetch_many).batch(Batch(wait=LONG)), limit=3)([1, 2, 3]))
    assert outcome.result == Success([1, 2, 3])
    assert [sorted(keys) for keys in asked] == [[1, 2, 3]]


@pytest.mark.parametrize("key", [None, "raises", "unhashable"])
async def test_a_key_that_is_none_fails_its_caller_alone(world: World, key: str | None) -> None:
    back = Backend(value=str)

    def of(item: Any) -> Any:
        if item == [2]:
            if key == "raises":
                raise ZeroDivisionError
            return [item]
        return str(item)

    user = Task(back.fetch_many).batch(Batch(key=None if key is None else of))
    items: list[Any] = [1, [2], 3] if key is None else [[1], [2], [3]]
    outcome = await world.run(each(user, limit=3, on_error="keep")(items))
    first, second, third = outcome.unwrap()
    assert (first, third) == (Success(str(items[0])), Success(str(items[2])))
    error = second.failure()
    assert type(error) is CallbackFailed
    assert error.role == "key"
    if key != "raises":
        assert ("give a key=" if key is None else "; return a str") in str(error.error)


# --- policies inside and outside --------------------------------------------------------------------------------------


async def test_a_retry_inside_is_of_the_one_call(world: World) -> None:
    seen = []

    async def fetch_many(keys: list[int]) -> list[int]:
        seen.append((int(current_attempt()), sorted(keys)))
        if len(seen) < 3:
            raise OSError
        return keys

    user = Task(fetch_many).retry(2, backoff=None).batch(Batch(wait=LONG))
    outcome = await world.run(each(user, limit=3)([1, 2, 3]))
    assert outcome.result == Success([1, 2, 3])
    assert seen == [(1, [1, 2, 3]), (2, [1, 2, 3]), (3, [1, 2, 3])]
    assert outcome.only.attempts == 3, "the calls of all, once"
    assert len(outcome.only.errors) == 2


async def test_a_retry_outside_is_of_each_caller(world: World) -> None:
    asked = []

    async def fetch_many(keys: list[int]) -> list[Any]:
        asked.append(sorted(keys))
        return [OSError(key) if key > len(asked) else key for key in keys]

    user = Task(fetch_many).batch(Batch(wait=LONG)).retry(3, backoff=None)
    outcome = await world.run(each(user, limit=3)([1, 2, 3]))
    assert outcome.result == Success([1, 2, 3])
    assert asked == [[1, 2, 3], [2, 3], [3]]


async def test_a_timeout_inside_is_the_error_of_all_and_one_outside_that_of_one_caller(world: World) -> None:
    back = Backend(gate=world.gate())
    inside = Task(back.fetch_many).timeout(world.short).batch(Batch(wait=LONG))
    outcome = await world.run(each(inside, limit=3, on_error="keep")([1, 2, 3]))
    assert [type(one.failure()) for one in outcome.unwrap()] == [TaskTimedOut] * 3
    assert back.ends == ["cancelled"]
    gate = back.gate
    assert gate is not None
    batch = Batch(wait=world.short / 2)
    user = Task(back.fetch_many).batch(batch)
    child = world.start(lambda: in_one_run(world, user(1), user.timeout(2 * world.short)(2)))
    await world.until(lambda: len(back.asked) == 2 and waiting(batch) == 1)
    gate.open()
    first, second = await child.result()
    assert first.result == Success("user 1")
    assert type(second.result.failure()) is TaskTimedOut
    assert [sorted(keys) for keys in back.asked] == [[1, 2, 3], [1, 2]]
    assert back.ends[1] == "answered"


async def test_a_hedge_inside_is_of_the_one_call_and_one_outside_asks_again(world: World) -> None:
    async def fetch_many(keys: list[int]) -> list[int]:
        asked.append(sorted(keys))
        if len(asked) == 1:
            await world.pause(10_000)
        return keys

    for hedged in (
        Task(fetch_many).replica(2, after=20).batch(Batch(wait=LONG)),
        Task(fetch_many).batch(Batch(wait=1)).replica(2, after=20),
    ):
        asked: list[list[int]] = []
        outcome = await world.run(each(hedged, limit=3)([1, 2, 3]))
        assert outcome.result == Success([1, 2, 3])
        assert asked[0] == [1, 2, 3]
        assert sorted(chain.from_iterable(asked[1:])) == [1, 2, 3]


async def test_remaining_is_the_latest_limit_of_those_who_wait(world: World) -> None:
    left = []

    async def fetch_many(keys: list[int]) -> list[int]:
        left.append(remaining())
        return keys

    user = Task(fetch_many).batch(Batch(wait=LONG))
    await world.run(settle(user.timeout(100), user.timeout(5_000), user.timeout(1_000))(1), deadline=9_000)
    assert 4_000 < left[0] <= 5_000


# --- the record -------------------------------------------------------------------------------------------------------


async def test_the_record_of_the_call_is_that_of_the_first_who_waited(world: World) -> None:
    back = Backend(value=lambda key: OSError() if key == 3 else key)
    outcomes = await in_one_run(world, *map(Task(back.fetch_many).batch(Batch(wait=20)), (1, 2, 3)))
    assert sorted(outcome.only.attempts for outcome in outcomes) == [0, 0, 1]
    assert [outcome.only.status for outcome in outcomes] == ["succeeded", "succeeded", "failed"]
    assert [outcome.only.result for outcome in outcomes[:2]] == [Success(1), Success(2)]
    assert len(outcomes[2].only.errors) == 1


async def test_a_longer_chain_in_a_batch_has_the_records_of_its_tasks(world: World) -> None:
    async def ids(keys: list[int]) -> list[int]:
        return [key + 10 for key in keys]

    back = Backend()
    longer = (Task(ids) >> Task(back.fetch_many)).batch(Batch(wait=LONG))
    outcome = await world.run(longer(1))
    assert outcome.result == Success("user 11")
    assert [(one.attempts, one.status) for one in outcome] == [(1, "succeeded")] * 2
    failing = (Task(ids) >> Task(back.fetch_many) >> Task(len).inline()).batch(Batch(wait=LONG))
    outcome = await world.run(failing(1))
    assert type(outcome.result.failure()) is BatchMismatch
    assert [(one.attempts, one.status) for one in outcome] == [(1, "succeeded")] * 3
