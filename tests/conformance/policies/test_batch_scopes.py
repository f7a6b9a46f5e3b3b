"""Batch: which calls join each other. No user gets what was fetched under another's rights."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from conformance.harness import World
from conformance.policies.batches import Backend, gathered, in_one_run, waiting
from returns.result import Success

from rio_chain import Batch, Task, each

USER = ContextVar("USER", default="nobody")
LONG = 10_000


class Rights:
    """A backend that answers by who is logged in."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[Any]]] = []

    async def fetch_many(self, keys: list[Any]) -> list[Any]:
        self.asked.append((USER.get(), sorted(keys)))
        return [(USER.get(), key) for key in keys]


async def test_two_users_at_once_never_share_a_batch_of_a_request(world: World) -> None:
    rights = Rights()
    user = Task(rights.fetch_many).batch(Batch(wait=30))

    async def request(name: str) -> Any:
        USER.set(name)
        return await in_one_run(world, user(1), user(2), user(3))

    names = [f"user {k}" for k in range(20)]
    found = await world.together(*[lambda name=name: request(name) for name in names])
    for name, outcomes in zip(names, found, strict=True):
        assert [outcome.unwrap() for outcome in outcomes] == [(name, 1), (name, 2), (name, 3)]
    assert sorted(rights.asked) == sorted((name, [1, 2, 3]) for name in names)


async def test_requests_that_are_not_in_one_run_do_not_join(world: World) -> None:
    back = Backend()
    user = Task(back.fetch_many).batch(Batch(wait=20))
    await world.together(*[lambda key=key: world.run(user(key)) for key in (1, 2)])
    assert sorted(back.asked) == [[1], [2]]


async def test_a_block_of_open_is_one_operation(world: World) -> None:
    rights = Rights()
    batch, other = Batch(wait=LONG, size=2), Batch(wait=20)
    user, shop = Task(rights.fetch_many).batch(batch), Task(rights.fetch_many).named("shop").batch(other)

    async def operation(name: str) -> Any:
        USER.set(name)
        with batch.open(), other.open():
            return await gathered(world, (user(1), shop(1), user(2), shop(3)))

    if not world.native:
        return  # the requests would be awaited on the loop of the test body: see "asyncio" for that
    names = ["ann", "bob"]
    found = await world.together(*[lambda name=name: operation(name) for name in names])
    for name, outcomes in zip(names, found, strict=True):
        assert [outcome.unwrap() for outcome in outcomes] == [(name, 1), (name, 1), (name, 2), (name, 3)]
    assert sorted(rights.asked) == sorted((name, keys) for name in names for keys in ([1, 2], [1, 3]))


async def test_open_inside_a_run_is_narrower_and_ends_with_its_block(world: World) -> None:
    back, batch = Backend(), Batch(wait=20)
    user = Task(back.fetch_many).batch(batch)

    async def operation(keys: list[int]) -> list[Any]:
        with batch.open():
            found = await gathered(world, map(user, keys))
        assert batch.opened() is None
        return found

    async def body(_: object) -> Any:
        return await gathered(world, (Task(operation)([1, 2]), Task(operation)([3, 4]), user(5), user(6)))

    await world.run(Task(body)(None))
    assert sorted(map(sorted, back.asked)) == [[1, 2], [3, 4], [5, 6]]


async def test_shared_joins_requests_up_to_size(world: World) -> None:
    back = Backend()
    batch = Batch(size=10, wait=LONG, scope="shared")
    user = Task(back.fetch_many).batch(batch)
    async with world.balancer(workers=10) as balancer:
        outcomes = await world.together(*[lambda key=key: balancer.arun(user(key)) for key in range(10)])
    assert [outcome.unwrap() for outcome in outcomes] == [f"user {key}" for key in range(10)]
    assert [sorted(keys) for keys in back.asked] == [[*range(10)]]


async def test_what_a_shared_call_asks_for_is_not_joined_to_a_request(world: World) -> None:
    rights = Rights()
    inner = Batch(wait=60)
    team = Task(rights.fetch_many).batch(inner)
    shared = Batch(wait=0, scope="shared")

    async def fetch_users(keys: list[int]) -> list[Any]:
        return [outcome.unwrap() for outcome in await gathered(world, map(team, keys))]

    user = Task(fetch_users).batch(shared)

    async def request(name: str) -> Any:
        USER.set(name)
        return await in_one_run(world, team(7), user(1))

    own, _ = await request("ann")
    assert own.result == Success(("ann", 7))
    assert [keys for _, keys in rights.asked] == [[7], [1]] or [keys for _, keys in rights.asked] == [[1], [7]]


async def test_one_object_serves_several_loops(world: World) -> None:
    back, batch = Backend(), Batch(size=2, wait=LONG, scope="shared")
    user = Task(back.fetch_many).batch(batch)
    async with world.balancer() as one, world.balancer() as other:
        if world.native or world.executor == "thread":
            found = await world.together(lambda: one.arun(user(1)), lambda: other.arun(user(2)))
            assert [sorted(keys) for keys in back.asked] == [[1, 2]], "of one loop, and on threads of the process"
        else:
            found = await world.together(
                *[lambda at=at, key=key: at.arun(user(key)) for at in (one, other) for key in (1, 2)]
            )
            assert [sorted(keys) for keys in back.asked] == [[1, 2], [1, 2]]
    assert all(type(outcome.result) is Success for outcome in found)


async def test_a_request_that_a_function_returns_is_of_the_run_around(world: World) -> None:
    back, batch = Backend(), Batch(wait=LONG)
    user = Task(back.fetch_many).batch(batch)

    async def either(key: int) -> Any:
        return user(key)

    outcome = await world.run(each(Task(either), limit=3)([1, 2, 3]))
    assert outcome.result == Success(["user 1", "user 2", "user 3"])
    assert [sorted(keys) for keys in back.asked] == [[1, 2, 3]]
    assert waiting(batch) == 0
