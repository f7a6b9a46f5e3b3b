"""The pipe between a lane and its processes: whole answers only, and a process that is dropped after anything else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path
from typing import Any

import pytest
from conformance import lane_bodies
from conformance.lane_bodies import where

from rio_chain import Balancer, NotPicklable, ProcessDied, Task
from rio_chain.executors.lanes import _lane as lanes
from rio_chain.executors.lanes import _pipe, _process
from rio_chain.executors.lanes._pipe import BodyTooLarge, OutOfStep, is_silent, new_mark, receive, send

ROOT = Path(__file__).parents[2]
EXECUTORS = ("asyncio", "trio", "thread")
WHERE = Task(where).lane("cpu")


@pytest.fixture
def pipe() -> Iterator[tuple[FileIO, FileIO]]:
    out, into = os.pipe()
    with FileIO(out, "rb") as reads, FileIO(into, "wb") as writes:
        yield reads, writes


def test_a_message_comes_through(pipe: tuple[FileIO, FileIO]) -> None:
    reads, writes = pipe
    mark = new_mark()
    assert is_silent(reads)
    send(writes, mark, b"one ", b"", b"two")
    assert not is_silent(reads)
    assert receive(reads, 7, mark) == (mark, bytearray(b"one two"))
    send(writes, mark)
    assert receive(reads, 0) == (mark, bytearray())
    assert is_silent(reads)


@pytest.mark.parametrize("cut", [0, 1, 15, 16, 23, 24, 30])
def test_half_a_message_is_none(pipe: tuple[FileIO, FileIO], cut: int) -> None:
    reads, writes = pipe
    mark = new_mark()
    writes.write((mark + (7).to_bytes(8, "big") + b"one two")[:cut])
    writes.close()
    assert receive(reads, 7, mark) is None
    assert not is_silent(reads)


def test_a_message_with_another_mark_is_refused(pipe: tuple[FileIO, FileIO]) -> None:
    reads, writes = pipe
    send(writes, new_mark(), b"of another question")
    with pytest.raises(OutOfStep):
        receive(reads, 100, new_mark())


def test_there_is_no_memory_for_a_body_that_is_too_large(
    pipe: tuple[FileIO, FileIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    reads, writes = pipe
    mark = new_mark()
    asked: list[int] = []
    monkeypatch.setattr(_pipe, "bytearray", lambda size: asked.append(size) or bytearray(size), raising=False)
    writes.write(mark + (1 << 60).to_bytes(8, "big") + b"x")
    with pytest.raises(BodyTooLarge):
        receive(reads, 1000, mark)
    assert asked == [24]


# --- a failed exchange --------------------------------------------------------------------------------------------


def at_once(error: BaseException) -> Callable[..., Any]:
    def failing(*_: Any) -> None:
        raise error

    return failing


def half_sent(pipe: FileIO, mark: bytes, *parts: bytes) -> None:
    pipe.write(mark + sum(map(len, parts)).to_bytes(8, "big") + b"".join(parts)[:5])
    raise MemoryError("half of it was sent")


def half_read(pipe: FileIO, most: int, mark: bytes) -> None:
    assert most > 0
    assert pipe.read(20)
    raise MemoryError(f"half of it was read of {mark!r}")


def ended(pipe: FileIO, most: int, mark: bytes) -> None:
    assert pipe.read(20)
    assert len(mark) < most


FAULTS: dict[str, tuple[str, Callable[..., Any], type[BaseException]]] = {
    "half sent": ("send", half_sent, MemoryError),
    "broken pipe": ("send", at_once(BrokenPipeError()), ProcessDied),
    "half read": ("receive", half_read, MemoryError),
    "short": ("receive", ended, ProcessDied),
    "interrupted": ("receive", at_once(KeyboardInterrupt()), KeyboardInterrupt),
    "exited": ("send", at_once(SystemExit(3)), SystemExit),
    "out of step": ("receive", at_once(OutOfStep()), ProcessDied),
    "no room to open it": ("opened", at_once(MemoryError()), MemoryError),
    "not to be opened": ("opened", at_once(NotPicklable("where", "answer", "no")), NotPicklable),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_process_is_dropped_after_anything_but_a_whole_answer(executor: str, fault: str) -> None:
    name, failing, kind = FAULTS[fault]
    with Balancer(executor, lanes={"cpu": 1}) as balancer:
        pid = balancer.run(WHERE(1)).unwrap()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                lanes if name == "opened" else _process, name, lambda *args: (patch.undo(), failing(*args))[1]
            )
            error: Any = None
            try:
                error = balancer.run(WHERE(2)).result.failure()
            except BaseException as raised:  # noqa: BLE001 - not an Exception, so it is raised
                error = raised
        assert type(error) is kind
        new = balancer.run(WHERE(3)).unwrap()
        assert new != pid
        assert [balancer.run(Task(abs).lane("cpu")(k)).unwrap() for k in range(3)] == [0, 1, 2]
        assert balancer.run(WHERE(4)).unwrap() == new
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_an_error_of_the_lane_keeps_nothing_that_was_sent_or_read() -> None:
    with Balancer(lanes={"cpu": 1}, lane_bytes=10_000) as balancer:
        for request in (Task(len).lane("cpu")(bytes(20_000)), Task(lane_bodies.large).lane("cpu")(20_000)):
            error = balancer.run(request).result.failure()
            assert (error.__cause__, error.__context__) == (None, None)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
@pytest.mark.parametrize("executor", EXECUTORS)
def test_an_answer_without_room_is_a_memory_error_and_the_next_call_is_answered(executor: str, tmp_path: Path) -> None:
    code = f"""
import resource, sys
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}]
from pathlib import Path
from conformance.lane_bodies import bomb, where
from rio_chain import Balancer, Task
mark = Path(sys.argv[1])
with Balancer({executor!r}, lanes={{"cpu": 1}}) as balancer:
    pid = balancer.run(Task(where).lane("cpu")(1)).unwrap()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 100_000_000, hard))
    failure = balancer.run(Task(bomb).lane("cpu")(mark)).result.failure()
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert type(failure) is MemoryError, failure
    got = [balancer.run(Task(abs).lane("cpu")(k)).unwrap() for k in range(4)]
    assert got == [0, 1, 2, 3], got
    assert balancer.run(Task(where).lane("cpu")(1)).unwrap() != pid
assert not mark.exists()
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "mark")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
