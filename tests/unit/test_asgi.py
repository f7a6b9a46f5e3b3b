"""``handle``: a request runs until it is done or its client has left, and nothing of the HTTP request is trusted."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import random
import weakref
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Any

import anyio
import pytest
import trio

from rio_chain import (
    Balancer,
    BalancerClosed,
    ChainDefinitionError,
    Deadline,
    DeadlineExceeded,
    DeadlineHeaderError,
    QueueFull,
    Saturated,
    Task,
    UsageError,
    remaining,
    settle,
)
from rio_chain.contrib._client_watch import _watches, watch_of
from rio_chain.contrib.asgi import ClientGone, handle
from rio_chain.testing import leak_guard, run_virtual, sleep

EXECUTORS = ("virtual", "asyncio", "trio")
GONE = {"type": "http.disconnect"}
NEVER = 10_000_000
each = pytest.mark.parametrize("executor", EXECUTORS)


class Client:
    """The other end of a request: it leaves after so many milliseconds of being waited for, and says so once."""

    def __init__(self, leaves_after: int = NEVER, message: Any = GONE) -> None:
        self.left = leaves_after
        self.message = message
        self.reading = self.most = self.reads = 0

    async def receive(self) -> Any:
        self.reads += 1
        self.reading += 1
        self.most = max(self.most, self.reading)
        try:
            while self.left > 0:
                await sleep(step := min(self.left, 5))
                self.left -= step
            if self.left < 0:
                await sleep(NEVER)
        finally:
            self.reading -= 1
        self.left = -1
        return self.message


class Backend:
    """Notes what becomes of its calls."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    async def take(self, ms: float) -> float:
        self.notes.append("began")
        try:
            await sleep(ms)
        except BaseException:
            self.notes.append("cancelled")
            raise
        self.notes.append("done")
        return ms


def drive(main: Callable[[Balancer], Awaitable[None]], executor: str, **options: Any) -> None:
    async def opened() -> None:
        async with Balancer(**{"workers": 2, "buffer": 1, **options}) as balancer:
            await main(balancer)

    run_virtual(opened, executor)


# --- the client -----------------------------------------------------------------------------------------------------


@each
def test_a_client_that_stays_gets_the_outcome(executor: str) -> None:
    async def main(balancer: Balancer) -> None:
        client = Client()
        outcome = await handle(client.receive, balancer, Task(backend.take)(30))
        assert outcome.unwrap() == 30
        assert client.reading == 0

    backend = Backend()
    drive(main, executor)


@each
def test_a_client_that_leaves_has_its_chain_cancelled(executor: str) -> None:
    async def main(balancer: Balancer) -> None:
        with pytest.raises(ClientGone, match="the client has left, so its request was cancelled"):
            await handle(Client(20).receive, balancer, Task(backend.take)(1_000))
        assert backend.notes == ["began", "cancelled"]
        stats = balancer.stats()
        assert (stats.running, stats.queued, stats.cancelled, stats.succeeded) == (0, 0, 1, 0)

    backend = Backend()
    drive(main, executor)


@each
def test_all_branches_are_cancelled(executor: str) -> None:
    async def main(balancer: Balancer) -> None:
        chain = settle(Task(backend.take).named("a").retry(3), Task(backend.take).named("b").replica(2))
        with pytest.raises(ClientGone):
            await handle(Client(20).receive, balancer, chain(1_000))
        assert sorted(backend.notes) == ["began"] * 3 + ["cancelled"] * 3

    backend = Backend()
    drive(main, executor)


@each
def test_a_request_that_waits_for_its_slot_never_begins(executor: str) -> None:
    async def main(balancer: Balancer) -> None:
        async with balancer_full(balancer, 2) as tickets:
            with pytest.raises(ClientGone):
                await handle(Client(20).receive, balancer, Task(backend.take)(1_000))
            assert balancer.stats().queued == 0
            for ticket in tickets:
                ticket.cancel()
        assert backend.notes == []

    backend = Backend()
    drive(main, executor)


class balancer_full:  # noqa: N801 - used as a function
    def __init__(self, balancer: Balancer, count: int) -> None:
        self.balancer, self.count = balancer, count

    async def __aenter__(self) -> list[Any]:
        self.tickets = [self.balancer.post(Task(sleep)(NEVER)) for _ in range(self.count)]
        await sleep(1)
        return self.tickets

    async def __aexit__(self, *_: object) -> None:
        for ticket in self.tickets:
            ticket.cancel()
            await ticket


@each
def test_a_client_that_has_left_before_is_known_and_nothing_begins(executor: str) -> None:
    async def main(balancer: Balancer) -> None:
        client = Client(20)
        receive = client.receive  # as a framework keeps it
        with pytest.raises(ClientGone):
            await handle(receive, balancer, Task(backend.take)(1_000))
        for _ in range(2):
            with pytest.raises(ClientGone):
                await handle(receive, balancer, Task(backend.take)(1_000))
        assert backend.notes == ["began", "cancelled"]
        assert client.reads == 1

    backend = Backend()
    drive(main, executor)


@each
def test_calls_at_once_share_one_reader_and_all_hear_it(executor: str) -> None:
    async def main(balancer: Balancer) -> None:
        client = Client(40)
        ended: list[str] = []

        async def one(ms: float) -> None:
            try:
                await handle(client.receive, balancer, Task(backend.take)(ms))  # a new bound method each time
            except ClientGone:
                ended.append("gone")
            else:
                ended.append("served")

        await (settle(*(Task(partial(one, ms)).named(f"to {ms}") for ms in (10, 1_000, 1_001))).then(len))()
        assert client.most == 1
        assert sorted(ended) == ["gone", "gone", "served"]
        assert sorted(backend.notes) == ["began"] * 3 + ["cancelled"] * 2 + ["done"]

    backend = Backend()
    drive(main, executor, workers=3)


@each
def test_calls_one_after_the_other_read_anew(executor: str) -> None:
    async def main(balancer: Balancer) -> None:
        client = Client(30)
        await handle(client.receive, balancer, Task(backend.take)(10))
        await handle(client.receive, balancer, Task(backend.take)(10))
        with pytest.raises(ClientGone):
            await handle(client.receive, balancer, Task(backend.take)(1_000))

    backend = Backend()
    drive(main, executor)


def test_what_is_known_of_a_client_goes_with_its_receive() -> None:
    client = Client()
    receive = client.receive
    watch = watch_of(receive)
    assert watch_of(client.receive) is watch
    assert watch_of(Client().receive) is not watch
    kept = weakref.ref(watch)
    count = len(_watches)
    del watch, receive
    gc.collect()
    assert kept() is None
    assert len(_watches) <= count - 1


def test_a_watch_is_found_as_long_as_a_call_uses_it() -> None:
    """Each call may come with a bound method of its own."""
    client = Client()
    watch = watch_of(client.receive)  # that method is gone
    assert watch_of(client.receive) is not watch
    held = client.receive
    watch = watch_of(held)
    watch.enter(held)
    del held
    gc.collect()
    assert watch_of(client.receive) is watch
    watch.leave()
    gc.collect()
    assert watch_of(client.receive) is not watch


@each
def test_a_receive_that_cannot_be_remembered_works_for_one_call(executor: str) -> None:
    class Slotted:
        __slots__ = ("client",)

        async def __call__(self) -> Any:
            return await self.client.receive()

    async def main(balancer: Balancer) -> None:
        receive = Slotted()
        receive.client = Client(20)
        with pytest.raises(ClientGone):
            await handle(receive, balancer, Task(sleep)(1_000))

    drive(main, executor)


@each
def test_nothing_is_left_behind(executor: str) -> None:
    async def main(balancer: Balancer) -> None:
        async with leak_guard():
            for leaves_after in (5, NEVER):
                for _ in range(3):
                    try:
                        await handle(Client(leaves_after).receive, balancer, Task(sleep)(20))
                    except ClientGone:
                        assert leaves_after == 5

    drive(main, executor)


@each
def test_a_client_that_leaves_as_the_outcome_comes_gets_one_or_the_other(executor: str) -> None:
    async def main(balancer: Balancer) -> None:
        for ms in (5, 10, 20):
            try:
                outcome = await handle(Client(ms).receive, balancer, Task(backend.take)(ms))
            except ClientGone:
                ended.append("cancelled")
            else:
                assert outcome.unwrap() == ms
                ended.append("done")
        how = [note for note in backend.notes if note != "began"]
        assert len(how) == 3
        assert all(note == "done" for note, end in zip(how, ended, strict=True) if end == "done")  # if not the reverse
        stats = balancer.stats()
        assert (stats.running, stats.succeeded, stats.cancelled) == (0, ended.count("done"), ended.count("cancelled"))

    backend, ended = Backend(), list[str]()
    drive(main, executor)


@each
def test_of_many_clients_none_is_lost(executor: str) -> None:
    """Some leave while they wait for a slot, some while they are served, and some stay."""
    draw = random.Random(7)
    cases = [(draw.choice([5, 15, 40, 90, NEVER]), draw.choice([5, 20, 60])) for _ in range(200)]
    ended: list[str] = []

    async def one(case: tuple[int, int]) -> None:
        try:
            outcome = await handle(Client(case[0]).receive, balancer_now[0], Task(backend.take)(case[1]))
        except ClientGone:
            ended.append("gone")
        except QueueFull:
            ended.append("refused")
        else:
            ended.append("served" if outcome.ok else "late")

    async def main(balancer: Balancer) -> None:
        balancer_now.append(balancer)
        async with Balancer(workers=100, buffer=200) as clients:
            async for outcome in clients.amap(Task(one), cases):
                assert outcome.ok
        stats = balancer.stats()
        assert (stats.running, stats.queued) == (0, 0)
        assert (stats.succeeded, stats.cancelled, stats.rejected) == tuple(
            ended.count(how) for how in ("served", "gone", "refused")
        )

    backend, balancer_now = Backend(), list[Balancer]()
    drive(main, executor, workers=10, buffer=40)
    assert len(ended) == 200
    assert min(ended.count(how) for how in ("served", "gone", "refused")) > 0
    assert backend.notes.count("began") == backend.notes.count("done") + backend.notes.count("cancelled")


def test_a_task_is_not_left_cancelled() -> None:
    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        async with Balancer(workers=2) as balancer:
            for _ in range(3):
                async with asyncio.timeout(5):
                    with anyio.move_on_after(5) as scope, pytest.raises(ClientGone):
                        await handle(Client(5).receive, balancer, Task(sleep)(1_000))
                    assert task.cancelling() == 0
                    await asyncio.sleep(0)
                assert not scope.cancelled_caught

    asyncio.run(main())


# --- messages that should not come ----------------------------------------------------------------------------------


@each
@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"type": "http.request", "body": b"some", "more_body": True}, "read the body first, as in `await request.bod"),
        ({"type": "http.request", "body": b"", "more_body": False}, "read the body first, as in `await request.body()"),
        ({"type": "http.request"}, "`handle` met a part of the request's body"),
        ({"type": "websocket.receive", "text": "hi"}, "this is a WebSocket; there, write `await balancer.arun"),
        ({"type": "websocket.disconnect"}, "this is a WebSocket"),
        ({"type": "lifespan.shutdown"}, "must give the messages of an HTTP request"),
        ({}, "must give the messages of an HTTP request"),
        (False, "as request.receive does; got False"),
        (None, "must give the messages of an HTTP request"),
    ],
)
def test_another_message_is_an_error_and_the_chain_is_cancelled(executor: str, message: Any, text: str) -> None:
    async def main(balancer: Balancer) -> None:
        with pytest.raises(UsageError) as caught:
            await handle(Client(0, message).receive, balancer, Task(backend.take)(1_000))
        assert text in str(caught.value)
        assert "done" not in backend.notes
        assert balancer.stats().running == 0

    backend = Backend()
    drive(main, executor)


@each
def test_all_calls_hear_of_a_message_that_should_not_come(executor: str) -> None:
    async def main(balancer: Balancer) -> None:
        client, said = Client(20, {"type": "http.request"}), list[str]()
        receive = client.receive  # as a framework keeps it

        async def one() -> None:
            try:
                await handle(receive, balancer, Task(sleep)(1_000))
            except UsageError as error:
                said.append(str(error)[:12])

        await (settle(Task(one).named("a"), Task(one).named("b")).then(len))()
        assert said == ["`handle` met"] * 2
        client.left, client.message = 20, GONE  # the body has been read now
        with pytest.raises(ClientGone):
            await handle(receive, balancer, Task(sleep)(1_000))

    drive(main, executor)


@each
def test_an_error_of_receive_itself_is_raised_as_it_is(executor: str) -> None:
    class Broken(Exception):
        pass

    async def receive() -> Any:
        await sleep(5)
        raise Broken

    async def main(balancer: Balancer) -> None:
        with pytest.raises(Broken):
            await handle(receive, balancer, Task(backend.take)(1_000))
        assert backend.notes == ["began", "cancelled"]

    backend = Backend()
    drive(main, executor)


# --- cancellation from outside --------------------------------------------------------------------------------------


def test_a_cancellation_of_the_caller_wins_on_asyncio() -> None:
    async def main() -> None:
        async with Balancer(workers=2) as balancer:
            client, backend = Client(), Backend()
            task = asyncio.create_task(handle(client.receive, balancer, Task(backend.take)(30_000)))
            await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert backend.notes == ["began", "cancelled"]
            assert client.reading == 0
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await handle(client.receive, balancer, Task(backend.take)(30_000))

    asyncio.run(main())


def test_a_cancellation_of_the_caller_wins_on_trio() -> None:
    async def main() -> None:
        async with Balancer(workers=2) as balancer:
            client, backend = Client(), Backend()
            with trio.move_on_after(0.01) as scope:
                await handle(client.receive, balancer, Task(backend.take)(30_000))
            assert scope.cancelled_caught
            assert backend.notes == ["began", "cancelled"]
            assert client.reading == 0

    trio.run(main)


@pytest.mark.parametrize("run", [asyncio.run, trio.run])
def test_a_balancer_on_threads_is_told_too(run: Callable[[Any], None]) -> None:
    async def awaited(main: Callable[[], Awaitable[None]]) -> None:
        await main()

    async def main() -> None:
        with Balancer("thread", workers=2) as balancer, pytest.raises(ClientGone):
            await handle(Client(10).receive, balancer, Task(backend.take)(30_000))
        assert backend.notes == ["began", "cancelled"]

    backend = Backend()
    run(partial(awaited, main) if run is trio.run else main())


# --- what the balancer refuses --------------------------------------------------------------------------------------


@each
def test_a_closed_balancer_refuses(executor: str) -> None:
    async def main() -> None:
        client, balancer = Client(), Balancer(workers=2)
        async with balancer:
            pass
        with pytest.raises(BalancerClosed):
            await handle(client.receive, balancer, Task(sleep)(1))
        assert client.reading == 0

    run_virtual(main, executor)


@each
def test_a_full_buffer_refuses_unless_it_is_told_to_wait(executor: str) -> None:
    async def main(balancer: Balancer) -> None:
        async with balancer_full(balancer, 3):
            client = Client()
            with pytest.raises(QueueFull) as caught:
                await handle(client.receive, balancer, Task(sleep)(1))
            assert caught.value.retry_after is None  # none has ended yet
            outcome = await handle(client.receive, balancer, Task(sleep)(1), on_full="wait", queue_timeout=20)
            assert isinstance(outcome.error, DeadlineExceeded)

    drive(main, executor)


def test_a_full_buffer_says_how_long_the_queue_is() -> None:
    """Four requests of up to 200 ms wait in front of two workers, and the one that comes is the fifth."""

    async def main() -> None:
        async with Balancer(workers=2, buffer=4) as balancer:
            for _ in range(3):
                await balancer.arun(Task(sleep)(150))
            async with balancer_full(balancer, 6):
                with pytest.raises(QueueFull) as caught:
                    await handle(Client().receive, balancer, Task(sleep)(1))
                assert caught.value.retry_after == pytest.approx(0.2 * 5 / 2)

    run_virtual(main)


def test_too_many_abandoned_calls_refuse() -> None:
    import threading  # noqa: PLC0415 - this test alone

    free = threading.Event()

    async def main() -> None:
        async with Balancer(workers=1, max_abandoned=1) as balancer:
            client = Client()
            outcome = await handle(client.receive, balancer, Task(free.wait)(), deadline=10)
            assert isinstance(outcome.error, DeadlineExceeded)
            with pytest.raises(Saturated) as caught:
                await handle(client.receive, balancer, Task(free.wait)())
            assert caught.value.retry_after is not None
            assert balancer.health().reason == "too many abandoned calls still run"
            free.set()

    asyncio.run(main())


# --- deadlines ------------------------------------------------------------------------------------------------------


async def left_here() -> float:
    await sleep(0)
    return remaining()


@each
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 30_000),
        ({"cap": 500}, 500),
        ({"cap": timedelta(seconds=2)}, 2_000),
        ({"deadline": 200}, 200),
        ({"deadline": timedelta(milliseconds=200)}, 200),
        ({"deadline": 90_000}, 30_000),
        ({"deadline": 90_000, "cap": 60_000}, 60_000),
        ({"deadline": 1e30}, 30_000),
        ({"headers": {"x-deadline-ms": "100"}}, 30_000),
        ({"headers": {"x-deadline-ms": "100"}, "deadline_header": "X-Deadline-Ms"}, 100),
        ({"headers": [(b"x-deadline-ms", b" 100\t")], "deadline_header": "x-deadline-ms"}, 100),
        ({"headers": {"x-deadline-ms": "999999999999999"}, "deadline_header": "x-deadline-ms"}, 30_000),
        ({"headers": {"x-deadline-ms": "300"}, "deadline_header": "x-deadline-ms", "deadline": 200}, 200),
        ({"headers": {"grpc-timeout": "2S"}, "deadline_header": "grpc-timeout"}, 2_000),
        ({"headers": {"grpc-timeout": "1m", "x-left": "70"}, "deadline_header": "x-left"}, 70),
        ({"headers": {"a": "80", "b": "70"}, "deadline_header": ("a", "b", "c")}, 70),
        ({"headers": {}, "deadline_header": "x-deadline-ms"}, 30_000),
    ],
)
def test_the_deadline_is_the_earliest_of_all(executor: str, options: dict[str, Any], expected: float) -> None:
    async def main(balancer: Balancer) -> None:
        outcome = await handle(Client().receive, balancer, Task(left_here)(), **options)
        assert expected - 30 <= outcome.unwrap() <= expected + 1e-6  # what the machine takes on a clock that is real

    drive(main, executor)


@each
def test_a_deadline_of_another_clock_is_capped_too(executor: str) -> None:
    async def main(balancer: Balancer) -> None:
        for deadline, expected in (
            (Deadline(math.inf), 5_000),
            (Deadline.after(60_000), 5_000),
            (Deadline.after(200), 200),
        ):
            outcome = await handle(Client().receive, balancer, Task(left_here)(), deadline=deadline, cap=5_000)
            assert expected - 100 <= outcome.unwrap() <= expected + 1e-6

    drive(main, executor)


@each
@pytest.mark.parametrize(
    "options",
    [{"deadline": 0}, {"deadline": Deadline(-math.inf)}, {"headers": {"x-left": "0"}, "deadline_header": "x-left"}],
)
def test_a_deadline_that_has_passed_calls_nothing(executor: str, options: dict[str, Any]) -> None:
    async def main(balancer: Balancer) -> None:
        outcome = await handle(Client().receive, balancer, Task(backend.take)(1), **options)
        assert isinstance(outcome.error, DeadlineExceeded)
        assert backend.notes == []

    backend = Backend()
    drive(main, executor)


REFUSED = [
    *("", " ", "soon", "-1", "+1", "1.5", "1e3", "1_0", "0x1", "nan", "inf", "1" * 16, "1" * 100_000, "1,2", "1;2"),
    *("1\r\nX-Admin: 1", "1\r\n", "\n1", "1\x00", "1\x0b", "1\x85", "\xa01", "\u0661", "\xb2"),
]


@each
@pytest.mark.parametrize("value", REFUSED, ids=range(len(REFUSED)))
def test_a_header_that_is_no_deadline_is_refused_and_logged_once(
    executor: str, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(balancer: Balancer) -> None:
        client = Client()
        with pytest.raises(DeadlineHeaderError):
            await handle(
                client.receive, balancer, Task(backend.take)(1), headers={"x-left": value}, deadline_header="x-left"
            )
        assert backend.notes == []
        assert client.reads == 0

    backend = Backend()
    with caplog.at_level(logging.WARNING, "rio_chain"):
        drive(main, executor)
    (record,) = caplog.records
    line = record.getMessage()
    assert line.startswith("a request was refused: `x-left` must be ")
    assert line.isprintable()
    assert line.isascii()
    assert len(line) < 200


def test_a_header_that_was_sent_twice_is_refused() -> None:
    async def main(balancer: Balancer) -> None:
        headers = [(b"x-left", b"5"), (b"X-Left", b"6")]
        with pytest.raises(DeadlineHeaderError, match="must be sent at most once"):
            await handle(Client().receive, balancer, Task(sleep)(1), headers=headers, deadline_header="x-left")

    drive(main, "asyncio")


def test_what_is_forwarded_is_what_we_made() -> None:
    async def forwarded() -> dict[str, str]:
        return Deadline.current().headers()

    async def main(balancer: Balancer) -> None:
        headers = {"x-deadline-ms": " 000100 ", "x-request-id": "evil\r\nX-Admin: 1", "x-priority": "9"}
        outcome = await handle(
            Client().receive, balancer, Task(forwarded)(), headers=headers, deadline_header="x-deadline-ms"
        )
        sent = outcome.unwrap()
        assert set(sent) == {"x-deadline-ms", "x-envoy-expected-rq-timeout-ms", "grpc-timeout"}
        assert 0 < int(sent["x-deadline-ms"]) <= 100
        assert not sent["x-deadline-ms"].startswith("0")

    drive(main, "virtual")


# --- priority -------------------------------------------------------------------------------------------------------


@each
def test_the_priority_is_what_the_function_gives(executor: str) -> None:
    order: list[str] = []

    async def noted(name: str) -> None:
        order.append(name)
        await sleep(10)

    async def main(balancer: Balancer) -> None:
        async def one(name: str, priority: Callable[[], float] | None) -> None:
            await handle(Client().receive, balancer, Task(noted)(name), priority=priority)

        chains = [
            Task(partial(one, name, priority)).named(name)
            for name, priority in (("none", None), ("low", lambda: -1), ("high", lambda: 5.5))
        ]
        async with balancer_full(balancer, 1) as tickets:
            waiting = settle(*chains).then(len)()
            cancelled = settle(Task(sleep).then(lambda _: tickets[0].cancel()), Task(sleep)).then(len)(5)
            await settle(Task(lambda: waiting).named("w"), Task(lambda: cancelled).named("c")).then(len)()

    drive(main, executor, workers=1, buffer=5)
    assert order == ["high", "none", "low"]


@pytest.mark.parametrize("priority", [5, 0, "5", True, 2.5, {"x-priority": "5"}, lambda request: 5])
def test_a_priority_that_is_no_function_is_refused(priority: Any) -> None:
    async def main(balancer: Balancer) -> None:
        client = Client()
        with pytest.raises(
            ChainDefinitionError, match=r"`priority` must be a plain function without arguments .*=lambda"
        ):
            await handle(client.receive, balancer, Task(sleep)(1), priority=priority)
        assert client.reads == 0

    drive(main, "asyncio")


@pytest.mark.parametrize("given", ["5", None, math.nan, math.inf, True])
def test_a_function_that_gives_no_number_is_refused(given: Any) -> None:
    async def main(balancer: Balancer) -> None:
        client = Client()
        with pytest.raises(ChainDefinitionError, match="`priority` must be a finite number"):
            await handle(client.receive, balancer, Task(sleep)(1), priority=lambda: given)
        assert client.reading == 0

    drive(main, "asyncio")


def test_an_async_function_is_refused() -> None:
    async def paid() -> float:
        return 5

    async def main(balancer: Balancer) -> None:
        given: Any = paid
        with pytest.raises(ChainDefinitionError, match="got the async function `paid`, which nothing awaits here"):
            await handle(Client().receive, balancer, Task(sleep)(1), priority=given)

    drive(main, "asyncio")


def test_a_function_that_raises_raises_its_error() -> None:
    def unknown() -> float:
        raise KeyError("no such plan")

    async def main(balancer: Balancer) -> None:
        with pytest.raises(KeyError):
            await handle(Client().receive, balancer, Task(sleep)(1), priority=unknown)
        assert balancer.stats().done == 0

    drive(main, "asyncio")


# --- wrong use ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"deadline": -1}, "`deadline` must be a finite number of milliseconds"),
        ({"deadline": math.nan}, "`deadline` must be"),
        ({"deadline": math.inf}, "`deadline` must be"),
        ({"deadline": "100"}, "`deadline` must be"),
        ({"deadline": True}, "`deadline` must be"),
        ({"cap": 0}, "`cap` must be a finite number of milliseconds (or a timedelta), more than 0; got 0"),
        ({"cap": -5}, "`cap` must be"),
        ({"cap": None}, "`cap` must be"),
        ({"cap": math.inf}, "`cap` must be"),
        ({"deadline_header": "x-left"}, "`deadline_header` needs the headers too; write `headers=request.headers`"),
        ({"deadline_header": "x left", "headers": {}}, "must be the name of a header; got 'x left'"),
        ({"deadline_header": "x\r\ny", "headers": {}}, "must be the name of a header; got 'x\\r\\ny'"),
        ({"deadline_header": (5,), "headers": {}}, "must be the name of a header; got 5"),
        ({"deadline_header": 5, "headers": {}}, "`deadline_header` must be the name of a header, or names; got 5"),
        ({"deadline_header": "x-left", "headers": 5}, "`headers` must be the headers of a request"),
        ({"queue_timeout": -1}, "`queue_timeout` must be"),
        ({"on_full": "drop"}, "`on_full` must be 'wait' or 'reject'"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_read(options: dict[str, Any], text: str) -> None:
    async def main(balancer: Balancer) -> None:
        client = Client()
        with pytest.raises(ChainDefinitionError) as caught:
            await handle(client.receive, balancer, Task(backend.take)(1), **options)
        assert text in str(caught.value)
        assert backend.notes == []
        assert client.reading == 0

    backend = Backend()
    drive(main, "asyncio")


def test_a_request_of_the_framework_is_no_receive() -> None:
    class Request:
        async def receive(self) -> Any: ...

    async def main(balancer: Balancer) -> None:
        given: Any = Request()
        with pytest.raises(ChainDefinitionError, match=r"as in handle\(request.receive, \.\.\.\); got <"):
            await handle(given, balancer, Task(sleep)(1))
        chain: Any = Task(sleep)
        with pytest.raises(ChainDefinitionError, match="`request` must be a chain called with its arguments"):
            await handle(Client().receive, balancer, chain)
        none: Any = None
        with pytest.raises(ChainDefinitionError, match="`balancer` must be a Balancer; got None"):
            await handle(Client().receive, none, Task(sleep)(1))

    drive(main, "asyncio")
