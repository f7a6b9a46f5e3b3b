"""What a web application writes: both checkers infer it, and nothing here runs."""

from collections.abc import AsyncGenerator, Awaitable, Mapping
from contextlib import asynccontextmanager
from typing import Any, assert_type

import fastapi
import starlette.applications
import starlette.requests

from rio_chain import Balancer, Outcome, Task
from rio_chain.contrib.asgi import Lifespan, Reply, handle, lifespan, liveness, readiness, respond_to
from rio_chain.contrib.wsgi import respond_to as respond_to_wsgi

balancer = Balancer(workers=2)
size = Task(len).named("size")


async def show(request: starlette.requests.Request) -> None:
    outcome = await handle(
        request.receive,
        balancer,
        size("four"),
        deadline=100,
        headers=request.headers,
        deadline_header=("x-deadline-ms", "grpc-timeout"),
        priority=lambda: 5,
    )
    assert_type(outcome, Outcome[int])
    assert_type(respond_to(outcome, statuses={LookupError: 404}, expose=True), Reply)
    status, headers, detail = respond_to_wsgi(ValueError())
    assert_type(status, int)
    assert_type(headers, dict[str, str])
    assert_type(detail, str)


async def plain(scope: dict[str, Any], receive: Any, send: Any) -> None:
    assert_type(await handle(receive, balancer, size("four"), headers=scope["headers"]), Outcome[int])
    assert_type(await life.serve(scope, receive, send), None)


async def receive_message() -> Mapping[str, object]:
    return {}


def others() -> Awaitable[Outcome[int]]:
    return handle(receive_message, balancer, size("four"))


@asynccontextmanager
async def clients(app: fastapi.FastAPI) -> AsyncGenerator[dict[str, str]]:
    yield {"of": app.title}


life = lifespan(balancer, clients, grace=100)
assert_type(life, Lifespan)
fastapi.FastAPI(lifespan=life)
starlette.applications.Starlette(lifespan=lifespan(balancer))
assert_type(readiness(balancer), Reply)
assert_type(liveness(balancer), Reply)
assert_type(balancer.health().ready, bool)
