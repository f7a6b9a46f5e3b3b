"""An exception may arrive anywhere while a strand is spawned or cancelled: none is lost, and none is kept."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import pytest
from conformance.spawning import Door, Spawning, runtime
from interrupting import Interruption, arrives, everywhere
from leaks.baseline import EXECUTORS
from waiting import eventually

from rio_chain import Balancer, Task
from rio_chain.errors import TicketCancelled
from rio_chain.executors._spawned_strands import living

pytestmark = [
    pytest.mark.timeout(50),
    pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"),  # in a __del__
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),  # interrupted after it was made
]
ERRORS = [KeyboardInterrupt, RecursionError, MemoryError, RuntimeError]


@pytest.fixture(autouse=True)
def reported(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """What went to ``threading.excepthook``."""
    found: list[BaseException] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: found.append(args.exc_value))
    return found


class Interrupted(Spawning):
    """Each call is interrupted while it spawns its strand."""

    interruption: Interruption
    error: type[BaseException]
    got: Any = None

    def enter(self, call: Any, /) -> Any:
        self.got = None
        permit = None
        with contextlib.suppress(self.error), self.interruption.here():
            permit = super().enter(call)
        self.got = self.spawned.pop() if self.spawned else None
        return permit or super().enter(call)


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("executor", EXECUTORS)
def test_wherever_it_comes_while_a_strand_is_spawned_that_ends(executor: str, error: type[BaseException]) -> None:
    ran: list[int] = []

    async def main() -> None:
        ran.append(1)

    interrupted = Interrupted(main)
    interrupted.error = error
    chain = interrupted.around(str)
    with Balancer(executor, workers=1) as balancer:

        def once(interruption: Interruption) -> None:
            ran.clear()
            interrupted.spawned.clear()
            interrupted.interruption = interruption
            assert balancer.run(chain(7)).unwrap() == "7"
            eventually(lambda: not living, f"interrupted at {interruption.came}: {living}")
            assert 1 <= len(ran) <= 2, "one that is handed out has run; the other one ran once, or never will"
            assert interrupted.got is None or interrupted.got.error is None

        assert len(everywhere(once, arrives(error))) > 20


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("executor", ["asyncio", "trio"])
@pytest.mark.parametrize("how", ["cancel", "shut"])
def test_wherever_it_comes_while_they_are_cancelled_a_second_call_cancels_all(
    executor: str, error: type[BaseException], how: str
) -> None:
    door = Door()
    spawning = Spawning(door.passed)

    def once(interruption: Interruption) -> None:
        spawning.spawned.clear()
        with Balancer(executor) as balancer:
            for _ in range(2):
                balancer.run(spawning.around(str)(7))
            host: Any = balancer._host
            woken = threading.Event()
            with contextlib.suppress(error), interruption.here():
                end(host, how, spawning)
            end(host, how, spawning)
            host.spawned.when_idle(woken.set)
            assert woken.wait(5), f"interrupted at {interruption.came}"
            assert all(type(strand.error) is TicketCancelled for strand in spawning.spawned)

    assert len(everywhere(once, arrives(error))) > 5
    assert not living


def end(host: Any, how: str, spawning: Spawning) -> None:
    if how == "shut":
        host.spawned.shut("all are cancelled")
        return
    for strand in spawning.spawned:
        strand.cancel()


def test_only_a_strand_of_a_run_spawns_another_one() -> None:
    with Balancer("thread") as balancer:
        balancer.run(Task(len)("four"))
        host: Any = balancer._host
        with pytest.raises(RuntimeError, match="only a strand of an open run can spawn another one"):
            host.runtime.spawn(runtime)
