"""Functions that run in processes: what users see is the same on every executor."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path

import pytest
from conformance.harness import World, pause
from conformance.lane_bodies import compute, die, halve, hold, refuse, stay, where
from returns.result import Failure, Success

from rio_chain import DeadlineExceeded, ProcessDied, Task, TaskTimedOut, settle

pytestmark = pytest.mark.real_time

WHERE, STAY, DIE = Task(where).lane("cpu"), Task(stay).lane("cpu"), Task(die).lane("cpu")


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_values_results_and_errors_come_back(world: World) -> None:
    world.not_virtual("no process is started for it")
    async with world.balancer(lanes={"cpu": 1}) as balancer:
        pid = (await balancer.arun(WHERE.timeout(100)(None))).unwrap()  # the start of the process does not count
        assert pid != os.getpid()
        assert (await balancer.arun(Task(pow).lane("cpu")(2, 5, mod=7))).unwrap() == 4
        outcome = await balancer.arun((Task(halve).lane("cpu") >> Task(halve).lane("cpu"))(6))
        assert outcome.result == Failure("odd")
        assert [response.status for response in outcome] == ["succeeded", "failed"]
        error = (await balancer.arun(Task(refuse).lane("cpu")(5))).result.failure()
        assert isinstance(error, ValueError)
        assert error.args == (5,)
        assert "in a process of lane 'cpu'" in error.__notes__[0]
        assert (await balancer.arun(WHERE(None))).unwrap() == pid


async def test_a_limit_kills_the_process_and_a_new_one_takes_its_place(world: World, tmp_path: Path) -> None:
    world.not_virtual("no process is started for it")
    async with world.balancer(lanes={"cpu": 1}) as balancer:
        pid = (await balancer.arun(WHERE(None))).unwrap()
        outcome = await balancer.arun(STAY.timeout(world.short)(tmp_path / "note"))
        assert isinstance(outcome.result.failure(), TaskTimedOut)
        await world.until(lambda: gone(pid))
        assert balancer.stats().abandoned == 0
        assert (await balancer.arun(WHERE(None))).unwrap() != pid


async def test_a_dead_process_is_one_failure(world: World) -> None:
    world.not_virtual("no process is started for it")
    async with world.balancer(lanes={"cpu": 2}) as balancer:
        both = await balancer.arun(settle(DIE, Task(abs).lane("cpu"))(3))
        died, fine = both.unwrap()
        assert fine == Success(3)
        error = died.failure()
        assert isinstance(error, ProcessDied)
        assert (error.name, error.lane, error.exitcode) == ("die", "cpu", 3)
        outcome = await balancer.arun(DIE.retry(1, backoff=None)(4))
        assert outcome.only.attempts == 2
        assert (await balancer.arun(WHERE(None))).unwrap() > 0


async def test_what_is_cancelled_is_killed(world: World, tmp_path: Path) -> None:
    world.not_virtual("no process is started for it")
    notes = tmp_path / "child", tmp_path / "ticket"
    async with world.balancer(lanes={"cpu": 2}) as balancer:
        child = world.start(partial(balancer.arun, STAY(notes[0])))
        ticket = balancer.post(STAY(notes[1]))
        await world.until(lambda: all(note.exists() and note.read_text() for note in notes))
        child.stop()
        ticket.cancel()
        assert (await child.ended()).cancelled
        assert (await ticket).only.status == "cancelled"
        pids = {int(note.read_text()) for note in notes}
        await world.until(lambda: all(gone(pid) for pid in pids))
        assert (await balancer.arun(WHERE(None))).unwrap() not in pids


async def test_a_call_that_waits_for_a_process_has_not_started(world: World, tmp_path: Path) -> None:
    world.not_virtual("no process is started for it")
    limit = 200
    async with world.balancer(lanes={"cpu": 1}) as balancer:
        await balancer.arun(WHERE(None))
        holds = balancer.post(Task(hold).lane("cpu")(tmp_path / "gate"))
        await world.until((tmp_path / "gate.held").exists)
        waits = balancer.post(WHERE.timeout(limit)(None))
        late = balancer.post(WHERE(None), deadline=world.short)
        assert isinstance((await late).result.failure(), DeadlineExceeded)
        begun = world.now()
        while world.now() < begun + limit:
            await pause(20)
        assert not waits.done
        (tmp_path / "gate").touch()
        assert (await holds).unwrap() is None
        assert (await waits).unwrap() > 0
        assert (await balancer.arun(WHERE(None))).unwrap() > 0  # the place that `late` asked for is not lost


async def test_the_loop_stays_responsive(world: World) -> None:
    world.not_virtual("no process is started for it")

    async def ticking(lags: list[float]) -> None:
        while True:
            begun = time.perf_counter()
            await pause(1)
            lags.append(time.perf_counter() - begun)

    async with world.balancer(lanes={"cpu": 1}) as balancer:
        await balancer.arun(WHERE(None))
        for _ in range(5):  # on a machine that is busy with other things, one quiet moment is enough
            lags: list[float] = []
            ticks = world.start(partial(ticking, lags))
            took = (await balancer.arun(Task(compute).lane("cpu")(0.2))).unwrap()
            ticks.stop()
            await ticks.ended()
            if max(lags) < took / 2:
                return
        raise AssertionError(f"the loop was held up {max(lags):.3f} s of {took:.3f} s")
