"""The spans of a run, and how each of them ends."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from rio_chain import Balancer, Batch, Event, Failure, Task, add_observer, current_attempt, each, expand, fan_out, race
from rio_chain.contrib.otel import OpenTelemetryObserver
from rio_chain.observers import Observer
from rio_chain.testing import run_virtual, sleep

pytest.importorskip("opentelemetry.sdk", reason="needs rio-chain[otel] and opentelemetry-sdk")

from extras.otel.conftest import Traced
from opentelemetry import propagate, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode, TraceFlags


class Executors:
    """How a request is run on each of them."""

    def __init__(self, name: str) -> None:
        self.name = name

    def run(self, request: Any, observer: Any) -> Any:
        if self.name == "virtual":
            with add_observer(observer):
                return run_virtual(request.arun)
        with Balancer(self.name, observers=[observer]) as balancer:
            return balancer.run(request)


@pytest.fixture(params=["asyncio", "trio", "thread", "virtual"])
def executor(request: pytest.FixtureRequest) -> Executors:
    return Executors(request.param)


def facts(span: Any) -> tuple[str, StatusCode, dict[str, object]]:
    attributes = {key.removeprefix("rio_chain."): value for key, value in span.attributes.items()}
    return span.name, span.status.status_code, attributes


def tree(traced: Traced, parent: Any = None) -> list[Any]:
    """The facts of each span below this one, in the order in which they began, and what is below each."""
    return [(*facts(span), tree(traced, span)) for span in traced.spans if traced.parent(span) is parent]


async def identity(number: int) -> int:
    return number


async def fetch(number: int) -> int:
    attempt = current_attempt()
    if attempt.replica:
        return number
    if attempt == 1:
        raise OSError("the password is swordfish")
    await sleep(5_000)
    raise AssertionError("it is cancelled before")


def test_the_tree_of_a_hedged_and_retried_request(traced: Traced, executor: Executors) -> None:
    page = (Task(fetch).retry(1, backoff=None).replica(2, after=30) >> Task(str).named("render")).named("page")
    outcome = executor.run(page(7), OpenTelemetryObserver(tracer_provider=traced.provider))
    assert outcome.unwrap() == "7"
    unset, error = StatusCode.UNSET, StatusCode.ERROR
    failed = {"task": "fetch", "attempt": 1, "outcome": "failed", "error.type": "OSError"}
    lost = {"task": "fetch", "attempt": 2, "outcome": "cancelled"}
    won = {"task": "fetch", "attempt": 1, "replica": 1, "outcome": "succeeded"}
    assert tree(traced) == [
        ("page", unset, {"chain": "page", "outcome": "succeeded"}, [
            ("fetch", unset, {"task": "fetch", "attempts": 3, "outcome": "succeeded"}, [
                ("fetch attempt", error, failed, []),
                ("fetch attempt", unset, lost, []),
                ("fetch attempt", unset, won, []),
            ]),
            ("render", unset, {"task": "render", "attempts": 1, "outcome": "succeeded"}, [
                ("render attempt", unset, {"task": "render", "attempt": 1, "outcome": "succeeded"}, []),
            ]),
        ]),
    ]  # fmt: skip
    _, second, hedge = traced.named("fetch attempt")
    assert [link.context for link in hedge.links] == [second.context]  # the call that it is made beside
    assert [len(span.links) for span in traced.spans] == [0, 0, 0, 0, 1, 0, 0]
    assert {span.kind for span in traced.spans} == {SpanKind.INTERNAL}
    for span in traced.spans:
        parent = traced.parent(span)
        assert parent is None or parent.start_time <= span.start_time <= span.end_time <= parent.end_time
        assert "swordfish" not in span.to_json()


@pytest.mark.parametrize("name", ["asyncio", "trio", "thread"])
def test_a_sync_loser_of_a_hedge_is_cancelled_and_ends_when_it_is_abandoned(traced: Traced, name: str) -> None:
    release, returned = threading.Event(), threading.Event()

    def slow(number: int) -> int:
        if not current_attempt().replica:
            release.wait(5)
        return number

    def note(event: Any) -> None:
        if event.kind == "call_returned":
            returned.set()

    observer = OpenTelemetryObserver(tracer_provider=traced.provider)
    with Balancer(name, observers=[observer, note]) as balancer:
        balancer.run(Task(slow).replica(2, after=10)(3)).unwrap()
        loser, winner = traced.named("slow attempt")
        release.set()
        assert returned.wait(5)
    assert len(traced.named("slow attempt")) == 2  # it has not ended twice
    (task,) = traced.named("slow")[1:]
    assert loser.end_time <= task.end_time
    assert facts(loser)[1:] == (
        StatusCode.UNSET,
        {"task": "slow", "attempt": 1, "abandoned": True, "outcome": "cancelled"},
    )
    assert facts(winner)[2]["outcome"] == "succeeded"
    assert [link.context for link in winner.links] == [loser.context]


@pytest.mark.parametrize("name", ["asyncio", "trio", "thread"])
def test_so_does_one_in_a_part_that_is_called_twice_at_once(traced: Traced, name: str) -> None:
    """Both calls of the item have the same number and path."""
    never, begun = threading.Event(), threading.Event()

    def first_hangs(number: int) -> int:
        if not begun.is_set():
            begun.set()
            never.wait(5)
        return number

    chain = (Task(lambda _: [1]).named("items") >> each(Task(first_hangs).named("item"), limit=1)).replica(2, after=10)
    with Balancer(name, observers=[OpenTelemetryObserver(tracer_provider=traced.provider)]) as balancer:
        assert balancer.run(chain(0)).unwrap() == [1]
        ended = traced.named("item attempt")
        never.set()
    assert sorted(str(facts(one)[2]["outcome"]) for one in ended) == ["cancelled", "succeeded"]


@pytest.mark.parametrize("name", ["asyncio", "trio", "thread"])
def test_a_call_that_never_returns_has_a_span(traced: Traced, name: str) -> None:
    never, opened = threading.Event(), threading.Event()

    def stuck(_: int) -> None:
        never.wait(5)
        with traced.tracer.start_as_current_span("late"):
            opened.set()

    nested = Task(stuck).timeout(10)
    chain = each(Task(nested.__call__).named("outer"), on_error="keep", limit=2)
    with add_observer(OpenTelemetryObserver(tracer_provider=traced.provider)), Balancer(name) as balancer:
        balancer.run(chain([1, 2]))
        attempts = traced.named("stuck attempt")
        assert [facts(one)[1:] for one in attempts] == [
            (StatusCode.UNSET, {"task": "stuck", "attempt": 1, "abandoned": True, "outcome": "cancelled"})
        ] * 2
        assert {traced.parent(traced.parent(one)).name for one in attempts} == {"outer"}
        never.set()
        assert opened.wait(5)
    assert {traced.parent(span).name for span in traced.named("late")} == {"stuck attempt"}
    assert len(traced.named("stuck attempt")) == 2


def test_a_body_that_exits_has_failed_and_what_runs_beside_it_is_cancelled(traced: Traced, executor: Executors) -> None:
    async def dies(_: int) -> None:
        await sleep(5)
        raise SystemExit(3)

    async def slow(_: int) -> None:
        await sleep(5_000)

    observer = OpenTelemetryObserver(tracer_provider=traced.provider)
    with pytest.raises(SystemExit):
        executor.run((Task(dies) & Task(slow)).named("page")(1), observer)
    found = {span.name: (span.status.status_code, facts(span)[2]["outcome"]) for span in traced.spans}
    failed, cancelled = (StatusCode.ERROR, "failed"), (StatusCode.UNSET, "cancelled")
    assert found == {
        "page": failed, "dies": failed, "dies attempt": failed, "slow": cancelled, "slow attempt": cancelled,
    }  # fmt: skip
    errors = {span.attributes["error.type"] for span in traced.spans if span.status.status_code == StatusCode.ERROR}
    assert errors == {"SystemExit"}


def test_calls_of_a_race_have_a_link_to_the_first_chain(traced: Traced, executor: Executors) -> None:
    left = Task(slow).named("left") >> Task(identity).named("left two")
    right = Task(slow).named("right") >> Task(identity).named("right two")
    chain = race(left, right).named("page") & Task(slow).named("primary").replica(2, to=[Task(slow).named("copy")])
    executor.run(chain(1), OpenTelemetryObserver(tracer_provider=traced.provider)).unwrap()
    links = {
        span.name: [traced.with_context(link.context).name for link in span.links]
        for span in traced.spans
        if span.links
    }
    assert links == {
        "right attempt": ["left attempt"], "right two attempt": ["left attempt"], "copy attempt": ["primary attempt"],
    }  # fmt: skip


def test_the_same_observer_in_several_places_gives_each_span_once(traced: Traced, executor: Executors) -> None:
    observer = OpenTelemetryObserver(tracer_provider=traced.provider)
    with add_observer(observer), add_observer(observer):
        executor.run(Task(identity).named("page")(1), observer).unwrap()
    assert [span.name for span in traced.spans] == ["page", "page", "page attempt"]


def test_a_timeout_is_an_error(traced: Traced, executor: Executors) -> None:
    async def slow(_: int) -> None:
        await sleep(5_000)

    page = Task(slow).timeout(10).named("page")
    assert isinstance(executor.run(page(1), OpenTelemetryObserver(tracer_provider=traced.provider)).result, Failure)
    run, task, attempt = (facts(span) for span in traced.spans)
    assert run[1:] == (StatusCode.ERROR, {"chain": "page", "outcome": "timed_out", "error.type": "TaskTimedOut"})
    assert (task[1], task[2]["error.type"]) == (StatusCode.ERROR, "TaskTimedOut")
    assert (attempt[1], attempt[2]["outcome"], attempt[2]["error.type"]) == (StatusCode.ERROR, "timed_out", "timed_out")


def test_a_cancelled_run_is_no_error(traced: Traced) -> None:
    async def main() -> None:
        async def slow(_: int) -> None:
            began.set()
            await asyncio.sleep(5)

        began = asyncio.Event()
        task = asyncio.create_task(Task(slow).named("page")(1).arun())
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with add_observer(OpenTelemetryObserver(tracer_provider=traced.provider)):
        asyncio.run(main())
    assert {span.status.status_code for span in traced.spans} == {StatusCode.UNSET}
    assert [span.attributes["rio_chain.outcome"] for span in traced.named("page")] == ["cancelled"] * 2
    assert traced.only("page attempt").attributes["rio_chain.outcome"] == "cancelled"


def test_each_item_has_a_task_of_its_own(traced: Traced, executor: Executors) -> None:
    page = each(Task(abs).inline().named("price"), limit=2).named("page")
    executor.run(page([1, 2, 3]), OpenTelemetryObserver(tracer_provider=traced.provider)).unwrap()
    prices = traced.named("price")
    assert sorted(span.attributes["rio_chain.item"] for span in prices) == [0, 1, 2]
    assert {traced.parent(span).name for span in prices} == {"page"}
    attempts = traced.named("price attempt")
    assert sorted(span.attributes["rio_chain.item"] for span in attempts) == [0, 1, 2]
    for span in attempts:
        assert traced.parent(span).attributes["rio_chain.item"] == span.attributes["rio_chain.item"]


async def slow(number: int) -> int:
    await sleep(20 if current_attempt().replica == 0 else 5)
    return number


async def unsure(number: int) -> int:
    if current_attempt() == 1:
        raise OSError
    return number


def more(number: int) -> list[int]:
    return [number - 1] if number > 1 else []


SHAPES: dict[str, tuple[Any, Any]] = {
    "at once": (Task(slow).replica(2), 1),
    "hedged items at once": (each(Task(slow).replica(2), limit=3), [1, 2, 3]),
    "hedged and retried items": (each(Task(unsure).retry(2, backoff=None).replica(2, after=5), limit=3), [1, 2, 3]),
    "race": (race(Task(slow).named("left"), Task(slow).named("right")), 1),
    "fan_out": (fan_out(Task(slow), Task(unsure).retry(1, backoff=None), need=1), 1),
    "fallback": (Task(unsure) | Task(slow), 1),
    "retry around two": ((Task(abs).inline() >> Task(unsure)).retry(2, backoff=None), 1),
    "expand": (expand(Task(more).inline(), limit=3), 3),
    "not accepted": (Task(slow).accept(lambda value: value > 1).or_else(0), 1),
    "failing items": (each(Task(unsure), on_error="keep", limit=2), [1, 2, 3]),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_attempt_is_below_its_task_which_has_an_outcome(traced: Traced, executor: Executors, shape: str) -> None:
    chain, argument = SHAPES[shape]
    started: list[tuple[object, ...]] = []

    def note(event: Event) -> None:
        if event.kind == "attempt_started":
            started.append((event.task, event.item, event.attempt, event.replica))

    with add_observer(note):
        executor.run(chain(argument), OpenTelemetryObserver(tracer_provider=traced.provider)).unwrap()
    attempts = [span for span in traced.spans if "rio_chain.attempt" in span.attributes]
    found = [facts(span)[2] for span in attempts]
    assert sorted(map(str, started)) == sorted(
        str((one["task"], one.get("item"), one["attempt"], one.get("replica", 0))) for one in found
    )
    for span in attempts:
        task = traced.parent(span)
        assert task.name == span.attributes["rio_chain.task"]
        assert task.attributes.get("rio_chain.item") == span.attributes.get("rio_chain.item")
        assert task.attributes["rio_chain.outcome"]
        linked = [traced.with_context(link.context) for link in span.links]
        assert len(linked) == ("rio_chain.replica" in span.attributes)
        assert all("rio_chain.replica" not in one.attributes for one in linked)
        assert all(traced.parent(one) is task for one in linked) or shape == "race"  # whose tasks are different
    tasks = [span for span in traced.spans if "rio_chain.attempts" in span.attributes]
    assert len({span.context.span_id for span in tasks}) == len(
        {traced.parent(one).context.span_id for one in attempts}
    )


def test_a_hedged_item_has_one_task(traced: Traced, executor: Executors) -> None:
    async def price(number: int) -> int:
        await sleep(1 if current_attempt().replica else 500)
        return number

    page = each(Task(price).replica(2, after=10), limit=2)
    executor.run(page([1, 2]), OpenTelemetryObserver(tracer_provider=traced.provider)).unwrap()
    tasks = traced.named("price")
    assert [facts(task)[2] for task in tasks] == [
        {"task": "price", "item": number, "attempts": 2, "outcome": "succeeded"} for number in (0, 1)
    ]
    for task in tasks:
        attempts = [span for span in traced.named("price attempt") if traced.parent(span) is task]
        assert [facts(span)[2]["outcome"] for span in attempts] == ["cancelled", "succeeded"]
        assert [link.context for link in attempts[1].links] == [attempts[0].context]


def test_items_of_an_each_in_an_each_are_apart(traced: Traced, executor: Executors) -> None:
    """All of them run at once, and an item of one list has the number of one in the other."""
    tried: list[int] = []

    async def price(number: int) -> int:
        tried.append(number)
        await sleep(number % 7)
        if tried.count(number) == 1:
            raise OSError
        return number

    page = each(each(Task(price).retry(1, backoff=None), limit=5), limit=5)
    lists = [[1, 2, 3], [14, 15, 16], [27, 28, 29]]
    assert executor.run(page(lists), OpenTelemetryObserver(tracer_provider=traced.provider)).unwrap() == lists
    tasks = [span for span in traced.named("price") if "rio_chain.task" in span.attributes]
    assert sorted(span.attributes["rio_chain.item"] for span in tasks) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    for task in tasks:
        attempts = [span for span in traced.named("price attempt") if traced.parent(span) is task]
        assert [facts(span)[2]["outcome"] for span in attempts] == ["failed", "succeeded"]
        assert {span.attributes["rio_chain.item"] for span in attempts} == {task.attributes["rio_chain.item"]}
        assert task.start_time <= attempts[0].start_time
        assert attempts[1].end_time <= task.end_time
        assert facts(task)[2]["outcome"] == "succeeded"


def test_a_request_that_a_task_returns_is_below_that_task(traced: Traced, executor: Executors) -> None:
    route = Task(Task(abs).inline().named("inner").__call__).inline().named("outer")
    executor.run(route(-1), OpenTelemetryObserver(tracer_provider=traced.provider)).unwrap()
    outer = next(span for span in traced.named("outer") if "rio_chain.task" in span.attributes)
    assert traced.parent(traced.only("inner")) is outer
    assert traced.parent(traced.only("inner attempt")) is traced.only("inner")


def test_a_wider_retry_gives_a_task_another_span(traced: Traced, executor: Executors) -> None:
    calls: list[None] = []

    def second(_: int) -> int:
        calls.append(None)
        if len(calls) == 1:
            raise OSError
        return 2

    page = (Task(abs).inline().named("first") >> Task(second).inline()).retry(1, backoff=None)
    executor.run(page(1), OpenTelemetryObserver(tracer_provider=traced.provider)).unwrap()
    assert [facts(span)[2]["outcome"] for span in traced.named("first")] == ["succeeded"] * 2
    assert len(traced.named("first attempt")) == 2


def test_nothing_is_kept_of_runs_that_are_over(traced: Traced, executor: Executors) -> None:
    from rio_chain.contrib._otel_spans import OpenTelemetrySpans  # noqa: PLC0415 - needs the extra

    spans = OpenTelemetrySpans(traced.provider)
    for number in range(3):
        executor.run((Task(abs) & Task(fetch).or_else(0))(number), spans)
    assert not spans._runs
    assert len(traced.runs()) == 3


def test_a_request_that_never_ran_has_no_span(traced: Traced) -> None:
    with Balancer("thread", workers=1, observers=[OpenTelemetryObserver(tracer_provider=traced.provider)]) as balancer:
        gate = threading.Event()
        first = balancer.post(Task(gate.wait).named("first")(5))
        second = balancer.post(Task(abs).named("second")(1))
        second.cancel()
        gate.set()
        first.wait()
    assert [span.name for span in traced.runs()] == ["first"]


def test_an_observer_that_is_removed_in_the_middle_of_a_run_ends_its_spans(traced: Traced) -> None:
    before = trace.get_current_span()
    remove = add_observer(OpenTelemetryObserver(tracer_provider=traced.provider))

    async def removes(number: int) -> int:
        remove()
        return number

    assert (Task(removes) >> Task(abs))(1).run(executor="asyncio").unwrap() == 1
    assert [span.name for span in traced.spans] == [
        "removes >> abs", "removes", "removes attempt", "abs", "abs attempt",
    ]  # fmt: skip

    async def here() -> None:
        nonlocal remove
        remove = add_observer(OpenTelemetryObserver(tracer_provider=traced.provider))
        await Task(removes)(2)
        assert trace.get_current_span() is before

    asyncio.run(here())
    assert len(traced.spans) == 8


def test_two_observers_leave_the_span_current_that_was_so_before(traced: Traced) -> None:
    found: list[Any] = []

    def between(number: int) -> int:
        found.append(trace.get_current_span())
        return number

    async def here() -> None:
        own = OpenTelemetryObserver(tracer_provider=traced.provider)
        async with Balancer(observers=[own]) as balancer:
            with add_observer(OpenTelemetryObserver(tracer_provider=traced.provider)):
                before = trace.get_current_span()
                await (Task(identity) >> between >> Task(abs)).named("page")(1)
                assert trace.get_current_span() is before
                await balancer.arun((Task(identity) >> between >> Task(abs)).named("page")(1))
                assert trace.get_current_span() is before

    asyncio.run(here())
    assert [(span.name, span.is_recording()) for span in found] == [("page", False)] * 2  # it has ended by now
    outer, inner = traced.named("page")[1:]
    assert traced.parent(inner) is outer
    assert found[1].get_span_context() == inner.context


def test_a_text_that_is_an_error_is_not_shown(executor: Executors, traced: Traced) -> None:
    def refuse(_: int) -> Failure[str]:
        return Failure("secret")

    observer = Observer(OpenTelemetryObserver(tracer_provider=traced.provider), errors=True)
    executor.run(Task(refuse)(1), observer)
    assert {span.attributes["error.type"] for span in traced.spans} == {"str"}


def test_an_observer_that_is_added_in_the_middle_of_a_run_leaves_it_alone(traced: Traced) -> None:
    def adds(number: int) -> int:
        removers.append(add_observer(OpenTelemetryObserver(tracer_provider=traced.provider)))
        return number

    removers: list[Any] = []
    try:
        assert (Task(adds) >> Task(abs))(1).run().unwrap() == 1
        assert traced.spans == []
    finally:
        removers[0]()


def test_what_is_not_sampled_is_propagated_as_such() -> None:
    seen: list[dict[str, str]] = []

    def body(_: int) -> None:
        headers: dict[str, str] = {}
        propagate.inject(headers)
        seen.append(headers)

    provider = TracerProvider(sampler=ALWAYS_OFF)
    with add_observer(OpenTelemetryObserver(tracer_provider=provider)):
        Task(body).retry(1)(1).run()
    assert not int(seen[0]["traceparent"].split("-")[3], 16) & TraceFlags.SAMPLED


def test_without_a_provider_the_context_stays_as_it_is(executor: Executors) -> None:
    def body(_: int) -> Any:
        return trace.get_current_span()

    observer = OpenTelemetryObserver(tracer_provider=trace.NoOpTracerProvider())
    assert executor.run(Task(body).inline()(1), observer).unwrap() is trace.INVALID_SPAN


@pytest.mark.parametrize("name", ["asyncio", "trio", "thread"])
def test_the_call_of_a_batch_links_the_runs_that_wait_for_it(traced: Traced, name: str) -> None:
    asked: list[list[int]] = []

    async def fetch_many(keys: list[int]) -> list[int]:
        asked.append(keys)
        if len(asked) == 1:
            raise OSError
        return keys

    user = Task(fetch_many).retry(1, backoff=None).batch(Batch(size=3, wait=10_000, scope="shared"))
    with Balancer(name, observers=[OpenTelemetryObserver(tracer_provider=traced.provider)]) as balancer:
        tickets = [balancer.post(user(key)) for key in (1, 2, 3)]
        assert [ticket.wait().unwrap() for ticket in tickets] == [1, 2, 3]
    runs = traced.runs()
    assert len(runs) == 3
    attempts = traced.named("fetch_many attempt")
    assert [len(keys) for keys in asked] == [3, 3]
    task = traced.only("fetch_many") if len(traced.named("fetch_many")) == 1 else traced.parent(attempts[0])
    first = traced.parent(task)
    for attempt in attempts:
        assert traced.parent(attempt) is task
        links = {link.context.span_id for link in attempt.links}
        assert links == {run.context.span_id for run in runs} - {first.context.span_id}
