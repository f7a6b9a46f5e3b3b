"""What is to be seen of the shop: its plan, the events of a run as they happen, the last runs, and their traces."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse

from examples.shop.backends import ANSWERS, SHOWN, checked_faults
from examples.shop.limits import DEADLINE
from examples.shop.start_backends import Places
from examples.shop.traces import Collector
from examples.shop.web import Shop, refusal
from rio_chain import Event, Outcome, RioError, Task
from rio_chain.contrib.asgi import respond_to

BURST = 2_000
"""The most pages that may be asked for at once."""
PAGE = Path(__file__).with_name("page.html")


def monitored(shop: Shop, places: Places, collector: Collector) -> APIRouter:
    """The page at ``/``, and what it asks for."""
    router = APIRouter(include_in_schema=False)
    ask = Task(places.ask)  # it blocks, and runs on a thread

    @router.get("/")
    async def page() -> Response:
        return FileResponse(PAGE)

    @router.get("/plan.svg")
    async def plan() -> Response:
        return Response(str(shop.chains.page.svg()), media_type="image/svg+xml")

    @router.get("/events/{number}")
    async def events(number: int) -> Response:
        return await streamed(shop, number)

    @router.get("/runs")
    async def runs() -> Response:
        return JSONResponse([as_row(outcome) for outcome in reversed(shop.runs)])

    @router.get("/traces")
    async def traces() -> Response:
        return JSONResponse(collector.traces())

    @router.get("/backends")
    async def backends() -> Response:
        states = {name: breaker.state.replace("_", " ") for name, breaker in shop.chains.breakers.items()}
        return JSONResponse({
            name: {**(await ask(name, "/stats")).unwrap(), "breaker": states[name]} for name in ANSWERS
        })  # fmt: skip

    controls(router, shop, ask)
    return router


def controls(router: APIRouter, shop: Shop, ask: Task[[str, str], dict[str, Any]]) -> None:
    """What the page can do to the shop and its backends."""

    @router.post("/burst")
    async def burst(many: int) -> Response:
        if not 0 < many <= BURST:
            return JSONResponse({"detail": f"ask for 1 to {BURST} pages at once"}, 400)
        return JSONResponse(await shop.burst(many))

    @router.post("/faults")
    async def faults(request: Request) -> Response:
        try:
            wanted = checked_faults({key: value for key, value in (await request.json()).items() if key in SHOWN})
        except ValueError as error:
            return JSONResponse({"detail": str(error)}, 400)
        query = "&".join(f"{key}={value}" for key, value in wanted.items())
        return JSONResponse({name: (await ask(name, f"/faults?{query}")).unwrap() for name in ANSWERS})


async def streamed(shop: Shop, number: int) -> Response:
    """A run, event by event. Its first event is read here, where a refusal can still be a 503."""
    stream = shop.balancer.stream(shop.chains.page(number), deadline=DEADLINE, on_full="reject")
    events = aiter(stream)
    try:
        first = await anext(events)
    except RioError as error:
        return refusal(respond_to(error))

    async def lines() -> AsyncIterator[str]:
        async with stream:  # a client that leaves ends the block, and that ends the run
            yield line(first)
            async for event in events:
                if event.outcome is not None:
                    shop.runs.append(event.outcome)
                yield line(event)

    return StreamingResponse(lines(), media_type="text/event-stream", headers={"cache-control": "no-store"})


def line(event: Event) -> str:
    """A server-sent event."""
    told: dict[str, Any] = {
        "kind": event.kind,
        "at": round(event.at, 1),
        "task": event.task,
        "attempt": event.attempt,
        "replica": event.replica,
        "status": event.status,
        "error": None if event.error is None else described(event.error),
    }
    if event.outcome is not None:
        told |= (
            {"status": "succeeded", "value": event.outcome.value}
            if event.outcome.ok
            else {"status": "failed", "value": None, "error": described(event.outcome.error)}
        )
    return f"data: {json.dumps(told)}\n\n"


def described(error: object) -> str:
    """An error, for those who run the shop. Its customers are told less."""
    return f"{type(error).__name__}: {error}"


def as_row(outcome: Outcome[Any] | Event) -> dict[str, Any]:
    """One of the last runs."""
    if isinstance(outcome, Event):
        return {
            "ok": False,
            "title": outcome.chain,
            "elapsed": round(outcome.elapsed or 0, 1),
            "queued": 0,
            "attempts": 0,
            "error": "cancelled, because its client has left",
            "timeline": "",
        }
    return {
        "ok": outcome.ok,
        "title": outcome.plan.title,
        "elapsed": round(outcome.elapsed, 1),
        "queued": round(outcome.queued, 1),
        "attempts": sum(response.attempts for response in outcome),
        "error": None if outcome.ok else described(outcome.error),
        "timeline": str(outcome.timeline()),
    }
