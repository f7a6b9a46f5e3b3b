"""A GraphQL page of fifty items, with Strawberry: its resolvers make one call of the backend."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Any

import pytest

from rio_chain import Balancer, Batch, Outcome, Task, UsageError

strawberry = pytest.importorskip("strawberry", reason="needs strawberry-graphql")

from strawberry.extensions import SchemaExtension  # noqa: E402 - after the check

RIGHTS = ContextVar("RIGHTS", default="nobody")
MANY = 50
BAD = 17


class Backend:
    """Counts its calls, and fails for one author."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[int]]] = []

    async def fetch_authors(self, ids: list[int]) -> list[Any]:
        self.calls.append((RIGHTS.get(), ids))
        await asyncio.sleep(0)
        return [LookupError(f"no author {id_}") if id_ == BAD else f"author {id_} for {RIGHTS.get()}" for id_ in ids]


BACKEND = Backend()
AUTHORS = Batch(size=100, wait=2)
author_of = Task(BACKEND.fetch_authors).timeout(1_000).retry(1).batch(AUTHORS)


@pytest.fixture(autouse=True)
def counted() -> None:
    BACKEND.calls.clear()


class OneOperation(SchemaExtension):  # type: ignore[misc]
    """The resolvers of one operation join each other, and no others."""

    async def on_operation(self) -> AsyncIterator[None]:
        with AUTHORS.open():
            yield


@strawberry.type
class Book:
    id: int

    @strawberry.field
    async def author(self) -> str | None:
        outcome = await author_of(self.id)
        return str(outcome.unwrap())

    @strawberry.field
    async def author_by_balancer(self) -> str | None:
        balancer: Balancer = BALANCER.get()
        return str((await balancer.arun(author_of(self.id))).unwrap())


BALANCER: ContextVar[Balancer] = ContextVar("BALANCER")


@strawberry.type
class Query:
    @strawberry.field
    def books(self) -> list[Book]:
        return [Book(id=id_) for id_ in range(MANY)]


plain = strawberry.Schema(Query)
opened = strawberry.Schema(Query, extensions=[OneOperation])
QUERY = "{ books { id author } }"


def check(result: Any, rights: str) -> None:
    books = result.data["books"]
    assert [book["author"] for book in books] == [
        None if id_ == BAD else f"author {id_} for {rights}" for id_ in range(MANY)
    ]
    (error,) = result.errors
    assert error.path == ["books", BAD, "author"]
    assert str(error.original_error) == f"no author {BAD}"


def test_fifty_resolvers_make_one_call_of_the_backend_and_one_of_them_fails_alone() -> None:
    check(asyncio.run(opened.execute(QUERY)), "nobody")
    assert [(rights, sorted(ids)) for rights, ids in BACKEND.calls] == [("nobody", [*range(MANY)])]


def test_a_request_through_a_balancer_holds_one_slot_and_needs_no_open() -> None:
    async def graphql(query: str) -> Any:
        return await plain.execute(query)

    async def main() -> Outcome[Any]:
        async with Balancer(workers=1) as balancer:
            return await balancer.arun(Task(graphql)(QUERY))

    check(asyncio.run(main()).unwrap(), "nobody")
    assert [(rights, sorted(ids)) for rights, ids in BACKEND.calls] == [("nobody", [*range(MANY)])]


@pytest.mark.parametrize("schema", [plain, opened], ids=["in a balancer", "in a block"])
def test_two_users_at_once_never_share_a_batch(schema: Any) -> None:
    async def graphql(query: str) -> Any:
        return await schema.execute(query)

    async def request(balancer: Balancer, user: str) -> Any:
        RIGHTS.set(user)
        if schema is opened:
            return await graphql(QUERY)
        return (await balancer.arun(Task(graphql)(QUERY))).unwrap()

    async def main() -> list[Any]:
        async with Balancer(workers=10) as balancer:
            return await asyncio.gather(*[asyncio.create_task(request(balancer, user)) for user in users])

    users = ["ann", "bob", "cem"]
    for user, result in zip(users, asyncio.run(main()), strict=True):
        check(result, user)
    assert sorted((rights, sorted(ids)) for rights, ids in BACKEND.calls) == [(user, [*range(MANY)]) for user in users]


def test_a_resolver_that_asks_its_own_balancer_is_told_to_await_the_chain() -> None:
    async def graphql(query: str) -> Any:
        return await plain.execute(query)

    async def main() -> Any:
        async with Balancer(workers=1) as balancer:
            BALANCER.set(balancer)
            return (await balancer.arun(Task(graphql)("{ books { authorByBalancer } }"))).unwrap()

    result = asyncio.run(main())
    assert len(result.errors) == MANY
    assert all(type(error.original_error) is UsageError for error in result.errors)
    assert "Write `await page(42)`" in str(result.errors[0])
    assert BACKEND.calls == []
