"""Reads the table in docs/explanation/cancellation.md and tries every cell: those ends occur, and no others.

A request is brought into a phase and stays there until its gate is opened. It is cancelled before that, in the same
instant (so many steps of the loop earlier or later), and when it has ended.
"""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from conformance.harness import Child, World
from returns.result import Success

from rio_chain import Backoff, Balancer, Task, Ticket, TicketCancelled, current_attempt

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "cancellation.md"
HANDS = ("ticket", "scope", "waiter", "Ctrl-C", "close")


def table() -> dict[str, dict[str, str]]:
    """Per phase, per column: the word its cell begins with."""
    lines = PAGE.read_text().split("| phase |")[1].split("\n\n")[0].splitlines()
    head, _, *body = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines]
    words = {row[0]: [re.match(r"`([^`]+)`", cell).group(1) for cell in row[1:]] for row in body}
    return {phase: dict(zip(head, row, strict=True)) for phase, row in words.items()}


# --- the phases ---------------------------------------------------------------------------------------------------


class Phase:
    """In an async body. ``began`` and ``ended`` count what the clean-up is judged by."""

    workers = 2
    opens_it = True  # whether an open gate lets the request end as if it had not been cancelled

    def __init__(self, world: World, when: str) -> None:
        self.world = world
        self.when = when
        self.gate = world.gate()
        self.began = self.ended = 0
        self.chain: Any = Task(self.stays)

    async def stays(self, x: int) -> int:
        self.began += 1
        try:
            await self.gate.passed()
        finally:
            await self.world.shielded(1)
            self.ended += 1
        return x

    async def echo(self, x: int) -> int:
        return x

    def hold(self, balancer: Balancer) -> None:
        """Before the request comes."""

    def runs_on(self) -> None:
        """It will not be cancelled before it ends."""

    def reached(self, balancer: Balancer) -> bool:
        return self.began == 1

    def approach(self) -> None:
        """Right before it is cancelled."""

    def open(self) -> None:
        with suppress(RuntimeError):  # the task that waited there is gone, and the loop with it
            self.gate.open()

    def release(self) -> None:
        """All is judged."""
        self.open()

    def check(self, word: str, balancer: Balancer) -> None:
        """That the clean-up was as the table says."""
        assert word == "awaited"
        assert self.began == self.ended


class Queued(Phase):
    workers = 1

    def __init__(self, world: World, when: str) -> None:
        super().__init__(world, when)
        self.chain = Task(self.counts)
        self.calls = 0

    async def counts(self, x: int) -> int:
        self.calls += 1
        return x

    def hold(self, balancer: Balancer) -> None:
        balancer.post(Task(self.stays)(0))

    def reached(self, balancer: Balancer) -> bool:
        return self.began == 1 and balancer.stats().queued == 1

    def check(self, word: str, balancer: Balancer) -> None:
        assert word == "not called"
        assert self.calls == 0 or self.when == "at"


class Starting(Phase):
    def reached(self, balancer: Balancer) -> bool:
        return True


class SyncBody(Phase):
    def __init__(self, world: World, when: str) -> None:
        super().__init__(world, when)
        self.opened = threading.Event()
        self.chain = Task(self.blocks)

    def blocks(self, x: int) -> int:
        self.began += 1
        self.opened.wait(20)
        return x

    def open(self) -> None:
        self.opened.set()
        super().open()

    def check(self, word: str, balancer: Balancer) -> None:
        assert word == "left running"
        assert balancer.stats().abandoned == 1 or self.when == "at"


class InBackoff(Phase):
    """Here the clock opens the gate. Where it can't be trusted, it is far away from a cancellation before."""

    def __init__(self, world: World, when: str) -> None:
        super().__init__(world, when)
        self.ms = 5_000 if when == "before" and not world.virtual else 10
        self.chain = self.rests(self.ms)

    def rests(self, ms: float) -> Any:
        return Task(self.fails_once).retry(1, backoff=Backoff(base=ms, cap=ms, jitter="none"))

    def runs_on(self) -> None:
        self.chain = self.rests(50)

    def reached(self, balancer: Balancer) -> bool:
        return self.began > 0  # on a busy machine it may have rested

    async def fails_once(self, x: int) -> int:
        self.began += 1
        if self.began == 1:
            raise OSError
        return x

    def check(self, word: str, balancer: Balancer) -> None:
        assert word == "not called"
        assert self.began == 1 or self.when == "at"


class Between(Phase):
    def __init__(self, world: World, when: str) -> None:
        super().__init__(world, when)
        self.step = world.gate()
        self.first = 0
        self.chain = Task(self.steps) >> (lambda x: x) >> Task(self.stays)

    async def steps(self, x: int) -> int:
        self.first += 1
        await self.step.passed()
        return x

    def reached(self, balancer: Balancer) -> bool:
        return self.first == 1

    def approach(self) -> None:
        self.step.open()

    def open(self) -> None:
        self.step.open()
        super().open()


class InFanOut(Phase):
    def __init__(self, world: World, when: str) -> None:
        super().__init__(world, when)
        stays = Task(self.stays)
        self.chain = (stays & (Task(self.echo) >> stays.named("b") & stays.named("c"))) >> (lambda _: 7)

    def reached(self, balancer: Balancer) -> bool:
        return self.began == 3


class InCleanUp(Phase):
    """Of the call that lost; it goes on until the gate is opened, which is when the run knows that it was cancelled."""

    opens_it = False

    def __init__(self, world: World, when: str) -> None:
        super().__init__(world, when)
        self.cleaning = False
        self.chain = Task(self.contends).replica(2)

    async def contends(self, x: int) -> int:
        if current_attempt().replica == 0:
            await self.world.until(lambda: self.began)
            return x
        self.began += 1
        try:
            await self.world.pause(60_000)
        finally:
            self.cleaning = True
            while not self.gate.is_open:
                await self.world.shielded(1)
            self.ended += 1
        return x

    def reached(self, balancer: Balancer) -> bool:
        return self.cleaning


class Over(Phase):
    """It is cancelled when it has ended, whenever that should be."""

    def __init__(self, world: World, when: str) -> None:
        super().__init__(world, "after")
        self.chain = Task(self.echo)

    def reached(self, balancer: Balancer) -> bool:
        return balancer.stats().done == 1

    def check(self, word: str, balancer: Balancer) -> None:
        assert word == "nothing"


PHASES: dict[str, type[Phase]] = {
    "queued": Queued,
    "starting": Starting,
    "in an async body": Phase,
    "in a sync body": SyncBody,
    "in a backoff": InBackoff,
    "between two tasks": Between,
    "in a fan-out": InFanOut,
    "in a loser's clean-up": InCleanUp,
    "after the end": Over,
}


# --- the hands ----------------------------------------------------------------------------------------------------


def ended(outcome: Any) -> str:
    return "finished" if outcome.result == Success(7) else type(outcome.result.failure()).__name__


class ByTicket:
    """Two tasks wait for the ticket, and it is asked once more in the end."""

    def __init__(self, phase: Phase, balancer: Balancer) -> None:
        self.phase, self.world, self.balancer = phase, phase.world, balancer
        self.begin()

    def begin(self) -> None:
        self.ticket: Ticket[int] = self.balancer.post(self.phase.chain(7))
        self.waiters = [self.world.start(self.wait) for _ in range(2)]

    async def wait(self) -> Any:
        return await self.ticket

    def cancel(self) -> None:
        self.ticket.cancel()

    async def over(self) -> None:
        for waiter in self.waiters:
            await waiter.ended()

    async def end(self) -> str:
        outcomes = [await waiter.result() for waiter in self.waiters]
        assert outcomes == [await self.ticket] * 2, "one and the same"
        assert self.ticket.done
        return {"TicketCancelled": "cancelled"}.get(word := ended(outcomes[0]), word)


class ByClose(ByTicket):
    closing: Child | None = None

    def cancel(self) -> None:
        self.closing = self.world.start(lambda: self.balancer.aclose(grace=0))

    async def end(self) -> str:
        assert self.closing is not None
        await self.closing.result()
        assert self.ticket.done, "closed means answered"
        return await super().end()


class ByWaiter(ByTicket):
    def begin(self) -> None:
        self.phase.runs_on()
        super().begin()

    def cancel(self) -> None:
        self.waiters[0].stop()

    async def end(self) -> str:
        cancelled = (await self.waiters[0].ended()).cancelled
        assert cancelled or ended(self.waiters[0].value) == "finished"
        assert not cancelled or self.phase.gate.is_open or not self.ticket.done
        self.phase.release()
        assert ended(await self.waiters[1].result()) == "finished"
        assert ended(await self.ticket) == "finished"
        return "runs on" if cancelled else "finished"


class ByScope(ByTicket):
    def begin(self) -> None:
        self.caller = self.world.start(lambda: self.balancer.arun(self.phase.chain(7)))

    def cancel(self) -> None:
        self.caller.stop()

    async def over(self) -> None:
        await self.caller.ended()

    async def end(self) -> str:
        caller = await self.caller.ended()
        assert caller.error is None
        return "raised" if caller.cancelled else ended(caller.value)


BY = {"ticket": ByTicket, "scope": ByScope, "waiter": ByWaiter, "close": ByClose}


# --- trying -------------------------------------------------------------------------------------------------------


def knows(balancer: Balancer) -> bool:
    return all(run.stop_error is not None for run in balancer._admission.runs)


async def steps(world: World, count: int) -> None:
    for _ in range(count):
        await world.pause(0)


async def tried(world: World, kind: type[Phase], hand: str, when: str, shift: int) -> tuple[str, Phase, int]:
    """How it ended, and what was added to ``done``. ``shift``: how many steps the cancellation comes after the end."""
    phase = kind(world, when)
    async with world.balancer(workers=kind.workers) as balancer:
        phase.hold(balancer)
        by = BY[hand](phase, balancer)
        if kind is not Starting:
            await world.until(lambda: phase.reached(balancer))
        if phase.when == "before":
            phase.approach()
            await steps(world, shift)
            by.cancel()
            if hand != "waiter" and not kind.opens_it:
                await world.until(lambda: world.native or knows(balancer))
                await steps(world, 3)
                phase.open()
        elif phase.when == "after":
            phase.open()
            await by.over()
            by.cancel()
        else:
            if kind is InBackoff:
                await world.pause(phase.ms - 1)
            if shift < 0:
                by.cancel()
            else:
                phase.open()
            await steps(world, abs(shift))
            if shift < 0:
                phase.open()
            else:
                by.cancel()
        word = await by.end()
        if word in ("cancelled", "raised"):
            phase.check(table()[PHASE_OF[kind]]["clean-up"], balancer)
        phase.release()
        await world.until(lambda: balancer.stats().running == balancer.stats().queued == 0)
        await world.until(lambda: balancer.stats().abandoned == 0)
        done = balancer.stats().done - (kind is Queued)  # without the one that held the slot
        if hand != "close":
            assert (await balancer.arun(Task(phase.echo)(8))).result == Success(8), "the slot is back"
        return word, phase, done


PHASE_OF = {kind: name for name, kind in PHASES.items()}
cases = [
    pytest.param(name, hand, marks=pytest.mark.real_time if name == "in a sync body" else ())
    for name in PHASES
    for hand in BY
]


@pytest.mark.parametrize(("name", "hand"), cases)
async def test_it_ends_as_the_table_says(world: World, name: str, hand: str) -> None:
    if name == "in a sync body":
        world.not_virtual("a sync function takes no time, so no limit ends it")
    cell, added = table()[name][hand], {int(text) for text in table()[name]["done"].split(" or ")}
    kind = PHASES[name]
    for shift in range(world.ticks // 2 + 1) if kind in (Starting, Between) else (0,):
        word, phase, done = await tried(world, kind, hand, "before", shift)
        assert word == cell or (word == "finished" and kind is InBackoff and hand == "waiter" and not world.virtual)
        assert done in (added if word in ("cancelled", "raised") else {1}), shift
    for shift in range(-world.ticks // 2, world.ticks + 1) if world.ticks else (-1, 0, 2):
        word, phase, done = await tried(world, kind, hand, "at", shift)
        assert word in (cell, "finished")
        assert done in (added | {1} if word in ("cancelled", "raised") else {1}), shift
    word, phase, done = await tried(world, kind, hand, "after", 0)
    assert (word, done) == ("finished", 1)
    assert phase.began == phase.ended or kind in (SyncBody, InBackoff)


# --- Ctrl-C -------------------------------------------------------------------------------------------------------


@contextmanager
def ctrl_c(when: Callable[[], bool], then: Callable[[], None]) -> Iterator[threading.Event]:
    """Interrupts the main thread, once, as soon as that is true. It is heard before the block is left."""
    sent = threading.Event()

    def watch() -> None:
        until = time.monotonic() + 10
        while not when() and time.monotonic() < until:
            time.sleep(0.0005)
        os.kill(os.getpid(), signal.SIGINT)
        sent.set()
        then()

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # loops have one of their own
    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield sent
    finally:
        thread.join(20)
        signal.signal(signal.SIGINT, before)


def interrupted(phase: Phase, balancer: Balancer) -> str:
    def reached() -> bool:
        if phase.when == "after":
            return word != "nothing"
        if balancer.stats().running == 0 or not phase.reached(balancer):
            return False
        time.sleep(0.02)  # what comes while `run` hands the request in, may leave it running; the page says so
        phase.approach() if phase.when == "before" else phase.open()
        return True

    def reached_it() -> None:
        until = time.monotonic() + 10
        while not phase.opens_it and not knows(balancer) and time.monotonic() < until:
            time.sleep(0.0005)
        if not phase.opens_it:
            phase.open()

    phase.hold(balancer)
    if phase.when == "after":
        phase.open()
    word = "nothing"
    with ctrl_c(reached, reached_it) as sent:
        try:
            word = ended(balancer.run(phase.chain(7)))
            sent.wait(20)
            time.sleep(0.001)
        except KeyboardInterrupt:
            return "raised" if word == "nothing" else word
    return word


@pytest.mark.real_time
@pytest.mark.filterwarnings("ignore:this call blocks the running loop:RuntimeWarning")
@pytest.mark.parametrize("name", PHASES)
async def test_ctrl_c_in_a_blocking_run(world: World, name: str) -> None:
    world.not_virtual(
        "the waiting thread drives the loop, and a wait without end is reported before anybody presses a key"
    )
    cell, kind = table()[name]["Ctrl-C"], PHASES[name]
    for when in ("before", "at", "after"):
        phase = kind(world, when)
        with Balancer(world.executor, workers=kind.workers) as balancer:
            word = interrupted(phase, balancer)
            assert word in {"before": (cell,), "at": (cell, "finished"), "after": ("finished",)}[phase.when]
            if word == "raised":
                phase.check(table()[name]["clean-up"], balancer)
            phase.release()
            await world.until(lambda b=balancer: b.stats().running == b.stats().abandoned == 0)


# --- the page -----------------------------------------------------------------------------------------------------


async def test_the_table_has_a_row_for_every_phase_and_a_column_for_every_hand(world: World) -> None:
    rows = table()
    assert list(rows) == list(PHASES)
    assert set(BY) | {"Ctrl-C"} == set(HANDS)
    assert all(set(row) == {*HANDS, "done", "clean-up"} for row in rows.values())
    assert TicketCancelled.__name__ in PAGE.read_text()
