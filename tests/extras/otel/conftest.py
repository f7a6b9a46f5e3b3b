"""A tracer provider that keeps its spans, and a backend that keeps the headers which it receives."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from attrs import define, field


class Traced:
    """Spans that have ended, and how they hang together."""

    def __init__(self, provider: Any, exporter: Any) -> None:
        self.provider = provider
        self.tracer = provider.get_tracer("test")
        self._exporter = exporter

    @property
    def spans(self) -> list[Any]:
        """In the order in which they began."""
        return sorted(self._exporter.get_finished_spans(), key=lambda span: span.start_time)

    def named(self, name: str) -> list[Any]:
        return [span for span in self.spans if span.name == name]

    def only(self, name: str) -> Any:
        (span,) = self.named(name)
        return span

    def runs(self) -> list[Any]:
        return [span for span in self.spans if "rio_chain.chain" in span.attributes]

    def parent(self, span: Any) -> Any:
        """None: there is none, or it has not ended."""
        found = [] if span.parent is None else [one for one in self.spans if one.context == span.parent]
        return found[0] if found else None

    def with_context(self, context: Any) -> Any:
        (found,) = [one for one in self.spans if one.context == context]
        return found

    def with_id(self, traceparent: str) -> Any:
        """The span that a ``traceparent`` names."""
        _, trace, number, _ = traceparent.split("-")
        (found,) = [one for one in self.spans if one.context.span_id == int(number, 16)]
        assert found.context.trace_id == int(trace, 16)
        return found


@pytest.fixture(autouse=True)
def nothing_goes_wrong(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """OpenTelemetry logs its errors: a span that is detached in another context than it was attached in, for one."""
    yield
    errors = [record for record in caplog.get_records("call") if record.name.startswith("opentelemetry")]
    assert [record.getMessage() for record in errors] == []


@pytest.fixture
def traced() -> Iterator[Traced]:
    trace = pytest.importorskip("opentelemetry.sdk.trace", reason="needs opentelemetry-sdk")
    export = pytest.importorskip("opentelemetry.sdk.trace.export")
    memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    provider, exporter = trace.TracerProvider(), memory.InMemorySpanExporter()
    provider.add_span_processor(export.SimpleSpanProcessor(exporter))
    yield Traced(provider, exporter)
    provider.shutdown()


@define
class Received:
    """A request that the backend has got."""

    path: str
    headers: dict[str, str]


@define(eq=False)
class Backend:
    """A server on loopback. ``/hold`` is answered once ``/free`` was asked for."""

    url: str
    received: list[Received] = field(factory=list)
    free: threading.Event = field(factory=threading.Event)


def handler(get: Callable[[], Backend]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            backend = get()
            backend.received.append(Received(self.path, {key.lower(): value for key, value in self.headers.items()}))
            if self.path.startswith("/hold"):
                backend.free.wait(5)
            elif self.path.startswith("/free"):
                backend.free.set()
            self.send_response(503 if self.path.startswith("/fail") else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:  # the caller was cancelled
                return

    return Handler


@pytest.fixture
def backend() -> Iterator[Backend]:
    made: list[Backend] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(lambda: made[0]))
    server.daemon_threads = True
    made.append(Backend(f"http://127.0.0.1:{server.server_port}"))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield made[0]
    made[0].free.set()
    server.shutdown()
    thread.join()
    server.server_close()
