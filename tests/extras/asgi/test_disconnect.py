"""Real servers and real sockets: a client that leaves has its request cancelled."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable

import pytest

pytest.importorskip("starlette", reason="needs .[test-extras]")
pytest.importorskip("uvicorn", reason="needs .[test-extras]")
pytest.importorskip("hypercorn", reason="needs .[test-extras]")

from extras.asgi.servers import LONG, Served

TRIES = 5


def close(sock: socket.socket) -> None:
    sock.close()


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


@pytest.mark.parametrize("leave", [close, reset])
def test_a_client_that_leaves_has_its_request_cancelled(served: Served, leave: Callable[[socket.socket], None]) -> None:
    """Within 50 ms: the best of a few tries, as the machine may be busy."""
    site, took = served.site, list[float]()
    for number in range(1, TRIES + 1):
        sock = served.connect()
        sock.sendall(served.request("/one/slow"))
        site.wait_for("slow began", number)
        left = time.monotonic()
        leave(sock)
        took.append(site.wait_for("slow cancelled", number) - left)
        site.wait_for("ClientGone", number)
    assert min(took) < 0.05
    assert max(took) < LONG / 4
    stats = site.balancer.stats()
    assert (stats.running, stats.queued, stats.cancelled) == (0, 0, TRIES)


def test_a_client_that_has_sent_a_body_is_watched_too(served: Served) -> None:
    with served.connect() as sock:
        sock.sendall(served.request("/one/slow", method="POST", body=b"x" * 200_000))
        served.site.wait_for("slow began")
    served.site.wait_for("slow cancelled")


def test_two_requests_for_one_client_are_both_cancelled(served: Served) -> None:
    with served.connect() as sock:
        sock.sendall(served.request("/two"))
        served.site.wait_for("first began")
        served.site.wait_for("second began")
    served.site.wait_for("first cancelled")
    served.site.wait_for("second cancelled")
    served.site.wait_for("ClientGone", 2)


def test_the_reader_that_ends_hands_over_to_the_other(served: Served) -> None:
    with served.connect() as sock:
        sock.sendall(served.request("/short-and-long"))
        served.site.wait_for("quick began")
        served.site.wait_for("second began")
        time.sleep(0.02)  # the first has ended
    served.site.wait_for("second cancelled")
    assert served.site.count("quick cancelled") == 0


def test_a_request_in_the_queue_never_begins_when_its_client_leaves(served: Served) -> None:
    site = served.site
    socks = [served.connect() for _ in range(5)]
    for number, sock in enumerate(socks[:4], 1):
        sock.sendall(served.request("/one/slow"))
        site.wait_for("slow began", number)
    socks[4].sendall(served.request("/one/waiting"))
    until = time.monotonic() + 5
    while site.balancer.stats().queued != 1:
        assert time.monotonic() < until
        time.sleep(0.005)
    socks[4].close()
    site.wait_for("ClientGone")
    assert site.balancer.stats().queued == 0
    for sock in socks[:4]:
        sock.close()
    site.wait_for("slow cancelled", 4)
    assert site.count("waiting began") == 0


def test_a_client_that_stays_gets_its_answer_on_a_connection_that_is_kept(served: Served) -> None:
    with served.connect() as sock:
        for method in ("GET", "POST", "HEAD", "GET"):
            sock.sendall(served.request("/one/quick", method=method, body=b"x" if method == "POST" else b""))
            head, body = answer(sock, with_body=method != "HEAD")
            assert " 200" in head.splitlines()[0]
            assert body == (b"" if method == "HEAD" else b"quick")
    assert served.site.count("ClientGone") == 0


def test_requests_that_are_pipelined_are_all_answered(served: Served) -> None:
    with served.connect() as sock:
        sock.sendall(served.request("/one/quick") * 3)
        for _ in range(3):
            assert answer(sock)[1] == b"quick"
    assert served.site.count("ClientGone") == 0


def answer(sock: socket.socket, *, with_body: bool = True) -> tuple[str, bytes]:
    got = b""
    while b"\r\n\r\n" not in got:
        got += sock.recv(1)
    head = got.decode("latin-1")
    (length,) = [line.split(":")[1] for line in head.lower().splitlines() if line.startswith("content-length")]
    body = b""
    while with_body and len(body) < int(length):
        body += sock.recv(int(length) - len(body))
    return head, body


@pytest.mark.parametrize(("method", "body"), [("GET", b""), ("POST", b"some")])
def test_a_body_that_was_not_read_is_an_error_that_says_so(served: Served, method: str, body: bytes) -> None:
    status, _, text = served.ask("/unread", method=method, body=body)
    assert status == 500
    assert "await request.body()" in text
    assert served.site.count("UsageError") == 1


def test_a_long_body_that_was_not_read_is_an_error_too(served: Served) -> None:
    with served.connect() as sock:
        sock.sendall(served.request("/unread", method="POST", body=b"x" * 200_000))
        served.site.wait_for("UsageError")
    assert served.site.balancer.stats().running == 0


def test_a_stream_of_http_2_that_is_reset_leaves_the_others_alone(served: Served, serve: object) -> None:
    from extras.asgi.servers import SERVERS  # noqa: PLC0415
    from h2.config import H2Configuration  # noqa: PLC0415 - comes with hypercorn, whose servers alone speak HTTP/2
    from h2.connection import H2Connection  # noqa: PLC0415
    from h2.events import DataReceived, Event, StreamEnded  # noqa: PLC0415

    if serve is SERVERS["uvicorn"]:
        pytest.skip("uvicorn speaks HTTP/1.1 alone")
    site, connection = served.site, H2Connection(H2Configuration(client_side=True))

    def ask(path: str) -> int:
        number = connection.get_next_available_stream_id()
        pairs = {":method": "GET", ":path": path, ":scheme": "http", ":authority": "shop"}
        connection.send_headers(number, list(pairs.items()), end_stream=True)
        return number

    with served.connect() as sock:
        connection.initiate_connection()
        slow = ask("/one/slow")
        sock.sendall(connection.data_to_send())
        site.wait_for("slow began")
        connection.reset_stream(slow)
        quick = ask("/one/quick")
        sock.sendall(connection.data_to_send())
        events: list[Event] = []
        while not any(isinstance(event, StreamEnded) and event.stream_id == quick for event in events):
            events += connection.receive_data(sock.recv(65536))
            sock.sendall(connection.data_to_send())
        assert b"".join(event.data for event in events if isinstance(event, DataReceived)) == b"quick"
        site.wait_for("slow cancelled")
        site.wait_for("ClientGone")  # else its answer comes when the connection is closed: see the page about FastAPI
        assert site.balancer.stats().running == 0
