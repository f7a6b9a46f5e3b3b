"""The three ways in which the shop is served. Each runs until Ctrl-C or SIGTERM, and drains before it ends."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable
from functools import partial

from examples.shop.limits import BUFFER, WORKERS
from examples.shop.start_backends import Places
from rio_chain import Balancer

DRAIN = 10
"""Seconds that requests have to end."""


def on_uvicorn(places: Places, listening: socket.socket) -> None:
    """FastAPI and GraphQL on asyncio."""
    import uvicorn  # noqa: PLC0415 - each server needs its own packages alone

    from examples.shop.fastapi_app import application  # noqa: PLC0415

    config = uvicorn.Config(application(places), log_level="warning", timeout_graceful_shutdown=DRAIN)
    uvicorn.Server(config).run(sockets=[listening])


def on_hypercorn(places: Places, listening: socket.socket) -> None:
    """FastAPI on trio."""
    import trio  # noqa: PLC0415
    from hypercorn.config import Config  # noqa: PLC0415
    from hypercorn.trio import serve  # noqa: PLC0415

    from examples.shop.trio_app import application  # noqa: PLC0415

    config = Config()
    config.bind = [f"fd://{listening.detach()}"]
    config.graceful_timeout = DRAIN

    async def until_a_signal() -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for _ in signals:
                return

    # hypercorn's types know one kind of application, and FastAPI is described by another
    trio.run(partial(serve, application(places), config, shutdown_trigger=until_a_signal))  # type: ignore[arg-type]


def on_threads(places: Places, listening: socket.socket) -> None:
    """Flask on threads, served by werkzeug, which is for development. In production it is gunicorn or waitress."""
    from werkzeug.serving import make_server  # noqa: PLC0415

    from examples.shop.blocking_client import BlockingClient  # noqa: PLC0415
    from examples.shop.flask_app import application  # noqa: PLC0415

    client = BlockingClient(places)
    host, port = listening.getsockname()
    with Balancer("thread", workers=WORKERS, buffer=BUFFER) as balancer:
        app = application(client.chains, balancer)
        server = make_server(host, port, app, threaded=True, fd=listening.fileno())
        server.daemon_threads = False  # type: ignore[attr-defined]  # so that closing it waits for its requests
        before = signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
        try:
            server.serve_forever()
        finally:
            signal.signal(signal.SIGTERM, before)
            server.server_close()
    client.close()


SERVERS: dict[str, Callable[[Places, socket.socket], None]] = {
    "uvicorn": on_uvicorn,
    "hypercorn": on_hypercorn,
    "flask": on_threads,
}
