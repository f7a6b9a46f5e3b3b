"""A module-level balancer: opened and closed again and again, on other loops, threads and in forked processes."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
from fastapi import FastAPI
from forking import forks, in_child
from leaks.baseline import nothing_left, warm_up

from rio_chain import Balancer, BalancerClosed, Task, UsageError
from rio_chain.executors import _start_thread
from rio_chain.testing import VirtualExecutor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

EXECUTORS = ("asyncio", "trio", "thread")
on_each = pytest.mark.parametrize("executor", EXECUTORS)


def same(x: Any) -> Any:
    return x


async def asame(x: Any) -> Any:
    return x


ASKED = Task(asame) & Task(same).named("sync")


async def on_a_loop(balancer: Balancer) -> None:
    async with balancer:
        assert (await balancer.arun(ASKED(1))).unwrap() == (1, 1)


def in_plain_code(balancer: Balancer) -> None:
    with balancer:
        assert balancer.run(ASKED(1)).unwrap() == (1, 1)


def on_asyncio(balancer: Balancer) -> None:
    asyncio.run(on_a_loop(balancer))


def on_trio(balancer: Balancer) -> None:
    trio.run(on_a_loop, balancer)


WAYS: list[Callable[[Balancer], None]] = [on_asyncio, on_trio, in_plain_code]


@pytest.mark.parametrize("executor", [None, *EXECUTORS])
def test_it_opens_anew_on_whichever_loop_runs(executor: str | None) -> None:
    balancer = Balancer(executor)
    times = 0
    for first in WAYS:
        for then in WAYS:
            first(balancer)
            then(balancer)
            times += 2
    assert balancer.stats().done == times


def test_it_lives_where_it_was_opened_last() -> None:
    balancer = Balancer()
    for way, name in ((on_trio, "trio"), (on_asyncio, "asyncio"), (on_trio, "trio")):
        way(balancer)
        assert repr(balancer).startswith(f"<Balancer {name} closed")


@on_each
def test_a_plain_use_of_a_closed_one_raises(executor: str) -> None:
    balancer = Balancer(executor)
    for _ in range(2):
        with balancer:
            assert balancer.run(ASKED(1)).unwrap() == (1, 1)
        for call in (balancer.run, balancer.post, lambda request: asyncio.run(balancer.arun(request))):
            with pytest.raises(BalancerClosed, match="`with` or `async with` opens it again"):
                call(ASKED(1))
        with pytest.raises(BalancerClosed):
            next(balancer.map(ASKED, [1]))


def test_virtual_time_goes_on() -> None:
    executor = VirtualExecutor()
    balancer = Balancer(executor)
    for _ in range(2):
        in_plain_code(balancer)
    assert balancer.stats().done == 2


# --- without a close ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", [asyncio.run, lambda main: trio.run(lambda: main)])
def test_one_whose_loop_has_ended_without_a_close_opens_anew(run: Callable[[Any], None]) -> None:
    async def leave_it_open(balancer: Balancer) -> None:
        await balancer.__aenter__()
        assert (await balancer.arun(ASKED(1))).unwrap() == (1, 1)

    with nothing_left():
        balancer = Balancer()
        for times in range(1, 4):
            run(leave_it_open(balancer))
            with pytest.raises(BalancerClosed, match="its loop has ended"):
                balancer.post(ASKED(1))
            assert balancer.stats().done == times
        run(on_a_loop(balancer))


@on_each
def test_one_that_is_dropped_while_it_is_open_again_says_so(executor: str) -> None:
    with nothing_left():
        balancer = Balancer(executor)
        in_plain_code(balancer)
        box = [balancer.__enter__()]
        del balancer
        with pytest.warns(ResourceWarning, match=rf"<Balancer {executor} open: .* was dropped without being closed"):
            box.clear()


@on_each
def test_one_that_was_closed_again_says_nothing_when_it_is_dropped(executor: str) -> None:
    with nothing_left(), warnings.catch_warnings():
        warnings.simplefilter("error")
        balancer = Balancer(executor)
        for _ in range(3):
            in_plain_code(balancer)
        del balancer
        gc.collect()


# --- several at once ----------------------------------------------------------------------------------------------


def at_once(*works: Callable[[], Any]) -> list[Any]:
    """What each gives or raises."""
    barrier, found = threading.Barrier(len(works)), list[Any]()

    def run(work: Callable[[], Any]) -> None:
        barrier.wait(10)
        try:
            found.append(work())
        except Exception as error:  # noqa: BLE001 - looked at by the test
            found.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found) == len(works)
    return found


@on_each
def test_of_many_that_enter_at_once_one_gets_in(executor: str) -> None:
    balancer = Balancer(executor)
    for _ in range(20):
        found = at_once(*[balancer.__enter__] * 4)
        assert sorted(type(one).__name__ for one in found) == ["Balancer", *["UsageError"] * 3]
        assert balancer.run(ASKED(1)).unwrap() == (1, 1)
        balancer.close()
    assert balancer.stats().done == 20


@on_each
def test_closing_and_opening_at_once_ends_open_or_closed(executor: str) -> None:
    balancer = Balancer(executor)
    with nothing_left():
        for _ in range(20):
            balancer.__enter__()
            found = at_once(balancer.close, balancer.close, balancer.__enter__)
            refused = [one for one in found if isinstance(one, (BalancerClosed, UsageError))]
            assert len(refused) + found.count(None) + found.count(balancer) == 3
            if " open" in repr(balancer):
                assert balancer.run(ASKED(1)).unwrap() == (1, 1)
            balancer.close()
        in_plain_code(balancer)


@on_each
def test_one_that_can_not_bind_may_be_entered_later(executor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if executor == "thread":
        pytest.skip("it starts no thread before the first call")
    balancer = Balancer(executor)
    in_plain_code(balancer)

    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(_start_thread.threading.Thread, "start", fails)
        for _ in range(2):
            with pytest.raises(RuntimeError, match="can't start new thread"):
                balancer.__enter__()
    in_plain_code(balancer)
    assert balancer.stats().done == 2


@on_each
def test_many_times_leave_nothing(executor: str) -> None:
    warm_up()
    with nothing_left():
        balancer = Balancer(executor)
        for _ in range(10):
            for way in WAYS:
                way(balancer)
        assert balancer.stats().done == 30


def double(x: int) -> int:
    return 2 * x


def test_lanes_open_anew_as_well() -> None:
    balancer = Balancer(lanes={"cpu": 1})
    chain = Task(double).lane("cpu")
    with nothing_left():
        for n in range(2):
            with balancer:
                assert balancer.run(chain(n)).unwrap() == 2 * n


# --- forks --------------------------------------------------------------------------------------------------------


class TestForks:
    pytestmark = forks

    @on_each
    def test_one_that_had_closed_before_the_fork_opens_in_the_child(self, executor: str) -> None:
        balancer = Balancer(executor)
        in_plain_code(balancer)

        def child() -> None:
            with pytest.raises((BalancerClosed, UsageError)):
                balancer.post(ASKED(1))
            for way in WAYS:
                way(balancer)
            assert balancer.stats().done == 4

        in_child(child)
        in_plain_code(balancer)
        assert balancer.stats().done == 2

    @on_each
    def test_one_that_is_open_is_the_parents(self, executor: str) -> None:
        balancer = Balancer(executor)

        def child() -> None:
            with pytest.raises(UsageError, match="the balancer was bound before this process was forked"):
                balancer.__enter__()

        for _ in range(2):
            with balancer:
                in_child(child)
                assert balancer.run(ASKED(1)).unwrap() == (1, 1)


# --- a web application --------------------------------------------------------------------------------------------


def test_a_second_test_client_of_the_same_application_works() -> None:
    from fastapi.testclient import TestClient  # noqa: PLC0415 - it warns where it finds no httpx

    balancer = Balancer(workers=2)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with balancer:
            yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/{number}")
    async def answer(number: int) -> int:
        return (await balancer.arun(Task(asame)(number))).unwrap()

    for number in range(3):
        with TestClient(app) as client:
            assert client.get(f"/{number}").json() == number
    assert balancer.stats().done == 3
