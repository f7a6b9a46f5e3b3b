"""The HTTP side of the shop, for asyncio and trio: which requests run, how long they may take, and what they answer."""

from __future__ import annotations

from collections import deque
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, Protocol, TypeVar

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from examples.shop.chains import Chains, Missing
from examples.shop.limits import DEADLINE, QUEUE_TIMEOUT, counts, urgency
from rio_chain import Balancer, Outcome, RioError
from rio_chain import Request as Wanted
from rio_chain.contrib.asgi import Reply, handle, lifespan, liveness, readiness, respond_to

Out = TypeVar("Out")

KEPT = 8
"""The outcomes of so many runs are kept, to be shown."""


class Client(Protocol):
    """The open connections of the shop."""

    chains: Chains

    def open(self) -> AbstractAsyncContextManager[None]:
        """Open them for as long as a block lasts."""
        ...


class Shop:
    """The chains, the balancer that all requests share, and what became of the last runs."""

    def __init__(self, client: Client, balancer: Balancer, queue_timeout: float = QUEUE_TIMEOUT) -> None:
        self.client = client
        self.chains = client.chains
        self.balancer = balancer
        self.queue_timeout = queue_timeout
        self.runs: deque[Outcome[Any]] = deque(maxlen=KEPT)

    async def run(self, request: Request, wanted: Wanted[Out]) -> Outcome[Out]:
        """Run it for the client of this HTTP request; if that leaves, the run is cancelled.

        Raises:
            RioError: the run was refused, or the client has left; ``respond_to`` knows what that means.
        """
        await request.body()
        outcome = await handle(
            request.receive,
            self.balancer,
            wanted,
            deadline=DEADLINE,
            headers=request.headers,
            deadline_header="x-deadline-ms",
            priority=partial(urgency, request.headers.get("authorization")),
            queue_timeout=self.queue_timeout,
        )
        self.runs.append(outcome)
        return outcome

    async def answer(self, request: Request, wanted: Wanted[Any]) -> Response:
        """The value as JSON, or the error."""
        try:
            outcome = await self.run(request, wanted)
        except RioError as error:
            return refusal(respond_to(error))
        if outcome.ok:
            return JSONResponse(outcome.value)
        return refusal(respond_to(outcome, statuses={Missing: 404}))


def refusal(reply: Reply) -> Response:
    """An error as JSON."""
    return JSONResponse({"detail": reply.detail}, reply.status, reply.headers)


def application(shop: Shop) -> FastAPI:
    """The page and its parts, and how the service is."""
    app = FastAPI(title="shop", lifespan=lifespan(shop.balancer, lambda _: shop.client.open()))

    @app.get("/products/{number}")
    async def product(number: int, request: Request) -> Response:
        return await shop.answer(request, shop.chains.page(number))

    @app.get("/products/{number}/price")
    async def price(number: int, request: Request) -> Response:
        return await shop.answer(request, shop.chains.price(number))

    @app.get("/ready")
    async def ready() -> Response:
        return plain(readiness(shop.balancer))

    @app.get("/live")
    async def live() -> Response:
        return plain(liveness(shop.balancer))

    @app.get("/stats")
    async def stats() -> dict[str, int]:
        return counts(shop.balancer.stats())

    return app


def plain(reply: Reply) -> Response:
    """A reply as text."""
    return PlainTextResponse(reply.detail, reply.status, reply.headers)
