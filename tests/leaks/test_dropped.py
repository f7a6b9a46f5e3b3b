"""A balancer that is dropped without being closed: its threads, loop and descriptors end, and it says so once."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from amid import amid
from leaks.baseline import EXECUTORS, Bodies, nothing_left, pause
from leaks.loops import LOOPS, Loop, eventually_here
from waiting import SPARE, eventually

from rio_chain import Balancer, QueueFull, Task, Ticket, TicketCancelled
from rio_chain.balancer import _warnings

ROOT = Path(__file__).parents[2]


@pytest.fixture
def seen() -> Iterator[list[warnings.WarningMessage]]:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        yield found


def texts(seen: list[warnings.WarningMessage]) -> list[str]:
    assert {one.category for one in seen} <= {ResourceWarning}
    return [str(one.message) for one in seen]


def use(balancer: Balancer, body: Bodies) -> None:
    chain = Task(body.answer).timeout(10_000) >> (Task(body.aanswer) & Task(body.answer))
    assert balancer.run(chain(1)).unwrap() == (1, 1)
    assert balancer.post(Task(body.answer)(2)).wait(20_000).unwrap() == 2
    assert [outcome.unwrap() for outcome in balancer.map(Task(body.aanswer), range(3))] == [0, 1, 2]


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_hundred_leave_nothing_and_each_says_so(
    executor: str, body: Bodies, seen: list[warnings.WarningMessage]
) -> None:
    with nothing_left():
        for _ in range(100):
            use(Balancer(executor, workers=2), body)
        gc.collect()
    assert len(texts(seen)) == 100
    for text in texts(seen):
        assert text.startswith(f"<Balancer {executor} open: 0/2 running, 0/1000 queued, ")
        assert text.endswith(
            "was dropped without being closed; write `with Balancer(...) as balancer:`, `async with`, or call `close()`"
        )
    assert {one.filename for one in seen} == {__file__}, "it points to where they were made"
    assert len({one.lineno for one in seen}) == 1


@pytest.mark.parametrize("loop", LOOPS)
def test_a_hundred_on_a_running_loop_leave_nothing_there(
    loop: str, body: Bodies, seen: list[warnings.WarningMessage]
) -> None:
    runs: Loop = LOOPS[loop]

    async def main() -> None:
        before = runs.living()
        for n in range(100):
            balancer = Balancer(workers=2)
            assert (await balancer.arun((Task(body.aanswer) >> Task(body.answer))(n))).unwrap() == n
            assert (await balancer.post(Task(body.aanswer)(n))).unwrap() == n
        del balancer
        gc.collect()
        await eventually_here(lambda: runs.living() == before)

    with nothing_left():
        runs.run(main)
    assert len(texts(seen)) == 100


def test_one_in_virtual_time_has_nothing_to_leave(body: Bodies, seen: list[warnings.WarningMessage]) -> None:
    with nothing_left():
        for _ in range(10):
            assert Balancer("virtual").run(Task(body.answer)(1)).unwrap() == 1
        gc.collect()
    assert texts(seen) == []


@pytest.mark.parametrize("executor", [*EXECUTORS, "virtual"])
def test_one_that_was_closed_or_never_used_says_nothing(
    executor: str, body: Bodies, seen: list[warnings.WarningMessage]
) -> None:
    with nothing_left():
        Balancer(executor)
        with Balancer(executor) as balancer:
            assert balancer.run(Task(body.answer)(1)).unwrap() == 1
        del balancer
        with pytest.raises(ZeroDivisionError), Balancer(executor):
            _ = 1 / 0
        gc.collect()
    assert texts(seen) == []


@pytest.mark.parametrize("loop", LOOPS)
def test_one_whose_loop_has_ended_says_nothing(loop: str, body: Bodies, seen: list[warnings.WarningMessage]) -> None:
    async def main() -> None:
        await kept[0].arun(Task(body.answer)(1))

    with nothing_left():
        kept = [Balancer()]
        LOOPS[loop].run(main)
        kept.clear()
        gc.collect()
    assert texts(seen) == []


# --- with open tickets --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("executor", EXECUTORS)
def test_one_with_open_tickets_goes_on_until_they_are_answered(
    executor: str, body: Bodies, seen: list[warnings.WarningMessage]
) -> None:
    with nothing_left():
        balancer = Balancer(executor, workers=2)
        tickets = [balancer.post(Task(body.stay)(n), queue_timeout=t) for n in range(3) for t in (None, 30_000)]
        body.wait_begun()
        del balancer
        gc.collect()
        body.open.set()
        assert [ticket.wait(20_000).unwrap() for ticket in tickets] == [0, 0, 1, 1, 2, 2]
    gc.collect()
    assert texts(seen) == []


@pytest.mark.parametrize("executor", EXECUTORS)
def test_tickets_that_nobody_holds_are_answered_too(
    executor: str, body: Bodies, seen: list[warnings.WarningMessage]
) -> None:
    answered: list[int] = []
    with nothing_left():
        balancer = Balancer(executor, workers=1)
        for n in range(4):
            balancer.post(Task(body.stay)(n)).on_done(partial(answered.append, n))
        del balancer
        gc.collect()
        body.open.set()
        eventually(lambda: sorted(answered) == [0, 1, 2, 3])
    assert texts(seen) == []


@pytest.mark.parametrize("executor", EXECUTORS)
def test_tickets_of_one_that_was_dropped_may_be_cancelled(
    executor: str, body: Bodies, seen: list[warnings.WarningMessage]
) -> None:
    with nothing_left():
        balancer = Balancer(executor, workers=2)
        tickets = [balancer.post(Task(body.astay)(n), queue_timeout=t) for n in range(3) for t in (None, 30_000)]
        del balancer
        gc.collect()
        for ticket in reversed(tickets):
            ticket.cancel()
        for ticket in tickets:
            assert isinstance(ticket.wait(20_000).result.failure(), TicketCancelled)
    assert texts(seen) == []


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_call_that_was_abandoned_does_not_keep_it(
    executor: str, body: Bodies, seen: list[warnings.WarningMessage]
) -> None:
    with nothing_left():
        balancer = Balancer(executor)
        assert balancer.run(Task(body.stay).timeout(5)(1)).result.failure()
        del balancer
        gc.collect()
        body.open.set()
    assert len(texts(seen)) == 1
    assert " 1 abandoned, " in texts(seen)[0]


# --- dropped anywhere ---------------------------------------------------------------------------------------------


class Holder:
    """The last holder of the balancer; in a cycle, so that only the collector drops it."""

    def __init__(self, balancer: Balancer) -> None:
        self.balancer = balancer
        self.me = self


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("sync", [True, False])
def test_it_may_be_dropped_by_a_body_that_it_runs(
    executor: str, sync: bool, body: Bodies, seen: list[warnings.WarningMessage]
) -> None:
    kept, posted = list[Balancer](), threading.Event()

    def drops(x: int) -> int:
        assert posted.wait(SPARE)
        kept.clear()
        gc.collect()
        return x

    async def adrops(x: int) -> int:
        await eventually_here(posted.is_set)
        drops(x)
        await pause(0)
        return x

    with nothing_left():
        kept.append(Balancer(executor))
        ticket = kept[0].post((Task(drops if sync else adrops) >> Task(body.aanswer) >> Task(body.answer))(1))
        posted.set()
        assert ticket.wait(20_000).unwrap() == 1
        assert not kept
    assert texts(seen) == []


@pytest.mark.parametrize("executor", EXECUTORS)
def test_it_may_be_dropped_by_a_callback(executor: str, body: Bodies, seen: list[warnings.WarningMessage]) -> None:
    """On the thread of its loop, or on one of its workers, when it has nothing more to do."""
    with nothing_left():
        kept = [Balancer(executor)]
        dropped = threading.Event()
        ticket = kept[0].post(Task(body.stay)(1))
        ticket.on_done(kept.clear)
        ticket.on_done(dropped.set)
        body.open.set()
        assert dropped.wait(SPARE)
    assert len(texts(seen)) == 1


@pytest.mark.parametrize("executor", EXECUTORS)
def test_it_may_be_dropped_in_the_middle_of_a_decision(
    executor: str, body: Bodies, seen: list[warnings.WarningMessage]
) -> None:
    with nothing_left():
        balancer = Balancer(executor)
        use(balancer, body)
        with amid(balancer._admission):
            del balancer
            gc.collect()
            assert texts(seen) == []
        assert len(texts(seen)) == 1


@pytest.mark.parametrize("executor", EXECUTORS)
def test_the_collector_may_drop_many_on_any_thread(
    executor: str, body: Bodies, seen: list[warnings.WarningMessage]
) -> None:
    def works() -> None:
        for n in range(15):
            holder = Holder(Balancer(executor, workers=2, buffer=5))
            try:
                tickets.append(holder.balancer.post(Task(body.aanswer)(n)))
            except QueueFull:
                continue
            del holder
            gc.collect(n % 3)

    tickets: list[Ticket[Any]] = []
    with nothing_left():
        threads = [threading.Thread(target=works) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert [ticket.wait(20_000).unwrap() for ticket in tickets].count(14) == 4
        gc.collect()
    assert len(texts(seen)) <= 60


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of a fork among threads
@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_forked_child_that_drops_it_does_nothing(executor: str, body: Bodies) -> None:
    balancer = Balancer(executor)
    use(balancer, body)
    child = os.fork()
    if not child:  # pragma: no cover - the child
        warnings.simplefilter("error")
        with amid(balancer._admission):  # as the parent may have been
            del balancer
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    use(balancer, body)
    balancer.close()


# --- what is said ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_warning_that_is_an_error_is_reported_and_all_is_freed(
    executor: str, body: Bodies, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", reported.append)
    with nothing_left():
        balancer = Balancer(executor)
        use(balancer, body)
        del balancer
        gc.collect()
    assert [args.exc_type for args in reported] == [ResourceWarning]


PROGRAM = """
import asyncio, sys, trio
from rio_chain import Balancer, Task

async def body(x):
    return x

def use():
    balancer = Balancer(sys.argv[1])
    balancer.run(Task(body)(1))

async def ause():
    await attached.arun(Task(body)(1))

kept = Balancer(sys.argv[1])
kept.run(Task(body)(1))
attached = Balancer()
asyncio.run(ause())
use()
"""


@pytest.mark.parametrize("executor", EXECUTORS)
def test_one_at_module_level_says_nothing_at_exit(executor: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    command = [sys.executable, "-X", "dev", str(program), executor]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment, check=False)
    assert (ended.returncode, ended.stdout) == (0, "")
    assert ended.stderr.count("ResourceWarning") == 1, "that of the function alone"
    assert ended.stderr.startswith(f"{program}:9: ResourceWarning: <Balancer {executor} open: ")


def test_a_line_of_a_user_is_found_behind_our_own() -> None:
    file, line = _warnings.users_line()
    assert (file, line) == (__file__, line)
    balancer = Balancer.from_env()
    made = balancer._lifetime.finalizer.peek()
    assert made is not None
    assert made[2][-1][0] == __file__
