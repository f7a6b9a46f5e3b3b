"""``request.stream()`` in plain code, wrong use of it, and what is left of one that was dropped."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import trio
from returns.result import Success

import rio_chain.executors._blocking_run as runners
from rio_chain import ChainDefinitionError, Event, Outcome, Task, UsageError
from rio_chain._core.units import seconds
from rio_chain.engine._event_sink import EventSink, judged
from rio_chain.engine._run_events import ObservedPart, ObservedRun
from rio_chain.results._outcome import Failed
from rio_chain.results._task_record import TaskRecord, close, note_call

EXECUTORS = ("asyncio", "trio", "thread")


class Body:
    """Stays until it is cancelled; async, so that it can be."""

    def __init__(self, executor: str = "asyncio") -> None:
        self.sleep = trio.sleep if executor == "trio" else asyncio.sleep  # on threads they run on an asyncio loop
        self.begun = threading.Event()
        self.ended = threading.Event()

    async def stay(self, x: object) -> object:
        self.begun.set()
        try:
            await self.sleep(30)
        finally:
            self.ended.set()
        return x


def echo(x: object) -> object:
    return x


# --- plain loops -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_plain_loop_reads_all(executor: str) -> None:
    events = (Task(echo).named("a") >> Task(echo).named("b"))(7).stream(executor=executor, deadline=5_000)
    seen = [(event.kind, event.task) for event in events]
    assert seen == [("started", "a"), ("finished", "a"), ("started", "b"), ("finished", "b"), ("ended", None)]
    assert events.outcome.result == Success(7)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_leaving_a_plain_loop_waits_for_the_clean_up(executor: str) -> None:
    body = Body(executor)
    events = Task(body.stay)(7).stream(executor=executor)
    for _ in events:
        assert body.begun.wait(5)
        break
    assert body.ended.is_set()
    assert events.outcome.only.status == "cancelled"


def test_an_error_in_a_plain_loop_waits_for_the_clean_up() -> None:
    body = Body()

    def reads() -> None:
        for event in Task(body.stay)(7).stream():
            assert body.begun.wait(5)
            _ = 1 // (event.attempt - 1)

    with pytest.raises(ZeroDivisionError) as seen:
        reads()
    assert seen.value.__traceback__ is not None, "and with it, the frame of the loop"
    assert body.ended.is_set()


def test_leaving_a_plain_block_waits_for_the_clean_up() -> None:
    body = Body()
    with Task(body.stay)(7).stream() as events:
        reading = iter(events)
        assert next(reading).kind == "started"
        assert body.begun.wait(5)
    assert body.ended.is_set()
    assert [event.kind for event in reading] == ["attempt_failed", "finished", "ended"]


def test_the_executor_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIO_EXECUTOR", "thread")
    events = Task(lambda: threading.current_thread().name)().stream()
    assert len(list(events)) == 3
    assert events.outcome.unwrap().startswith("rio_chain-thread")


def test_ctrl_c_cancels_the_run_and_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    body = Body()
    reading = iter(Task(body.stay)(7).stream())
    assert next(reading).kind == "started"
    assert body.begun.wait(5)
    locks = threading.Lock
    made: list[Any] = []

    class Interrupted:
        """The lock that the reader waits for, at the moment of a Ctrl-C."""

        def __init__(self) -> None:
            self.lock = locks()
            self.release = self.lock.release
            made.append(self)

        def acquire(self, *, timeout: float = -1) -> bool:
            if made[0] is self and self.lock.locked():
                raise KeyboardInterrupt
            return self.lock.acquire(timeout=timeout)

    monkeypatch.setattr("rio_chain.executors._stream.threading.Lock", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        next(reading)
    assert body.ended.is_set()


# --- wrong use ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("terms", "text"),
    [
        (
            {"executor": "tokio"},
            "`executor` must be one of 'asyncio', 'trio', 'thread', 'virtual', 'dask'; got 'tokio'",
        ),
        ({"executor": 1}, "`executor` must be one of"),
        ({"deadline": -1}, "`deadline` must be a finite number of milliseconds"),
        ({"deadline": True}, "`deadline` must be"),
        ({"deadline": "soon"}, "`deadline` must be"),
    ],
)
def test_bad_input_is_refused_where_it_is_written(terms: dict[str, Any], text: str) -> None:
    with pytest.raises(ChainDefinitionError, match=text):
        Task(echo)(7).stream(**terms)


def test_a_stream_is_read_once() -> None:
    events = Task(echo)(7).stream()
    assert len(list(events)) == 3
    with pytest.raises(UsageError, match=r"call `.stream\(\)` again"):
        iter(events)
    with pytest.raises(UsageError, match="read only once"):
        aiter(events)


def test_there_is_no_outcome_before_the_end() -> None:
    events = Task(echo)(7).stream()
    with pytest.raises(UsageError, match="the run has not"):
        _ = events.outcome


def test_async_for_needs_a_loop() -> None:
    with pytest.raises(UsageError, match="`async for` needs a running asyncio or trio loop; in plain code write `for`"):
        aiter(Task(echo)(7).stream())


def test_a_lane_that_is_not_there_is_refused_when_it_begins() -> None:
    with pytest.raises(UsageError, match="lane 'cpu'"):
        iter(Task(echo).lane("cpu")(7).stream())


def test_a_plain_loop_on_a_running_loop_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runners, "_warned", set())

    async def reads() -> list[str]:
        return [event.kind for event in Task(echo)(7).stream()]

    with pytest.warns(RuntimeWarning, match=r"write `async for event in page\(42\).stream\(\)`") as seen:
        assert asyncio.run(reads()) == ["started", "finished", "ended"]
    assert seen[0].filename == __file__


def test_a_plain_loop_can_not_block_the_loop_that_runs_it() -> None:
    async def reads(x: object) -> object:
        with pytest.raises(UsageError, match="write `async for`"):
            iter(Task(echo)(x).stream(executor="asyncio"))
        return [event.kind async for event in Task(echo)(x).stream(executor="asyncio")]

    assert Task(reads)(7).run(executor="asyncio").unwrap() == ["started", "finished", "ended"]


def test_a_plain_block_can_not_block_the_loop_that_cleans_up() -> None:
    body = Body()

    async def reads() -> None:
        with Task(body.stay)(7).stream() as events:
            async for _ in events:
                break

    with pytest.raises(UsageError, match="write `async with`"):
        asyncio.run(reads())
    assert body.ended.wait(5)


# --- Event -------------------------------------------------------------------------------------------------------


def ended(error: Exception | None = None) -> Outcome[Any]:
    return Outcome(Task(echo).plan(), [None], Failed(error) if error else 7, (0, 0, 0.01))


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (Event("started", "f", 0.04, 1), "<Event started f, attempt 1, at 0.0 ms>"),
        (Event("started", "f", 5, 1, run=31), "<Event started f, attempt 1, at 5.0 ms of run 31>"),
        (Event("started", "f", 12.34, 2, 1), "<Event started f, attempt 2 of replica 1, at 12.3 ms>"),
        (Event("started", "f", 5, 1, item=3), "<Event started f[3], attempt 1, at 5.0 ms>"),
        (Event("attempt_failed", "f", 5, 1, error="pw"), "<Event attempt_failed f: str, attempt 1, at 5.0 ms>"),
        (Event("hedge_started", "f", 5, 1, 1), "<Event hedge_started f, attempt 1 of replica 1, at 5.0 ms>"),
        (Event("finished", "f", 5, 1, status="succeeded"), "<Event finished f: succeeded, at 5.0 ms>"),
        (Event("finished", "f", 5, 3, 1, status="succeeded"), "<Event finished f: succeeded, 3 attempts, at 5.0 ms>"),
        (Event("finished", "f", 5, 1, status="failed", error="pw"), "<Event finished f: failed (str), at 5.0 ms>"),
        (Event("ended", None, 9, outcome=ended()), "<Event ended: succeeded, at 9.0 ms>"),
        (Event("ended", None, 9, outcome=ended(OSError("pw"))), "<Event ended: failed (OSError), at 9.0 ms>"),
        (Event("started", "\x1b[2J\n\u202e", 5, 1), r"<Event started \x1b[2J\n\u202e, attempt 1, at 5.0 ms>"),
    ],
)  # fmt: skip
def test_the_repr_of_an_event(event: Event, text: str) -> None:
    assert repr(event) == text


def test_an_event_is_frozen_and_equal_to_itself_only() -> None:
    event = Event("started", "f", 0.0, 1)
    with pytest.raises(AttributeError):
        event.at = 1  # type: ignore[misc]
    assert event != Event("started", "f", 0.0, 1)
    assert len({event, event}) == 1


# --- what is left ------------------------------------------------------------------------------------------------


class Value:
    """Something to be held, or not."""


@pytest.mark.parametrize("executor", EXECUTORS)
def test_nothing_is_kept_of_a_stream_that_was_read(executor: str) -> None:
    async def body(value: Value) -> int:
        return id(value)

    def run() -> tuple[weakref.ref[Any], ...]:
        value = Value()
        events = Task(body).retry(1)(value).stream(executor=executor)
        assert [event.kind for event in events] == ["started", "finished", "ended"]
        return weakref.ref(value), weakref.ref(events.outcome.plan), weakref.ref(events)

    kept = run()
    until = time.monotonic() + 5
    while any(ref() is not None for ref in kept) and time.monotonic() < until:
        gc.collect()
        time.sleep(0.001)
    assert [ref() for ref in kept] == [None] * 3


def test_an_outcome_keeps_neither_the_stream_nor_its_events() -> None:
    events = (Task(echo).retry(1) >> Task(echo))(7).stream()
    seen = list(events)
    outcome = events.outcome
    gone = weakref.ref(events)
    del events, seen
    assert gone() is None, "no cycle that a collector would have to find"
    assert {type(entry) for entry in outcome._log} == {TaskRecord}


def test_a_reader_that_is_dropped_cancels_the_run_without_waiting() -> None:
    body = Body()

    async def main() -> float:
        reading = aiter(Task(body.stay)(7).stream())
        await anext(reading)
        await asyncio.to_thread(body.begun.wait)
        tasks = len(asyncio.all_tasks())
        del reading
        assert not body.ended.is_set()
        for _ in range(10):
            await asyncio.sleep(0)
        assert body.ended.is_set()
        return tasks - len(asyncio.all_tasks())

    assert asyncio.run(main()) == 1


def test_a_reader_that_another_thread_collects_does_not_wait_there() -> None:
    body = Body()
    readings: list[Iterator[Event]] = [iter(Task(body.stay)(7).stream())]
    next(readings[0])
    assert body.begun.wait(5)
    collector = threading.Thread(target=readings.clear)
    collector.start()
    collector.join(5)
    assert not collector.is_alive()
    assert body.ended.wait(5)


def test_a_stream_that_nobody_reads_begins_nothing() -> None:
    events = Task(Body().stay)(7).stream()
    gone = weakref.ref(events)
    del events
    assert gone() is None


def test_a_loop_that_ends_ends_the_run() -> None:
    body = Body()
    events = Task(body.stay)(7).stream()
    kept: list[AsyncIterator[Event]] = []

    async def main() -> None:
        kept.append(aiter(events))
        await anext(kept[0])
        await asyncio.to_thread(body.begun.wait)

    asyncio.run(main())
    assert body.ended.is_set()
    assert "the loop it ran on has ended" in str(events.outcome.result.failure())


# --- items -------------------------------------------------------------------------------------------------------


def watched(chain: Any) -> tuple[ObservedRun, list[Event]]:
    seen: list[Event] = []
    watch = EventSink(chain.plan(), seen.append)
    watch.begin(lambda: 0.0)
    return ObservedRun(ObservedPart(watch)), seen


def answered(run: ObservedRun, index: int, replica: int = 0) -> None:
    """What a strand does to the log for a task that answers at once."""
    run.events.begins(index, 1, replica)
    note_call(run.log, index, 0.0, 0.0).succeeded(7)


def test_the_items_of_an_each_finish_each_by_itself() -> None:
    run, seen = watched(Task(echo).named("a") >> Task(echo).named("b") >> Task(echo).named("c"))
    for number in range(2):
        item = run.part(item=number)
        answered(item, 0)
        if number:
            item.log[1].failed(OSError())
        item.over()
        close(item.log, 0, 2, None)
    assert [(event.item, event.kind, event.task, event.status) for event in seen] == [
        (0, "started", "a", None),
        (0, "finished", "a", "succeeded"),
        (0, "finished", "b", "skipped"),
        (1, "started", "a", None),
        (1, "finished", "a", "succeeded"),
        (1, "attempt_failed", "b", None),
        (1, "finished", "b", "failed"),
    ]


def test_an_item_that_was_interrupted_finishes_when_it_is_known_by_what() -> None:
    run, seen = watched(Task(echo).named("a"))
    item = run.part(item=4)
    item.events.begins(0, 1, 0)
    item.log[0].status = "running"
    item.over()
    assert [event.kind for event in seen] == ["started"]
    close(item.log, 0, 1, OSError(), sibling=True)
    assert [(event.item, event.kind, event.status) for event in seen[1:]] == [(4, "finished", "cancelled")]


def test_calls_made_at_once_leave_a_plain_log_and_finish_nothing() -> None:
    run, seen = watched(Task(echo).named("a") >> Task(echo).named("b"))
    part = run.part(item=2).part()
    answered(part, 0, replica=1)
    part.over()
    assert [(event.item, event.kind, event.replica) for event in seen] == [(2, "started", 1)]
    assert [type(entry) for entry in part.log] == [TaskRecord, type(None)]


def test_which_tasks_are_judged() -> None:
    a, b = Task(echo).named("a"), Task(echo).named("b")
    good = bool
    chains = [
        (a >> b, set()),
        (a.accept(good) >> b, {0}),
        (a >> b.retry(1, accept=good), {1}),
        (a >> b.retry(1), set()),
        ((a >> b).accept(good), set()),
        (a >> (b >> echo).timeout(seconds(1, "")).accept(good), {1}),
        (a >> b.replica(2).accept(good), {1}),
    ]
    assert [set(judged(chain.plan().root)) for chain, _ in chains] == [indices for _, indices in chains]
