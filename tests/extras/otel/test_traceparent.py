"""A span that a body opens is a child of its attempt, and the traceparent that a backend gets names that attempt."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import httpx2
import pytest
import trio

from rio_chain import Balancer, Chain, Event, Request, Task, add_observer, current_attempt, each
from rio_chain.contrib.otel import OpenTelemetryObserver

pytest.importorskip("opentelemetry.sdk", reason="needs rio-chain[otel] and opentelemetry-sdk")

from extras.otel.conftest import Backend, Traced
from extras.otel.lane_bodies import call_backend, current_span_id
from opentelemetry import baggage, propagate
from opentelemetry.context import attach, detach


def blocking(request: Request[Any], executor: str) -> Any:
    with Balancer(executor, workers=4) as balancer:
        return balancer.run(request)


async def awaited(request: Request[Any]) -> Any:
    return await request


async def in_balancer(request: Request[Any]) -> Any:
    async with Balancer(workers=4) as balancer:
        return await balancer.arun(request)


async def posted(request: Request[Any]) -> Any:
    async with Balancer(workers=1) as balancer:
        before = balancer.post(Task(abs)(0))
        ticket = balancer.post(request)
        await before
        return await ticket


RUNS: dict[str, Callable[[Request[Any]], Any]] = {
    "asyncio": lambda request: blocking(request, "asyncio"),
    "trio": lambda request: blocking(request, "trio"),
    "thread": lambda request: blocking(request, "thread"),
    "asyncio in place": lambda request: asyncio.run(awaited(request)),
    "trio in place": lambda request: trio.run(awaited, request),
    "asyncio balancer": lambda request: asyncio.run(in_balancer(request)),
    "trio balancer": lambda request: trio.run(in_balancer, request),
    "asyncio posted": lambda request: asyncio.run(posted(request)),
    "trio posted": lambda request: trio.run(posted, request),
}


class Attempts:
    """An observer that knows how many attempts go on."""

    def __init__(self) -> None:
        self._open = 0
        self._changed = threading.Condition()

    def __call__(self, event: Event) -> None:
        with self._changed:
            self._open += {"attempt_started": 1, "attempt_ended": -1}.get(event.kind, 0)
            self._changed.notify_all()

    def wait(self) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: not self._open, 5)


class Bodies:
    """A function of either kind that calls the backend, says which attempt it is, and opens a span."""

    def __init__(self, traced: Traced, backend: Backend) -> None:
        self.traced = traced
        self.backend = backend

    def headers(self, item: object) -> dict[str, str]:
        attempt = current_attempt()
        headers = {"x-attempt": f"{int(attempt)}/{attempt.replica}/{item}"}
        propagate.inject(headers)
        return headers

    def url(self, item: object) -> str:
        """What the backend is asked for: it fails the first attempt, or holds the first of two replicas."""
        attempt = current_attempt()
        path = "get"
        if item == "retried" and attempt == 1:
            path = "fail"
        elif item == "hedged":
            path = "free" if attempt.replica else "hold"
        return f"{self.backend.url}/{path}"

    def inside(self, item: object) -> None:
        with self.traced.tracer.start_as_current_span(f"inside {self.headers(item)['x-attempt']}"):
            pass

    def sync(self, item: object) -> object:
        self.inside(item)
        with httpx2.Client() as client:
            client.get(self.url(item), headers=self.headers(item)).raise_for_status()
        return item

    def awaitable(self, item: object) -> Awaitable[object]:
        """As ``lambda url: client.get(url)``."""
        return self.asynchronous(item)

    async def asynchronous(self, item: object) -> object:
        self.inside(item)
        async with httpx2.AsyncClient() as client:
            answer = await client.get(self.url(item), headers=self.headers(item))
            answer.raise_for_status()
        self.inside(item)
        return item


Shape = tuple[Callable[[Callable[[Any], Any]], Chain[Any, Any]], Any, set[str]]

SHAPES: dict[str, Shape] = {
    "first call": (lambda body: Task(body).named("call"), "first", {"1/0/first"}),
    "retry": (lambda body: Task(body).named("call").retry(1, backoff=None), "retried", {"1/0/retried", "2/0/retried"}),
    "hedge": (lambda body: Task(body).named("call").replica(2, after=20), "hedged", {"1/0/hedged", "1/1/hedged"}),
    "items": (lambda body: each(Task(body).named("call"), limit=3), [5, 6, 7], {"1/0/5", "1/0/6", "1/0/7"}),
    "branches": (
        lambda body: Task(body).named("call") & (Task(lambda _: "right").inline() >> Task(body).named("call b")),
        "left",
        {"1/0/left", "1/0/right"},
    ),
    "nested": (
        lambda body: Task(Task(body).named("call").__call__).named("outer"),
        "within",
        {"1/0/within"},
    ),
}


def seen_by_all(traced: Traced, backend: Backend, calls: set[str]) -> None:
    assert {one.headers["x-attempt"] for one in backend.received} == calls
    for one in backend.received:
        said = one.headers["x-attempt"]
        number, replica, _ = said.split("/")
        attempt = traced.with_id(one.headers["traceparent"])
        assert attempt.attributes["rio_chain.attempt"] == int(number)
        assert attempt.attributes.get("rio_chain.replica", 0) == int(replica)
        assert attempt.attributes["rio_chain.task"].startswith("call")
        inside = traced.named(f"inside {said}")
        assert inside
        assert {traced.parent(span).context.span_id for span in inside} == {attempt.context.span_id}
    assert len({one.headers["traceparent"] for one in backend.received}) == len(backend.received)
    assert len({span.context.trace_id for span in traced.runs() if span.name != "abs"}) == 1


@pytest.mark.parametrize("kind", ["sync", "asynchronous", "awaitable"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("run", RUNS)
def test_a_backend_and_an_inner_span_see_the_attempt(
    traced: Traced, backend: Backend, run: str, shape: str, kind: str
) -> None:
    make, argument, calls = SHAPES[shape]
    bodies, attempts = Bodies(traced, backend), Attempts()
    with add_observer(OpenTelemetryObserver(tracer_provider=traced.provider)), add_observer(attempts):
        RUNS[run](make(getattr(bodies, kind))(argument)).unwrap()
        attempts.wait()  # also for those that were abandoned
    seen_by_all(traced, backend, calls)


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("kind", ["sync", "awaitable"])
def test_an_inline_body_sees_its_attempt(traced: Traced, backend: Backend, run: str, kind: str) -> None:
    body = getattr(Bodies(traced, backend), kind)
    with add_observer(OpenTelemetryObserver(tracer_provider=traced.provider)):
        RUNS[run](Task(body).inline().named("call")("here")).unwrap()
    seen_by_all(traced, backend, {"1/0/here"})


@pytest.mark.parametrize("kind", ["sync", "asynchronous"])
@pytest.mark.parametrize("run", RUNS)
def test_the_body_of_a_generator_sees_its_attempt(traced: Traced, backend: Backend, run: str, kind: str) -> None:
    bodies = Bodies(traced, backend)

    def sync(item: object) -> Iterator[object]:
        yield bodies.sync(item)
        bodies.inside(item)

    async def asynchronous(item: object) -> AsyncIterator[object]:
        yield await bodies.asynchronous(item)
        bodies.inside(item)

    chain = Task({"sync": sync, "asynchronous": asynchronous}[kind]).named("call") >> each(Task(str).named("item"))
    with add_observer(OpenTelemetryObserver(tracer_provider=traced.provider)):
        assert RUNS[run](chain("many")).unwrap() == ["many"]
    (attempt,) = traced.named("call attempt")
    assert [traced.with_id(one.headers["traceparent"]) for one in backend.received] == [attempt]
    opened = [span for span in traced.spans if span.name.startswith("inside")]
    assert {traced.parent(span).context.span_id for span in opened} == {attempt.context.span_id}
    assert len(opened) == (2 if kind == "sync" else 3)


@pytest.mark.parametrize("run", RUNS)
def test_a_request_of_a_bridge_names_the_run(traced: Traced, backend: Backend, run: str) -> None:
    """A bridge makes no attempts. One that gives a Request of tasks has those of the tasks."""
    bodies = Bodies(traced, backend)
    chain = (Task(str) >> bodies.sync >> bodies.asynchronous >> Task(bodies.sync).named("call").__call__).named("page")
    with add_observer(OpenTelemetryObserver(tracer_provider=traced.provider)):
        RUNS[run](chain("first")).unwrap()
    named = [traced.with_id(one.headers["traceparent"]).name for one in backend.received]
    assert named == ["page", "page", "call attempt"]


@pytest.mark.parametrize("run", RUNS)
def test_a_bridge_sees_the_span_of_its_run(traced: Traced, run: str) -> None:
    seen: list[str] = []

    def bridge(value: int) -> int:
        headers: dict[str, str] = {}
        propagate.inject(headers)
        seen.append(headers["traceparent"])
        return value

    async def async_bridge(value: int) -> int:
        return bridge(value)

    chain = (Task(abs) >> bridge >> bridge >> async_bridge >> Task(abs) >> bridge).named("page")
    with add_observer(OpenTelemetryObserver(tracer_provider=traced.provider)):
        assert RUNS[run](chain(-1)).unwrap() == 1
    assert len(seen) == 4
    assert {traced.with_id(one).name for one in seen} == {"page"}


@pytest.mark.parametrize("run", RUNS)
def test_a_run_is_below_the_span_of_its_caller_which_is_current_again_afterwards(traced: Traced, run: str) -> None:
    with (
        add_observer(OpenTelemetryObserver(tracer_provider=traced.provider)),
        traced.tracer.start_as_current_span("handler"),
    ):
        RUNS[run]((Task(abs) >> Task(abs)).named("page")(1)).unwrap()
        with traced.tracer.start_as_current_span("after"):
            pass
    handler = traced.only("handler")
    assert traced.parent(traced.only("after")) is handler
    assert traced.parent(traced.only("page")) is handler


def test_what_runs_in_place_leaves_the_context_as_it_was(traced: Traced) -> None:
    async def main() -> None:
        with traced.tracer.start_as_current_span("handler"):
            for number in range(3):
                await Task(abs)(number)
                with traced.tracer.start_as_current_span("between"):
                    pass

    with add_observer(OpenTelemetryObserver(tracer_provider=traced.provider)):
        asyncio.run(main())
    handler = traced.only("handler")
    assert [traced.parent(span) is handler for span in traced.named("between")] == [True] * 3
    assert [traced.parent(span) is handler for span in traced.runs()] == [True] * 3


@pytest.mark.parametrize("executor", ["asyncio", "trio", "thread"])
def test_a_body_in_a_lane_is_below_its_attempt(traced: Traced, backend: Backend, executor: str) -> None:
    observer = OpenTelemetryObserver(tracer_provider=traced.provider)
    with Balancer(executor, lanes={"cpu": 1}, observers=[observer]) as balancer:
        chain = Task(call_backend).lane("cpu").named("call")
        for _ in range(2):  # the process is used again
            assert balancer.run(chain(backend.url)).unwrap() != os.getpid()
        pid, number = balancer.run(Task(current_span_id).lane("cpu").named("where")(0)).unwrap()
        assert pid != os.getpid()
    named = [traced.with_id(one.headers["traceparent"]) for one in backend.received]
    assert [span.name for span in named] == ["call attempt"] * 2
    assert named[0] is not named[1]
    assert traced.only("where attempt").context.span_id == number


def test_without_an_observer_nothing_goes_to_a_lane(traced: Traced) -> None:
    with Balancer("thread", lanes={"cpu": 1}) as balancer, traced.tracer.start_as_current_span("handler"):
        pid, number = balancer.run(Task(current_span_id).lane("cpu")(0)).unwrap()
    assert (pid != os.getpid(), number) == (True, 0)


def test_a_run_that_a_body_begins_is_below_the_attempt_of_the_body(traced: Traced) -> None:
    async def outer(value: int) -> int:
        outcome = await Task(abs).named("inner")(value)
        with traced.tracer.start_as_current_span("after"):
            pass
        return outcome.unwrap()

    with add_observer(OpenTelemetryObserver(tracer_provider=traced.provider)):
        assert Task(outer).named("outer")(-3).run().unwrap() == 3
    (inner,) = [span for span in traced.runs() if span.name == "inner"]
    attempt = traced.only("outer attempt")
    assert traced.parent(inner) is attempt
    assert traced.parent(traced.only("after")) is attempt


def test_baggage_reaches_a_body(traced: Traced) -> None:
    token = attach(baggage.set_baggage("tenant", "lisbon"))
    try:
        with add_observer(OpenTelemetryObserver(tracer_provider=traced.provider)):
            assert Task(lambda _: baggage.get_baggage("tenant"))(0).run(executor="thread").unwrap() == "lisbon"
    finally:
        detach(token)
