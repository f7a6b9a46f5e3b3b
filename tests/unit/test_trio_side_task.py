"""The tasks that a trio loop runs beside the strands."""

from __future__ import annotations

import threading

import pytest
import trio

from rio_chain.executors._trio_side_task import SideTask


def test_an_error_that_leaves_one_is_reported_and_does_not_end_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[BaseException | None] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: reported.append(args.exc_value))
    error = MemoryError()

    async def fails() -> None:
        raise error

    async def main() -> str:
        ended = trio.Event()
        trio.lowlevel.spawn_system_task(SideTask(fails, ended.set, trio.CancelScope()).run)
        await ended.wait()
        return "still running"

    assert trio.run(main) == "still running"
    assert reported == [error]
