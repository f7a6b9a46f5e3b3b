"""Three real HTTP servers on the loopback interface: one slow, one flaky, one sometimes wrong.

Their answers depend on the path and the request number. Their faults depend on (seed, request, node, attempt), which
every call has in its query.
"""

from __future__ import annotations

import json
import socket
import threading
from contextlib import ExitStack, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, Self, cast
from urllib.parse import parse_qs, urlsplit

from rio_chain.demo.faults import HELD, Node, fault
from rio_chain.executors._start_thread import start_daemon

NAMES = ("Ada", "Grace", "Edsger", "Barbara", "Tony", "Radia", "Donald", "Frances")
TOWNS = ("Lisbon", "Oslo", "Porto", "Ghent", "Turin")
SHOPS = ("bakery", "bookshop", "florist", "tailor", "grocer", "watchmaker")


def users(number: int) -> dict[str, Any]:
    """The answer to ``/users/<number>``."""
    return {"id": number, "name": NAMES[number % len(NAMES)], "town": TOWNS[number % len(TOWNS)]}


def orders(number: int) -> list[dict[str, Any]]:
    """The answer to ``/orders/<number>``: the orders of that user."""
    return [{"id": 100 * number + i, "euros": 5 + (7 * number + 13 * i) % 90} for i in range(1 + number % 4)]


def shops(town: str) -> list[dict[str, Any]]:
    """The answer to ``/shops/<town>``."""
    first = TOWNS.index(town)
    return [{"name": SHOPS[(first + i) % len(SHOPS)], "town": town} for i in range(3)]


def answer(node: Node, what: str) -> Any:
    """The right answer of a node."""
    if node == "shops":
        return shops(what)
    return users(int(what)) if node == "users" else orders(int(what))


def spoiled(body: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A wrong answer that looks right: status 200, valid JSON, shops of another town."""
    return [{**shop, "town": TOWNS[(TOWNS.index(shop["town"]) + 1) % len(TOWNS)]} for shop in body]


class _Handler(BaseHTTPRequestHandler):
    """One connection. It stays open as long as the client keeps it."""

    protocol_version = "HTTP/1.1"  # keeps connections open, as real servers do
    disable_nagle_algorithm = True
    wbufsize = -1  # sends head and body in one packet; otherwise delayed acknowledgements add 40 ms

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        seed, request, attempt = (int(query[key][0]) for key in ("seed", "request", "attempt"))
        server = cast("Backend", self.server)
        node = server.node
        body, status = answer(node, parts.path.rpartition("/")[2]), 200
        match fault(seed, request, node, attempt):
            case "slow":
                server.closing.wait(HELD)
            case "flaky":
                body, status = {"error": "try again"}, 503
            case "wrong":
                body = spoiled(body)
            case _:
                pass
        self._send(status, json.dumps(body).encode())

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            self.close_connection = True  # the client did not wait, or the server was killed

    def finish(self) -> None:
        with suppress(OSError):  # the same, noticed when the last bytes are flushed
            super().finish()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that http.server gives it
        """Log nothing."""


class Backend(ThreadingHTTPServer):
    """One server; ``close`` also ends the connections and waits for their threads."""

    request_queue_size = 128

    def __init__(self, node: Node) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.node: Node = node
        self.closing = threading.Event()
        self._open: set[socket.socket] = set()
        self._changed = threading.Condition()
        start_daemon(lambda: self.serve_forever(poll_interval=0.02), f"rio-chain-demo-{node}")

    def server_bind(self) -> None:
        """As in TCPServer. HTTPServer would ask the name service for our name, which can take seconds."""
        TCPServer.server_bind(self)

    @property
    def url(self) -> str:
        """The address of the server."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def process_request(self, request: Any, client_address: Any) -> None:
        """Called for every connection; starts its thread."""
        with self._changed:
            self._open.add(request)
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """The thread of one connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._changed:
                self._open.discard(request)
                self._changed.notify_all()

    def close(self) -> None:
        """Stop as a killed process does: no more answers, all connections closed. A second call does nothing."""
        if self.closing.is_set():
            return
        self.closing.set()
        self.shutdown()
        self.server_close()
        with self._changed:
            for connection in self._open:
                _hang_up(connection)
            self._changed.wait_for(lambda: not self._open, timeout=5)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _hang_up(connection: socket.socket) -> None:
    with suppress(OSError):  # the client has closed it already
        connection.shutdown(socket.SHUT_RDWR)


class Servers:
    """The three servers. They run from the beginning of the ``with`` to its end."""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.users = stack.enter_context(Backend("users"))
            self.orders = stack.enter_context(Backend("orders"))
            self.shops = stack.enter_context(Backend("shops"))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
