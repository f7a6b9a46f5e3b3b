"""A small application, and real servers for it on loopback. Needs the packages of `.[test-extras]`."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anyio
import trio
import uvicorn
from attrs import define, field
from hypercorn.asyncio import serve as serve_on_asyncio
from hypercorn.config import Config
from hypercorn.trio import serve as serve_on_trio
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from rio_chain import Balancer, RioError, Task
from rio_chain.contrib.asgi import Reply, handle, lifespan, liveness, readiness, respond_to

LONG = 20.0
"""Seconds that a call would take that has to be cancelled."""


@define(eq=False)
class Site:
    """The application, and what has happened in it, each with its time."""

    balancer: Balancer = field(factory=lambda: Balancer(workers=4, buffer=2))
    events: list[tuple[str, float]] = field(factory=list)
    _changed: threading.Condition = field(factory=threading.Condition)

    def note(self, what: str) -> None:
        with self._changed:
            self.events.append((what, time.monotonic()))
            self._changed.notify_all()

    def wait_for(self, what: str, count: int = 1) -> float:
        """When it happened for that many times."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._times(what)) >= count, 10), (what, self.events)
            return self._times(what)[count - 1]

    def count(self, what: str) -> int:
        return len(self._times(what))

    def _times(self, what: str) -> list[float]:
        return [at for name, at in self.events if name == what]

    async def backend(self, name: str) -> str:
        self.note(f"{name} began")
        try:
            await anyio.sleep(LONG if name != "quick" else 0)
        except BaseException:
            self.note(f"{name} cancelled")
            raise
        return name

    async def ask(self, request: Request, name: str, **options: Any) -> Response:
        try:
            outcome = await handle(request.receive, self.balancer, Task(self.backend)(name), **options)
        except RioError as error:
            self.note(type(error).__name__)
            return sent(respond_to(error, expose=True))
        return Response(outcome.unwrap()) if outcome.ok else sent(respond_to(outcome))

    async def one(self, request: Request) -> Response:
        await request.body()
        return await self.ask(
            request, request.path_params["name"], headers=request.headers, deadline_header="x-deadline-ms"
        )

    async def unread(self, request: Request) -> Response:
        return await self.ask(request, "unread")

    async def two(self, request: Request) -> Response:
        return await self.at_once(request, "first", "second")

    async def short_and_long(self, request: Request) -> Response:
        return await self.at_once(request, "quick", "second")

    async def at_once(self, request: Request, *names: str) -> Response:
        await request.body()
        async with anyio.create_task_group() as group:
            for name in names:
                group.start_soon(self.ask, request, name)
        return Response("both")

    async def web_socket(self, websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            await handle(websocket.receive, self.balancer, Task(self.backend)("socket"))
        except RioError as error:
            await websocket.send_text(str(error))
        await websocket.close()

    async def health(self, request: Request) -> Response:
        return sent({"ready": readiness, "live": liveness}[request.path_params["what"]](self.balancer))

    @contextlib.asynccontextmanager
    async def clients(self, _: object) -> AsyncIterator[dict[str, str]]:
        self.note("clients opened")
        yield {"answer": "42"}
        self.note("clients closed")

    def app(self, *, middleware: bool) -> Starlette:
        async def pass_on(request: Request, call_next: Callable[[Request], Any]) -> Response:
            return await call_next(request)

        several = [Middleware(BaseHTTPMiddleware, dispatch=pass_on)] * 2 if middleware else []
        routes = [
            Route("/one/{name}", self.one, methods=["GET", "POST"]),
            Route("/unread", self.unread, methods=["GET", "POST"]),
            Route("/two", self.two),
            Route("/short-and-long", self.short_and_long),
            Route("/health/{what}", self.health),
            WebSocketRoute("/socket", self.web_socket),
        ]
        return Starlette(routes=routes, middleware=several, lifespan=lifespan(self.balancer, self.clients))


def sent(reply: Reply) -> Response:
    status, headers, detail = reply
    return Response(detail, status, headers)


# --- servers --------------------------------------------------------------------------------------------------------

Serve = Callable[[Any, int, threading.Event], None]


def on_uvicorn(app: Any, port: int, stop: threading.Event) -> None:
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning", timeout_graceful_shutdown=5))

    def stopped() -> None:
        stop.wait()
        server.should_exit = True

    threading.Thread(target=stopped, daemon=True).start()
    server.run()


def config_of(port: int) -> Config:
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.graceful_timeout = 5
    return config


def on_hypercorn(app: Any, port: int, stop: threading.Event) -> None:
    async def stopped() -> None:
        while not stop.is_set():  # noqa: ASYNC110 - another thread sets it
            await asyncio.sleep(0.01)

    asyncio.run(serve_on_asyncio(app, config_of(port), shutdown_trigger=stopped))


def on_hypercorn_with_trio(app: Any, port: int, stop: threading.Event) -> None:
    async def stopped() -> None:
        while not stop.is_set():  # noqa: ASYNC110 - as above
            await trio.sleep(0.01)

    async def main() -> None:
        await serve_on_trio(app, config_of(port), shutdown_trigger=stopped)

    trio.run(main)


SERVERS: dict[str, Serve] = {
    "uvicorn": on_uvicorn,
    "hypercorn": on_hypercorn,
    "hypercorn-trio": on_hypercorn_with_trio,
}


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@define(eq=False)
class Served:
    """A site that is being served."""

    site: Site
    port: int

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def request(self, path: str, *, method: str = "GET", headers: str = "", body: bytes = b"") -> bytes:
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        return f"{method} {path} HTTP/1.1\r\nHost: shop\r\n{headers}{length}\r\n".encode() + body

    def ask(self, path: str, *, method: str = "GET", headers: str = "", body: bytes = b"") -> tuple[int, str, str]:
        """Status, headers in lower case and body."""
        with self.connect() as sock:
            sock.sendall(self.request(path, method=method, headers=f"Connection: close\r\n{headers}", body=body))
            return parsed(sock)


def parsed(sock: socket.socket) -> tuple[int, str, str]:
    """The answer on a connection that the server closes."""
    got = b""
    while chunk := sock.recv(65536):
        got += chunk
    head, _, body = got.decode("latin-1").partition("\r\n\r\n")
    return int(head.split(" ")[1]), head.lower(), body


@contextlib.contextmanager
def serving(serve: Serve, app: Any) -> Iterator[int]:
    """The port on which it answers."""
    port, stop, failed = free_port(), threading.Event(), list[BaseException]()

    def run() -> None:
        try:
            serve(app, port, stop)
        except BaseException as error:  # noqa: BLE001 - raised below
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        until = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if failed or time.monotonic() > until:
                    raise
                time.sleep(0.01)
        yield port
    finally:
        stop.set()
        thread.join(15)
        assert not thread.is_alive()
        assert failed == []
