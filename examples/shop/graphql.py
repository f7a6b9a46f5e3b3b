"""A GraphQL schema over the same chains: each field that costs a call is a run of its own, when it is asked for."""

from __future__ import annotations

from typing import TypeVar

import strawberry
from fastapi import Request
from graphql import GraphQLError
from strawberry.fastapi import BaseContext, GraphQLRouter
from strawberry.types import ExecutionContext

from examples.shop.chains import Missing
from examples.shop.web import Shop
from rio_chain import Request as Wanted
from rio_chain import RioError
from rio_chain.contrib.asgi import Reply, respond_to

Out = TypeVar("Out")


class Context(BaseContext):
    """What resolvers get: the shop. The HTTP request is set by the router."""

    def __init__(self, shop: Shop) -> None:
        super().__init__()
        self.shop = shop

    async def value(self, wanted: Wanted[Out]) -> Out:
        """The value of a chain. A failure is null in the answer, and an entry of its ``errors``.

        The runs of all fields share the client: when that leaves, all of them are cancelled.
        """
        assert isinstance(self.request, Request)  # noqa: S101 - there are no subscriptions, so no WebSockets
        try:
            outcome = await self.shop.run(self.request, wanted)
        except RioError as error:
            raise failed(respond_to(error)) from None
        if outcome.ok:
            return outcome.value
        raise failed(respond_to(outcome, statuses={Missing: 404}))


Info = strawberry.Info[Context, None]


def failed(reply: Reply) -> GraphQLError:
    """An error as GraphQL has it: the request itself is answered with 200."""
    return GraphQLError(reply.detail, extensions={"status": reply.status})


@strawberry.type
class Review:
    """What a customer thinks."""

    stars: int
    text: str


@strawberry.type
class Product:
    """One product. The fields below are asked for side by side."""

    id: int
    name: str
    maker: str

    @strawberry.field
    async def cents(self, info: Info) -> int | None:
        """What it costs."""
        return (await info.context.value(info.context.shop.chains.price(self.id)))["cents"]

    @strawberry.field
    async def stock(self, info: Info) -> int | None:
        """How many there are; null where that is not known."""
        found = await info.context.value(info.context.shop.chains.stock(self.id))
        return None if found is None else found["count"]

    @strawberry.field
    async def reviews(self, info: Info) -> list[Review]:
        """What customers think."""
        found = await info.context.value(info.context.shop.chains.reviews(self.id))
        return [Review(stars=review["stars"], text=review["text"]) for review in found]


@strawberry.type
class Query:
    """What can be asked."""

    @strawberry.field
    async def product(self, info: Info, id: int) -> Product | None:  # noqa: A002 - its name in the schema
        """A product by its number."""
        found = await info.context.value(info.context.shop.chains.product(id))
        return Product(id=found["id"], name=found["name"], maker=found["maker"])


class Schema(strawberry.Schema):
    """A failure of a backend is in the answer; only errors of the program itself are logged as well."""

    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        """Log them."""
        unknown = [error for error in errors if not isinstance(error.original_error, GraphQLError)]
        super().process_errors(unknown, execution_context)


schema = Schema(Query)


def graphql(shop: Shop) -> GraphQLRouter[Context, None]:
    """The route ``/graphql``."""

    async def context() -> Context:
        return Context(shop)

    return GraphQLRouter(schema, path="/graphql", context_getter=context, graphql_ide=None)
