"""``lifespan``, ``readiness`` and ``liveness``: the life of a balancer in an application."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import trio

from rio_chain import Balancer, BalancerClosed, ChainDefinitionError, Task, TicketCancelled, UsageError
from rio_chain.contrib.asgi import handle, lifespan, liveness, readiness
from rio_chain.testing import run_virtual, sleep

each = pytest.mark.parametrize("executor", ["virtual", "asyncio", "trio"])


def closed(balancer: Balancer) -> bool:
    return balancer.health().reason == "it is closed"


def around(notes: list[str], balancer: Balancer) -> Callable[[Any], contextlib.AbstractAsyncContextManager[Any]]:
    @contextlib.asynccontextmanager
    async def clients(app: Any) -> AsyncIterator[dict[str, str]]:
        notes.append(f"opened for {app}")
        yield {"client": "it"}
        notes.append(f"ended, and the balancer is {'closed' if closed(balancer) else 'open'}")

    return clients


@each
def test_it_opens_and_closes_the_balancer_within_what_is_around(executor: str) -> None:
    async def main() -> None:
        balancer, notes = Balancer(workers=2), list[str]()
        life = lifespan(balancer, around(notes, balancer))
        for _ in range(2):  # an application may start again, as in tests
            async with life("the app") as state:
                assert state == {"client": "it"}
                assert readiness(balancer) == (200, {}, "ready")
                assert (await balancer.arun(Task(len)("four"))).unwrap() == 4
            assert readiness(balancer).detail == "not ready: the application is stopping"
            assert liveness(balancer).status == 200
        assert notes == ["opened for the app", "ended, and the balancer is closed"] * 2

    run_virtual(main, executor)


@each
def test_it_drains_and_then_cancels_what_is_left_after_the_grace(executor: str) -> None:
    async def main() -> None:
        balancer = Balancer(workers=2)
        async with lifespan(balancer, grace=100)():
            short, long = balancer.post(Task(sleep)(50)), balancer.post(Task(sleep)(10_000))
        assert (await short).ok
        assert isinstance((await long).error, TicketCancelled)
        with pytest.raises(BalancerClosed):
            await balancer.arun(Task(sleep)(1))

    run_virtual(main, executor)


@each
def test_an_error_in_the_application_closes_it_too(executor: str) -> None:
    async def main() -> None:
        balancer = Balancer(workers=2)
        with pytest.raises(ValueError, match="of the application"):
            async with lifespan(balancer)():
                raise ValueError("of the application")
        assert closed(balancer)

    run_virtual(main, executor)


@each
def test_a_start_up_that_fails_leaves_the_balancer_closed_or_unopened(executor: str) -> None:
    @contextlib.asynccontextmanager
    async def broken(_: object) -> AsyncIterator[None]:
        raise OSError("no database")
        yield

    async def main() -> None:
        balancer = Balancer(workers=2)
        with pytest.raises(OSError, match="no database"):
            async with lifespan(balancer, broken)():
                pass
        async with balancer:  # it was not entered
            with pytest.raises(UsageError, match="this balancer is open"):
                async with lifespan(balancer)():
                    pass
            assert readiness(balancer).status == 200

    run_virtual(main, executor)


def test_retire_says_no_and_serves_on() -> None:
    async def receive() -> Any:
        await sleep(10_000)

    async def main() -> None:
        balancer = Balancer(workers=2)
        life = lifespan(balancer)
        async with life():
            life.retire()
            status, headers, detail = readiness(balancer)
            assert (status, detail) == (503, "not ready: the application is stopping")
            assert int(headers["Retry-After"]) >= 1
            assert liveness(balancer) == (200, {}, "live")
            assert (await handle(receive, balancer, Task(len)("four"))).unwrap() == 4
        async with life():
            assert readiness(balancer).status == 200

    run_virtual(main)


# --- signals --------------------------------------------------------------------------------------------------------


@pytest.fixture
def server_handler() -> Iterator[list[int]]:
    """The handler of a server, for SIGTERM."""
    heard: list[int] = []

    def note(number: int, _: object) -> None:
        heard.append(number)

    before = signal.signal(signal.SIGTERM, note)
    yield heard
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("run", [asyncio.run, trio.run])
def test_a_signal_makes_it_not_ready_and_reaches_the_server(run: Any, server_handler: list[int]) -> None:
    handler = signal.getsignal(signal.SIGTERM)

    async def main() -> None:
        balancer = Balancer(workers=2)
        async with lifespan(balancer)():
            assert readiness(balancer).status == 200
            os.kill(os.getpid(), signal.SIGTERM)
            assert server_handler == [signal.SIGTERM]
            assert readiness(balancer).detail == "not ready: the application is stopping"
            assert (await balancer.arun(Task(len)("four"))).unwrap() == 4
            assert server_handler == [signal.SIGTERM]

    run(main() if run is asyncio.run else main)
    assert signal.getsignal(signal.SIGTERM) is handler


def test_a_handler_of_the_loop_is_called_too() -> None:
    async def main() -> None:
        balancer, heard = Balancer(workers=2), asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, heard.set)
        async with lifespan(balancer)():
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.wait_for(heard.wait(), 5)
            assert readiness(balancer).status == 503

    asyncio.run(main())


def test_a_receiver_of_trio_gets_the_signal_too() -> None:
    async def main() -> None:
        balancer = Balancer(workers=2)
        with trio.open_signal_receiver(signal.SIGTERM) as signals, trio.fail_after(5):
            async with lifespan(balancer)():
                os.kill(os.getpid(), signal.SIGTERM)
                async for number in signals:
                    assert number == signal.SIGTERM
                    break
                assert readiness(balancer).status == 503

    trio.run(main)


def test_a_signal_that_nobody_handles_is_left_alone() -> None:
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL

    async def main() -> None:
        async with lifespan(Balancer(workers=2))():
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL

    asyncio.run(main())


def test_a_handler_that_came_later_stays(server_handler: list[int]) -> None:
    def later(number: int, frame: object) -> None: ...

    async def main() -> None:
        async with lifespan(Balancer(workers=2))():
            signal.signal(signal.SIGTERM, later)

    asyncio.run(main())
    assert signal.getsignal(signal.SIGTERM) is later


def test_no_signals_can_be_asked_for(server_handler: list[int]) -> None:
    handler = signal.getsignal(signal.SIGTERM)

    async def main() -> None:
        async with lifespan(Balancer(workers=2), signals=())():
            assert signal.getsignal(signal.SIGTERM) is handler

    asyncio.run(main())


def test_outside_of_the_main_thread_signals_are_left_alone(server_handler: list[int]) -> None:
    handler, seen = signal.getsignal(signal.SIGTERM), list[Any]()

    async def main() -> None:
        async with lifespan(Balancer(workers=2))():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    thread.join()
    assert seen == [handler]


# --- plain ASGI -----------------------------------------------------------------------------------------------------


class Server:
    """Sends the messages of a lifespan and keeps what comes back."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self._messages = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive(self) -> dict[str, Any]:
        return {"type": next(self._messages)}

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)


@each
def test_a_plain_application_is_served(executor: str) -> None:
    async def main() -> None:
        balancer, notes, server = Balancer(workers=2), list[str](), Server()
        scope: dict[str, Any] = {"type": "lifespan", "state": {}}
        await lifespan(balancer, around(notes, balancer)).serve(scope, server.receive, server.send)
        assert [message["type"] for message in server.sent] == [
            "lifespan.startup.complete",
            "lifespan.shutdown.complete",
        ]
        assert scope["state"] == {"client": "it"}
        assert notes[1] == "ended, and the balancer is closed"
        await lifespan(balancer).serve({"type": "lifespan"}, Server().receive, server.send)  # a server without state

    run_virtual(main, executor)


@each
@pytest.mark.parametrize("when", ["startup", "shutdown"])
def test_a_failure_is_reported_and_raised(executor: str, when: str) -> None:
    @contextlib.asynccontextmanager
    async def broken(_: object) -> AsyncIterator[None]:
        if when == "startup":
            raise OSError("no database")
        yield
        raise OSError("no database")

    async def main() -> None:
        balancer, server = Balancer(workers=2), Server()
        with pytest.raises(OSError, match="no database"):
            await lifespan(balancer, broken).serve({"type": "lifespan"}, server.receive, server.send)
        last = server.sent[-1]
        assert last == {"type": f"lifespan.{when}.failed", "message": "OSError: no database"}

    run_virtual(main, executor)


def test_another_scope_is_refused() -> None:
    for check in (readiness, liveness):
        with pytest.raises(ChainDefinitionError, match="`balancer` must be a Balancer; got 5"):
            check(5)  # type: ignore[arg-type]
    server, life = Server(), lifespan(Balancer(workers=2))
    with pytest.raises(UsageError, match="`serve` is for scopes of type 'lifespan'; got 'http'"):
        asyncio.run(life.serve({"type": "http"}, server.receive, server.send))
    assert server.sent == []


@pytest.mark.parametrize(
    ("args", "options", "text"),
    [
        ((None,), {}, "`balancer` must be a Balancer; got None"),
        ((Balancer,), {}, "`balancer` must be a Balancer; got <class"),
        ((Balancer(workers=1), 5), {}, "`around` must be a lifespan, a function that takes the application"),
        ((Balancer(workers=1),), {"grace": -1}, "`grace` must be a finite number of milliseconds"),
        (
            (Balancer(workers=1),),
            {"signals": ("SIGTERM",)},
            "`signals` must be signals, as in signals=[signal.SIGTERM]; got ('SIGTERM',)",
        ),
        ((Balancer(workers=1),), {"signals": 15}, "`signals` must be signals, as in signals=[signal.SIGTERM]; got 15"),
    ],
)
def test_wrong_arguments_are_refused(args: tuple[Any, ...], options: dict[str, Any], text: str) -> None:
    with pytest.raises(ChainDefinitionError) as caught:
        lifespan(*args, **options)
    assert text in str(caught.value)


# --- health ---------------------------------------------------------------------------------------------------------


def test_a_full_buffer_is_not_ready() -> None:
    async def main() -> None:
        async with Balancer(workers=1, buffer=1) as balancer:
            tickets = [balancer.post(Task(sleep)(50))]
            await sleep(1)
            assert balancer.health().ready
            tickets.append(balancer.post(Task(sleep)(50)))
            assert readiness(balancer).detail == "not ready: its buffer is full"
            assert liveness(balancer).status == 200
            for ticket in tickets:
                await ticket
            assert balancer.health().ready

    run_virtual(main)


def test_a_balancer_whose_loop_has_ended_is_not_live() -> None:
    balancer = Balancer(workers=1)

    async def first() -> None:
        await balancer.arun(Task(len)("four"))

    asyncio.run(first())
    assert liveness(balancer) == (503, {}, "not live: its loop has ended")
    assert readiness(balancer).status == 503


def test_a_balancer_that_was_not_used_yet_is_ready_and_live() -> None:
    balancer = Balancer("thread", workers=1)
    assert readiness(balancer).status == liveness(balancer).status == 200
    with balancer:
        assert balancer.health().ready
    assert balancer.health().live


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_in_a_forked_child_it_is_not_live() -> None:
    with Balancer("thread", workers=1) as balancer:
        balancer.run(Task(len)("four"))
        read, write = os.pipe()
        pid = os.fork()
        if not pid:
            os.write(write, repr(balancer.health()).encode())
            os._exit(0)
        os.waitpid(pid, 0)
        said = os.read(read, 1_000).decode()
        os.close(read)
        os.close(write)
        assert "ready=False, live=False" in said
        assert balancer.health().ready
