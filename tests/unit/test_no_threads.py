"""A thread that can't be started: the call or post that needed it fails or waits, and nothing is lost or made twice."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from leaks.baseline import EXECUTORS, is_idle
from waiting import SPARE, eventually

from rio_chain import Balancer, Task, TaskTimedOut

CANNOT = "can't start new thread"


class NoThreads:
    """While it is open, no thread of ours can be started; ``first`` lets so many through before."""

    def __init__(self, first: int = 0, *, only: str = "rio_chain") -> None:
        self.left = first
        self.only = only
        self.refused = 0

    @contextlib.contextmanager
    def here(self) -> Iterator[NoThreads]:
        real = threading.Thread.start

        def start(thread: threading.Thread) -> None:
            if self.only in thread.name:
                self.left -= 1
                if self.left < 0:
                    self.refused += 1
                    raise RuntimeError(CANNOT)
            real(thread)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(threading.Thread, "start", start)
            yield self


class Calls:
    def __init__(self) -> None:
        self.made: list[Any] = []

    def pay(self, x: Any) -> Any:
        self.made.append(x)
        return x


async def nothing(x: int) -> int:
    return x


def test_the_first_post_raises_and_never_runs() -> None:
    calls = Calls()
    with Balancer("thread", workers=1) as balancer:
        with NoThreads().here(), pytest.raises(RuntimeError, match=CANNOT):
            balancer.run(Task(calls.pay)("once"))
        assert balancer.run(Task(calls.pay)("twice")).unwrap() == "twice"
        eventually(lambda: is_idle(balancer))
    assert calls.made == ["twice"]


@pytest.mark.parametrize("executor", ["asyncio", "trio"])
def test_a_call_on_a_loop_fails_and_is_not_made_later(executor: str) -> None:
    calls = Calls()
    with Balancer(executor, workers=1) as balancer:
        balancer.run(Task(nothing)(0))
        with NoThreads().here():
            outcome = balancer.run(Task(calls.pay)("once"))
        assert (str(outcome.result.failure()), outcome.only.attempts) == (CANNOT, 0)
        assert balancer.run(Task(calls.pay)("again")).unwrap() == "again"
        eventually(lambda: is_idle(balancer))
    assert calls.made == ["again"]


@pytest.mark.parametrize("executor", ["asyncio", "trio"])
def test_a_retry_gets_the_thread_that_can_be_started_then(executor: str) -> None:
    calls = Calls()
    with Balancer(executor, workers=1) as balancer:
        balancer.run(Task(nothing)(0))
        real, left = threading.Thread.start, [2]

        def start(thread: threading.Thread) -> None:
            left[0] -= 1
            if left[0] >= 0:
                raise RuntimeError(CANNOT)
            real(thread)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(threading.Thread, "start", start)
            assert balancer.run(Task(calls.pay).retry(2, backoff=None)("paid")).unwrap() == "paid"
    assert calls.made == ["paid"]


@pytest.mark.parametrize("executor", EXECUTORS)
def test_other_workers_do_what_the_thread_that_did_not_start_was_for(executor: str) -> None:
    calls, gate = Calls(), threading.Event()
    with Balancer(executor, workers=2) as balancer:
        holder = balancer.post(Task(gate.wait)(SPARE))
        eventually(lambda: getattr(balancer._host, "pool").count == 1)  # noqa: B009 - of whatever host
        with NoThreads().here():
            waiting = balancer.post(Task(calls.pay)("later"))
            gate.set()
            assert waiting.wait(1000 * SPARE).unwrap() == "later"
        holder.wait(1000 * SPARE)


def test_a_limit_holds_while_no_thread_can_be_started() -> None:
    gate = threading.Event()
    with Balancer("thread", workers=1) as balancer:
        chain = Task(gate.wait).timeout(20).or_else("plan B")
        balancer.run(Task(len)("warm"))
        with NoThreads().here():
            assert balancer.run(chain(SPARE)).unwrap() == "plan B"
        gate.set()
        eventually(lambda: is_idle(balancer))


def test_a_retry_that_no_thread_can_be_started_for_waits_for_one() -> None:
    gate, calls = threading.Event(), Calls()

    def body(x: str) -> str:
        calls.pay(x)
        if len(calls.made) == 1:
            gate.wait(SPARE)
        return x

    with Balancer("thread", workers=1) as balancer:
        chain = Task(body).timeout(400).retry(1, backoff=None, on=TaskTimedOut)
        balancer.run(Task(len)("warm"))
        no_threads = NoThreads()
        with no_threads.here():
            ticket = balancer.post(chain("x"))
            eventually(lambda: no_threads.refused >= 2)
            assert not ticket.done
            assert calls.made == ["x"]
        assert ticket.wait(1000 * SPARE).unwrap() == "x"
        gate.set()
        eventually(lambda: is_idle(balancer))
    assert calls.made == ["x", "x"]


def test_the_thread_of_an_abandoned_call_goes_on_with_what_waits() -> None:
    gate = threading.Event()
    with Balancer("thread", workers=1) as balancer:
        chain = Task(gate.wait).timeout(20).or_else("plan B") >> Task(str.upper)
        balancer.run(Task(len)("warm"))
        with NoThreads().here():
            ticket = balancer.post(chain(SPARE))
            eventually(lambda: balancer.stats().abandoned == 1)
            gate.set()
            assert ticket.wait(1000 * SPARE).unwrap() == "PLAN B"


@pytest.mark.parametrize("executor", EXECUTORS)
def test_close_answers_all_while_no_thread_can_be_started(executor: str) -> None:
    gate, begun = threading.Event(), threading.Event()

    def stay(x: int) -> int:
        begun.set()
        gate.wait(SPARE)
        return x

    balancer = Balancer(executor, workers=1)
    tickets = [balancer.post(Task(stay)(k)) for k in range(3)]
    assert begun.wait(SPARE)
    with NoThreads().here(), contextlib.suppress(RuntimeWarning):
        balancer.close(grace=0)
    assert all(ticket.done for ticket in tickets)
    gate.set()


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_loop_that_cannot_be_started_raises_and_the_next_try_works(executor: str) -> None:
    """Also for a thousand callers at once: none of them waits for a loop that never comes."""
    errors: list[BaseException] = []

    def use() -> None:
        balancer = Balancer(executor)
        try:
            balancer.post(Task(len)("abc"))
        except RuntimeError as error:
            errors.append(error)
        balancer.close()

    with NoThreads().here():
        callers = [threading.Thread(target=use) for _ in range(20)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join(SPARE)
    assert [str(error) for error in errors] == [CANNOT] * 20
    with Balancer(executor) as balancer:
        assert balancer.run(Task(len)("abc")).unwrap() == 3


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of the loop that asyncio half made
def test_a_loop_without_descriptors_gives_the_error_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_pair(*_: object, **__: object) -> None:
        raise OSError(24, "Too many open files")

    balancer = Balancer("asyncio")
    with monkeypatch.context() as patched:
        patched.setattr("socket.socketpair", no_pair)
        with pytest.raises(OSError, match="Too many open files"):
            balancer.run(Task(len)("abc"))
    with balancer:
        assert balancer.run(Task(len)("abc")).unwrap() == 3


AT_EXIT = """
import atexit, sys, threading, time
from rio_chain import Balancer, Task

begun = threading.Event()

def stay(x):
    begun.set()
    time.sleep(60)

balancer = Balancer(sys.argv[1], workers=2)
ticket = balancer.post(Task(stay)(0))
begun.wait()
atexit.register(lambda: print("answered:", ticket.done))
atexit.register(balancer.close, 0)
"""


@pytest.mark.parametrize("executor", EXECUTORS)
def test_close_at_exit_answers_and_lets_the_process_end(executor: str) -> None:
    """From 3.12 on no thread can be started any more then."""
    done = subprocess.run(
        [sys.executable, "-c", AT_EXIT, executor], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.stdout.strip(), done.returncode) == ("answered: True", 0), done.stderr
