"""An exception may arrive anywhere in a call: no slot is lost, no lock is kept, and what follows works.

A Ctrl-C; what a signal handler raises, as the time limits of job runners do; RecursionError; MemoryError.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import pytest
from interrupting import SIGNALS, Interruption, arrives, everywhere
from leaks.baseline import EXECUTORS
from waiting import eventually

from rio_chain import Balancer, Task, Ticket
from rio_chain.balancer._dispatch import Dispatcher

pytestmark = [
    pytest.mark.timeout(50),
    pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"),  # in a __del__
]
SECONDS = 20_000  # that a busy machine may take


def same(x: Any) -> Any:
    return x


CHAIN = Task(same).inline()


class SoftTimeLimit(Exception):
    """What a job runner's signal handler raises."""


ERRORS = [KeyboardInterrupt, SoftTimeLimit, RecursionError, MemoryError, RuntimeError]


def is_idle(balancer: Balancer) -> bool:
    """No slot, place, thread or strand is taken."""
    host, admission = balancer._host, balancer._admission
    assert host is not None
    nobody = not admission.runs and not admission.queue.waiting and not balancer._dispatcher.posted
    return nobody and admission.queue.running == 0 and not host.pool.pending and not getattr(host.runtime, "live", 0)


def cancelled(balancer: Balancer) -> None:
    balancer.post(CHAIN(0)).cancel()


CALLS: dict[str, Callable[[Balancer], object]] = {
    "post": lambda balancer: balancer.post(CHAIN(0)),
    "post with a limit": lambda balancer: balancer.post(CHAIN(0), queue_timeout=SECONDS),
    "run": lambda balancer: balancer.run(CHAIN(0)),
    "cancel": cancelled,
    "map": lambda balancer: list(balancer.map(CHAIN, [0, 1, 2])),
    "stats": repr,
}


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("executor", EXECUTORS)
def test_wherever_it_comes_in_a_call_the_slot_is_free_again(
    executor: str, call: str, error: type[BaseException]
) -> None:
    with Balancer(executor, workers=1) as balancer:
        balancer.run(CHAIN(0))

        def once(interruption: Interruption) -> None:
            with contextlib.suppress(error), interruption.here():
                CALLS[call](balancer)
            eventually(lambda: is_idle(balancer))
            assert balancer.post(CHAIN(1)).wait(SECONDS).unwrap() == 1

        assert len(everywhere(once, arrives(error), after=SIGNALS)) > 5


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("terms", [{}, {"queue_timeout": SECONDS}], ids=["no limit", "a limit"])
@pytest.mark.parametrize("options", [{}, {"fair": True, "shed": "oldest", "shed_late": True}], ids=["plain", "managed"])
@pytest.mark.parametrize("executor", EXECUTORS)
def test_wherever_it_comes_in_a_post_that_has_to_wait_nobody_is_left_in_the_line(
    executor: str, options: dict[str, Any], terms: dict[str, Any], error: type[BaseException]
) -> None:
    with Balancer(executor, workers=1, **options) as balancer:

        def once(interruption: Interruption) -> None:
            gate = threading.Event()
            holder = balancer.post(Task(gate.wait)(SECONDS / 1_000))
            tickets: list[Ticket[Any]] = []
            with contextlib.suppress(error), interruption.here():
                tickets.append(balancer.post(CHAIN(0), **terms))
            gate.set()
            for ticket in (holder, *tickets):
                ticket.wait(SECONDS)
            eventually(lambda: is_idle(balancer))
            assert balancer.post(CHAIN(1)).wait(SECONDS).unwrap() == 1

        assert len(everywhere(once, arrives(error), after=SIGNALS)) > 20


@pytest.mark.parametrize("executor", EXECUTORS)
def test_an_interrupted_post_ends_the_strand_that_waits_for_its_turn(
    executor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, turn_came = Dispatcher._start, Dispatcher.turn_came
    ended = threading.Event()

    async def watched(dispatcher: Dispatcher, *args: Any) -> bool:
        try:
            return await turn_came(dispatcher, *args)
        finally:
            ended.set()

    def interrupted(dispatcher: Dispatcher, posted_request: Any, main: Any, **how: Any) -> None:
        start(dispatcher, posted_request, main, **how)
        eventually(lambda: posted_request.turn.wake is not None)
        raise KeyboardInterrupt

    gate = threading.Event()
    with Balancer(executor, workers=1) as balancer:
        holder = balancer.post(Task(gate.wait)(SECONDS / 1_000))
        with monkeypatch.context() as patched:
            patched.setattr(Dispatcher, "turn_came", watched)
            patched.setattr(Dispatcher, "_start", interrupted)
            with pytest.raises(KeyboardInterrupt):
                balancer.post(CHAIN(0), queue_timeout=SECONDS)
            over = ended.wait(5)
        gate.set()
        holder.wait(SECONDS)
        assert over, "the strand waits on, for a turn that never comes"


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("executor", EXECUTORS)
def test_wherever_it_comes_in_a_close_the_next_one_ends_it(executor: str, error: type[BaseException]) -> None:
    def once(interruption: Interruption) -> None:
        balancer = Balancer(executor, workers=1)
        ticket = balancer.post(CHAIN(1))
        with contextlib.suppress(error), interruption.here():
            balancer.close()
        balancer.close()
        assert ticket.done

    assert len(everywhere(once, arrives(error), step=2, after=SIGNALS)) > 5
