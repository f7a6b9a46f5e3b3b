"""The HTTP side of the shop, for asyncio and trio: which requests run, how long they may take, and what they answer."""

from __future__ import annotations

from collections import Counter, deque
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, Protocol, TypeVar

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from examples.shop.chains import Chains, Missing
from examples.shop.limits import DEADLINE, QUEUE_TIMEOUT, counts, urgency
from rio_chain import Balancer, Event, Outcome, RioError
from rio_chain import Request as Wanted
from rio_chain.balancer import Ticket
from rio_chain.contrib.asgi import Reply, handle, lifespan, liveness, readiness, respond_to

Out = TypeVar("Out")

KEPT = 8
"""The outcomes of so many runs are kept, to be shown."""


class Runs(deque[Outcome[Any] | Event]):
    """The Outcomes of the last runs. A run that was cancelled has none: its last event takes its place."""

    def __init__(self, most: int | None = KEPT) -> None:
        super().__init__(maxlen=most)

    def observe(self, event: Event) -> None:
        """An observer of the balancer: keep the end of each run that was cancelled."""
        if event.kind == "request_ended" and event.status == "cancelled" and not event.within:
            self.append(event)


class Client(Protocol):
    """The open connections of the shop."""

    chains: Chains

    def open(self) -> AbstractAsyncContextManager[None]:
        """Open them for as long as a block lasts."""
        ...


class Shop:
    """The chains, the balancer that all requests share, and what became of the last runs."""

    def __init__(
        self, client: Client, balancer: Balancer, queue_timeout: float = QUEUE_TIMEOUT, runs: Runs | None = None
    ) -> None:
        self.client = client
        self.chains = client.chains
        self.balancer = balancer
        self.queue_timeout = queue_timeout
        self.runs = Runs() if runs is None else runs

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

    async def burst(self, many: int) -> Counter[int]:
        """Ask for so many pages at once, without HTTP between, and count the statuses that clients would get."""
        statuses: Counter[int] = Counter()
        tickets: list[Ticket[Any]] = []
        for number in range(many):
            try:
                ticket = self.balancer.post(
                    self.chains.page(number), deadline=DEADLINE, queue_timeout=self.queue_timeout
                )
            except RioError as error:
                statuses[respond_to(error).status] += 1
            else:
                tickets.append(ticket)
        for ticket in tickets:
            outcome = await ticket
            self.runs.append(outcome)
            statuses[200 if outcome.ok else respond_to(outcome, statuses={Missing: 404}).status] += 1
        return statuses

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
