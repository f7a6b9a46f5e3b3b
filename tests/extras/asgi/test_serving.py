"""Real servers: headers, refusals, WebSockets, start-up and shutdown."""

from __future__ import annotations

import base64
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette", reason="needs .[test-extras]")
pytest.importorskip("uvicorn", reason="needs .[test-extras]")
pytest.importorskip("hypercorn", reason="needs .[test-extras]")

from extras.asgi.servers import Served, Site, free_port, serving

from rio_chain import Balancer
from rio_chain.contrib.asgi import lifespan

ROOT = Path(__file__).parents[3]


# --- headers --------------------------------------------------------------------------------------------------------


def test_a_header_with_a_deadline_shortens_the_time(served: Served) -> None:
    assert served.ask("/one/slow", headers="X-Deadline-Ms: 30\r\n")[0] == 504
    assert served.site.count("slow cancelled") == 1


@pytest.mark.parametrize(
    "sent",
    ["soon", "-5", "1e3", "1_000", "0x10", "9" * 400, "+5", "", "5, 6", "5\r\nX-Deadline-Ms: 6", "\xb2", "inf", "nan"],
)
def test_a_header_that_is_no_deadline_is_refused_and_logged_once(
    served: Served, sent: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "rio_chain"):
        status, _, text = ask_raw(served, sent)
        served.site.wait_for("DeadlineHeaderError")
    assert status == 400
    assert served.site.count("slow began") == 0
    assert len(text) < 250
    (line,) = [record.getMessage() for record in caplog.records if record.name == "rio_chain"]
    assert line.startswith("a request was refused: `x-deadline-ms` must be")
    assert len(line) < 250
    assert line.isprintable()


def ask_raw(served: Served, sent: str) -> tuple[int, str, str]:
    return served.ask("/one/slow", headers=f"X-Deadline-Ms: {sent}\r\n")


def test_a_header_that_asks_for_years_gets_what_the_application_gives(served: Served) -> None:
    assert served.ask("/one/quick", headers="X-Deadline-Ms: 999999999999999\r\n")[0] == 200


def test_headers_that_were_not_named_are_not_read(served: Served) -> None:
    others = "Grpc-Timeout: 1m\r\nX-Envoy-Expected-Rq-Timeout-Ms: 0\r\nX-Priority: 9\r\nTimeout: 0\r\n"
    assert served.ask("/one/quick", headers=others)[0] == 200


# --- refusals -------------------------------------------------------------------------------------------------------


def test_what_does_not_fit_is_refused_with_a_time_to_come_again(served: Served) -> None:
    with contextlib.ExitStack() as open_ones:
        for number in range(1, 5):
            sock = open_ones.enter_context(served.connect())
            sock.sendall(served.request("/one/slow"))
            served.site.wait_for("slow began", number)
        waiting = [open_ones.enter_context(served.connect()) for _ in range(2)]
        for sock in waiting:
            sock.sendall(served.request("/one/slow"))
        until = time.monotonic() + 5
        while served.site.balancer.stats().queued < 2 and time.monotonic() < until:
            time.sleep(0.005)
        assert served.ask("/health/ready")[0] == 503
        assert served.ask("/health/live")[0] == 200
        status, head, text = served.ask("/one/slow")
        assert status == 503
        assert "\r\nretry-after: " in head
        assert text.startswith("QueueFull: ")
    served.site.wait_for("slow cancelled", 4)
    served.site.wait_for("ClientGone", 6)


# --- WebSockets -----------------------------------------------------------------------------------------------------


def test_a_web_socket_is_refused_with_the_call_to_use(served: Served) -> None:
    key = base64.b64encode(b"0123456789abcdef").decode()
    upgrade = f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
    with served.connect() as sock:
        sock.sendall(served.request("/socket", headers=upgrade))
        got = until(sock, b"\r\n\r\n")
        assert b" 101 " in got
        sock.sendall(bytes([0x81, 0x82, 0, 0, 0, 0]) + b"hi")  # a text, with a mask of nothing
        text = until(sock, b"arun")
    assert b"`handle` is for HTTP requests, and this is a WebSocket" in text


def until(sock: socket.socket, end: bytes) -> bytes:
    got = b""
    while end not in got:
        chunk = sock.recv(4096)
        assert chunk, got
        got += chunk
    return got


# --- start-up and shutdown ------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def broken(_: object) -> AsyncIterator[None]:
    raise OSError("no database")
    yield


def plain(life: Any) -> Any:
    """An application that is plain ASGI."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await life.serve(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": scope["state"].get("answer", "no").encode()})

    return app


def test_an_application_that_is_plain_asgi_opens_and_closes_a_balancer(serve: Any) -> None:
    site = Site()
    app = plain(lifespan(site.balancer, site.clients))
    with serving(serve, app) as port:
        assert repr(site.balancer).split()[2] == "open:"
        assert Served(site, port).ask("/")[2] == "42"
    assert repr(site.balancer).split()[2] == "closed:"
    assert [name for name, _ in site.events] == ["clients opened", "clients closed"]


@pytest.mark.parametrize("kind", ["starlette", "plain"])
def test_a_start_up_that_fails_ends_the_server(serve: Any, kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    from starlette.applications import Starlette  # noqa: PLC0415 - needs the extras

    balancer = Balancer(workers=2)
    life = lifespan(balancer, broken)
    app = Starlette(lifespan=life) if kind == "starlette" else plain(life)
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - each server has an error of its own
        serve(app, free_port(), threading.Event())
    said = "".join([*capfd.readouterr(), *map(str, errors_in(caught.value))])
    assert "no database" in said
    assert repr(balancer).split()[2] == "open:"  # it was never entered


def errors_in(error: BaseException) -> list[BaseException]:
    return (
        [one for part in error.exceptions for one in errors_in(part)]
        if isinstance(error, BaseExceptionGroup)
        else [error]
    )


PROGRAM = """
    import os
    import anyio
    from starlette.applications import Starlette
    from starlette.responses import Response
    from starlette.routing import Route
    from rio_chain import Balancer, Task
    from rio_chain.contrib.asgi import handle, lifespan, readiness, respond_to

    balancer = Balancer(workers=2)
    done = []


    def note(what):
        print(what, flush=True)


    async def slow(name):
        note(f"{name} began")
        while not (done if name == "posted" else stopping() or os.path.exists("go on")):
            await anyio.sleep(0.01)
        if name == "page":
            note("not ready" if stopping() else "ready")
        else:
            await anyio.sleep(0.3)  # the server has drained by then, and the balancer is closing
        done.append(name)
        note(f"{name} done")
        return "served"


    def stopping():
        return readiness(balancer).detail.startswith("not ready: the application is stopping")


    async def page(request):
        await request.body()
        outcome = await handle(request.receive, balancer, Task(slow)("page"))
        status, headers, detail = respond_to(outcome)
        return Response(outcome.value_or(detail), status, headers)


    async def posted(request):
        balancer.post(Task(slow)("posted"))
        return Response("posted")


    class Around:
        async def __aenter__(self):
            pass

        async def __aexit__(self, *_):
            note(f"closed {balancer!r}".partition(":")[0])


    app = Starlette(
        routes=[Route("/", page), Route("/posted", posted)],
        lifespan=lifespan(balancer, lambda app: Around(), grace=5_000),
    )
"""
COMMANDS = {
    "uvicorn": ["uvicorn", "main:app", "--log-level=warning", "--port={}"],
    "hypercorn": [
        "hypercorn",
        "main:app",
        "--log-level=warning",
        "--graceful-timeout=5",
        "--workers=0",
        "-b=127.0.0.1:{}",
    ],
    "hypercorn-trio": [
        "hypercorn",
        "main:app",
        "--log-level=warning",
        "--graceful-timeout=5",
        "-k=trio",
        "-b=127.0.0.1:{}",
    ],
}


@contextlib.contextmanager
def program(folder: Path, server: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    (folder / "main.py").write_text(textwrap.dedent(PROGRAM), encoding="utf-8")
    port = free_port()
    command = [sys.executable, "-m", *(word.format(port) for word in COMMANDS[server])]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=folder)
    try:
        until = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.02)
        yield process, port
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("server", COMMANDS)
def test_at_sigterm_it_is_not_ready_then_drains_then_closes(tmp_path: Path, server: str) -> None:
    """A worker of hypercorn with trio gets no signal: the process above it does, and shuts it down in the end."""
    hears = server != "hypercorn-trio"
    with program(tmp_path, server) as (process, port):
        served = Served(Site(), port)
        assert served.ask("/posted")[2] == "posted"
        with served.connect() as sock:
            sock.sendall(served.request("/", headers="Connection: close\r\n"))
            assert process.stdout is not None
            lines = [process.stdout.readline().strip() for _ in range(2)]
            process.send_signal(signal.SIGTERM)
            if not hears:
                (tmp_path / "go on").touch()
            got = until(sock, b"served")
        assert b" 200 " in got
        rest, _ = process.communicate(timeout=20)
    lines += rest.splitlines()
    assert process.returncode in (0, -signal.SIGTERM)  # uvicorn ends by the signal
    assert lines == [
        "posted began",
        "page began",
        "not ready" if hears else "ready",
        "page done",
        "posted done",
        f"closed <Balancer {'asyncio' if hears else 'trio'} closed",
    ]
