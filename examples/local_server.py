"""A small HTTP server for the examples: a real socket and real threads, and faults that follow from a seed."""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, Self, cast

from attrs import frozen


@frozen
class Reply:
    """What a server answers, and after how many milliseconds."""

    body: str
    status: int = 200
    after: float = 0.0
    kind: str = "application/json"


Answer = Callable[[str, int], Reply]
"""What is answered to a path, at which attempt of the client."""


def drawn(*what: object) -> float:
    """A number from 0 to 1 that follows from ``what`` alone, not from who else draws: every run of a seed is alike."""
    return random.Random("/".join(map(str, what))).random()  # noqa: S311 - no secrets here


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept, as real servers do
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body leave in one packet
    timeout = 5  # seconds for a client that has gone without a word

    def do_GET(self) -> None:
        server = cast("LocalServer", self.server)
        reply = server.answer(self.path, int(self.headers.get("x-attempt", "1")))
        server.closing.wait(reply.after / 1000)
        body = reply.body.encode()
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that http.server gives it
        """Silent."""


class LocalServer(ThreadingHTTPServer):
    """One server on the loopback interface, running from ``with`` to its end."""

    request_queue_size = 128
    daemon_threads = False  # the end waits for the connections

    def __init__(self, answer: Answer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def server_bind(self) -> None:
        """As of TCPServer: HTTPServer would ask the name service who we are."""
        TCPServer.server_bind(self)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that did not wait for its answer is no error."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self.shutdown()
        self.server_close()
