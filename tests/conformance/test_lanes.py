"""Functions that run in processes: what users see is the same on every executor."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path

import pytest
from conformance.harness import World, pause
from conformance.lane_bodies import (
    compute,
    die,
    fork_and_return,
    halve,
    hold,
    is_gone,
    large,
    refuse,
    scribble,
    stay,
    where,
)  # fmt: skip
from conformance.lane_errors import Frozen, Two, fail
from returns.result import Failure, Success

from rio_chain import DeadlineExceeded, LaneMessageTooLarge, ProcessDied, Task, TaskTimedOut, settle

pytestmark = pytest.mark.real_time

WHERE, STAY, DIE = Task(where).lane("cpu"), Task(stay).lane("cpu"), Task(die).lane("cpu")


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
        await world.until(lambda: is_gone(pid))
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
        await world.until(lambda: all(is_gone(pid) for pid in pids))
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


async def test_a_message_has_a_largest_size_and_one_beyond_it_harms_nothing(world: World) -> None:
    world.not_virtual("nothing is sent for it")
    async with world.balancer(lanes={"cpu": 1}, lane_bytes=100_000) as balancer:
        pid = (await balancer.arun(WHERE(None))).unwrap()
        for task, value, what in (
            (Task(large).lane("cpu"), 100_000, "answer"),
            (Task(len).lane("cpu"), bytes(100_000), "argument"),
            (Task(bytes(100_000).startswith).lane("cpu"), b"", "function"),
        ):
            outcome = await balancer.arun(task.retry(3)(value))
            error = outcome.result.failure()
            assert isinstance(error, LaneMessageTooLarge)
            assert (error.what, error.most, outcome.only.attempts) == (what, 100_000, 1)
        assert (await balancer.arun(Task(large).lane("cpu")(99_900))).unwrap() == bytes(99_900)
        assert (await balancer.arun(Task(len).lane("cpu")(bytes(99_800)))).unwrap() == 99_800
        assert (await balancer.arun(WHERE(None))).unwrap() == pid


async def test_what_is_written_to_the_pipe_of_the_answers_is_never_unpickled(world: World, tmp_path: Path) -> None:
    world.not_virtual("no process is started for it")
    mark = tmp_path / "mark"
    async with world.balancer(lanes={"cpu": 1}) as balancer:
        pid = (await balancer.arun(WHERE(None))).unwrap()
        error = (await balancer.arun(Task(scribble).lane("cpu")(mark))).result.failure()
        assert isinstance(error, ProcessDied)
        assert str(error) == (
            "the process of lane 'cpu' was killed in `scribble`: "
            "it wrote something to its pipe that was not the answer to the call"
        )
        await world.until(lambda: is_gone(pid))
        pid = (await balancer.arun(WHERE(None))).unwrap()
        assert (await balancer.arun(Task(scribble).lane("cpu")(mark, late=True))).unwrap() == pid
        await world.until(mark.with_suffix(".wrote").exists)
        assert (await balancer.arun(WHERE(None))).unwrap() != pid  # it was replaced before it was asked
        assert not mark.exists()


async def test_a_child_that_returns_from_the_function_answers_nothing(world: World) -> None:
    world.not_virtual("no process is started for it")
    async with world.balancer(lanes={"cpu": 1}) as balancer:
        pid = (await balancer.arun(WHERE(None))).unwrap()
        assert (await balancer.arun(Task(fork_and_return).lane("cpu")(None))).unwrap() == pid
        for _ in range(3):
            assert (await balancer.arun(WHERE(None))).unwrap() == pid


async def test_an_error_that_pickle_cannot_carry_comes_back_as_what_it_is(world: World) -> None:
    world.not_virtual("nothing is pickled for it")
    async with world.balancer(lanes={"cpu": 1}) as balancer:
        pid = (await balancer.arun(WHERE(None))).unwrap()
        task = Task(fail).lane("cpu")
        outcome = await balancer.arun(task.retry(2, on=Two, backoff=None)("two"))
        error = outcome.result.failure()
        assert (type(error), str(error), outcome.only.attempts) == (Two, "507 the disk is full", 3)
        assert "in fail" in error.__notes__[0]
        frozen = await balancer.arun(task.retry(2, on=Two, backoff=None)("frozen"))
        assert (frozen.result.failure(), frozen.only.attempts) == (Frozen(7), 1)
        local = await balancer.arun(task.or_else("caught", on=ValueError)("local"))
        assert local.unwrap() == "caught"
        assert (await balancer.arun(WHERE(None))).unwrap() == pid


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
