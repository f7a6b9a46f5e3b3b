"""Lanes: what may go into one, what comes out, and what becomes of their processes."""

from __future__ import annotations

import asyncio
import importlib
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conformance.lane_bodies import is_gone
from returns.result import Success
from waiting import eventually

from rio_chain import Balancer, ChainDefinitionError, NotPicklable, ProcessDied, Request, Task, UsageError
from rio_chain._core import pickling
from rio_chain.executors.lanes import _lane as lanes
from rio_chain.executors.lanes._lane import Lane

ROOT = Path(__file__).parents[2]


def double(x: int) -> int:
    return 2 * x


def where(_: object = None) -> int:
    return os.getpid()


async def later(x: int) -> int:
    return x


def leave(_: object) -> None:
    raise SystemExit(3)


def lock(_: object) -> object:
    return threading.Lock()


def chatter(x: int) -> int:
    print("to stdout")  # noqa: T201
    os.write(1, b"and to the file below it")
    subprocess.run([sys.executable, "-c", "print('and from a child')"], check=True)
    return sys.stdin.read() == "" and x


def chain_of(x: int) -> Request[int]:
    return Task(double)(x)


def lane_of(x: int) -> Request[int]:
    return Task(double).lane("gpu")(x)


def leave_a_child(_: object) -> None:
    """End, and leave a child behind that holds all that a fork copies."""
    if os.fork() == 0:
        time.sleep(60)
    os._exit(7)


def win_or_stay(path: Path) -> int:
    """The first one answers; the others note where they run, and never do."""
    try:
        path.mkdir()
    except FileExistsError:
        (path / "part").write_text(str(os.getpid()))
        (path / "part").rename(path / "note")
        threading.Event().wait()
    while not (path / "note").exists():
        time.sleep(0.002)
    return os.getpid()


@pytest.fixture
def balancer(with_a_lane: Balancer) -> Iterator[Balancer]:
    yield with_a_lane
    with_a_lane.run(Task(where).lane("cpu")()).unwrap()  # what a test has killed is replaced before the next one begins


# --- writing it -------------------------------------------------------------------------------------------------


def test_it_is_a_task_and_shows_what_it_is() -> None:
    task = Task(double).lane("cpu").named("twice")
    assert type(task) is Task
    assert repr(task) == "Task(double).named('twice').lane('cpu')"
    assert str(task.explain()) == "task twice (sync, in lane 'cpu')"
    assert task == Task(double).named("twice").lane("cpu") != Task(double).named("twice")
    assert pickle.loads(pickle.dumps(task)) == task  # noqa: S301 - our own


@pytest.mark.parametrize("name", ["", " ", None, 1])
def test_a_lane_has_a_name(name: Any) -> None:
    with pytest.raises(ChainDefinitionError, match="`lane` takes a name"):
        Task(double).lane(name)


def test_only_sync_functions_that_run_elsewhere() -> None:
    with pytest.raises(ChainDefinitionError, match="`later` is async"):
        Task(later).lane("cpu")
    with pytest.raises(ChainDefinitionError, match="can't run in a lane as well"):
        Task(double).inline().lane("cpu")
    with pytest.raises(ChainDefinitionError, match="can't run in place as well"):
        Task(double).lane("cpu").inline()


def test_what_cannot_be_pickled_is_refused_when_composed() -> None:
    with pytest.raises(ChainDefinitionError, match=r"`acquire` can't be pickled: .*lock"):
        Task(threading.Lock().acquire).lane("cpu")


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ChainDefinitionError, match=r"pip install rio-chain\[lanes\]"):
        Task(lambda x: x).lane("cpu")
    Task(double).lane("cpu")  # needs none


@pytest.mark.parametrize("sizes", [2, "cpu", ["cpu"], {"": 1}, {1: 1}, {"cpu": 0}, {"cpu": True}, {"cpu": 1.5}])
def test_lanes_are_names_and_numbers(sizes: Any) -> None:
    with pytest.raises(ChainDefinitionError, match="lanes"):
        Balancer(lanes=sizes)


@pytest.mark.parametrize("most", [0, -1, True, 1.5, 2e6, "256 MiB", None, float("inf")])
def test_the_largest_message_is_a_whole_number_of_bytes(most: Any) -> None:
    with pytest.raises(
        ChainDefinitionError, match=r"`lane_bytes` must be a whole number, 1 or more; got .*; write `lane_b"
    ):
        Balancer(lanes={"cpu": 1}, lane_bytes=most)


# --- where it can't run -----------------------------------------------------------------------------------------


def calls_to(log: list[int]) -> Task[[int], None]:
    return Task(log.append)


WORDS = r"task double runs in lane 'cpu'.* Balancer\(lanes=\{'cpu': n\}\)"


@pytest.mark.parametrize("executor", ["asyncio", "trio", "thread"])
def test_a_lane_that_is_not_there_is_refused_before_anything_runs(executor: str) -> None:
    log: list[int] = []
    request = (calls_to(log) >> Task(double).lane("cpu"))(1)
    with pytest.raises(UsageError, match=WORDS):
        request.run(executor=executor)
    with Balancer(executor, lanes={"gpu": 1}) as other:
        for way in (other.run, other.post):
            with pytest.raises(UsageError, match=WORDS + ".*this one has 'gpu'"):
                way(request)
    assert log == []


def test_nor_does_await_run_it() -> None:
    async def main() -> None:
        with pytest.raises(UsageError, match=WORDS):
            await Task(double).lane("cpu")(1)
        async with Balancer() as none:
            with pytest.raises(UsageError, match=WORDS):
                await none.arun(Task(double).lane("cpu")(1))

    asyncio.run(main())


def test_a_chain_decided_at_run_time_fails_there(balancer: Balancer) -> None:
    assert balancer.run(Task(chain_of).lane("cpu")(4)).unwrap() == 8
    error = balancer.run(Task(lane_of)(4)).result.failure()
    assert isinstance(error, UsageError)


# --- what goes there and comes back -----------------------------------------------------------------------------


def test_a_lambda_and_a_closure_are_carried(balancer: Balancer) -> None:
    pytest.importorskip("cloudpickle")
    five = 5
    assert balancer.run(Task(lambda x: x + five).lane("cpu")(1)).unwrap() == 6


def test_what_a_body_prints_is_not_taken_for_an_answer(balancer: Balancer) -> None:
    assert balancer.run(Task(chatter).lane("cpu")(3)).unwrap() == 3


def test_large_values(balancer: Balancer) -> None:
    assert balancer.run(Task(bytes.upper).lane("cpu")(b"x" * 5_000_000)).unwrap() == b"X" * 5_000_000


@pytest.mark.parametrize(
    ("body", "value", "what"),
    [(double, threading.Lock(), "argument"), (lock, 1, "answer")],
)
def test_what_cannot_be_pickled_is_a_failure(balancer: Balancer, body: Any, value: Any, what: str) -> None:
    pid = balancer.run(Task(where).lane("cpu")()).unwrap()
    outcome = balancer.run(Task(body).lane("cpu").retry(3)(value))
    error = outcome.result.failure()
    assert isinstance(error, NotPicklable)
    assert (error.name, error.what, outcome.only.attempts) == (body.__name__, what, 1)
    assert balancer.run(Task(where).lane("cpu")()).unwrap() == pid


def test_a_base_exception_ends_the_run_and_not_the_process(balancer: Balancer) -> None:
    pid = balancer.run(Task(where).lane("cpu")()).unwrap()
    with pytest.raises(SystemExit, match="3"):
        balancer.run(Task(leave).lane("cpu")(1))
    assert balancer.run(Task(where).lane("cpu")()).unwrap() == pid


# --- processes --------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc")
def test_one_that_dies_while_idle_is_replaced_unseen(balancer: Balancer) -> None:
    pid = balancer.run(Task(where).lane("cpu")()).unwrap()
    os.kill(pid, 9)
    proc = Path(f"/proc/{pid}")
    eventually(lambda: "(zombie)" in (proc / "status").read_text() and len(list((proc / "task").iterdir())) == 1)
    assert balancer.run(Task(where).lane("cpu")()).unwrap() != pid


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_death_is_seen_though_a_child_lives_on(balancer: Balancer) -> None:
    error = balancer.run(Task(leave_a_child).lane("cpu")(1), deadline=20_000).result.failure()
    assert isinstance(error, ProcessDied)
    assert error.exitcode == 7


def test_one_that_cannot_be_started_is_a_failure_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    launch = lanes.launch
    starts: list[int] = []

    def failing() -> Any:
        starts.append(1)
        if len(starts) <= 2:
            raise BlockingIOError
        return launch()

    monkeypatch.setattr(lanes, "launch", failing)
    with Balancer(lanes={"cpu": 1}) as balancer:
        error = balancer.run(Task(double).lane("cpu")(1)).result.failure()
        assert isinstance(error, ProcessDied)
        assert error.exitcode is None
        assert balancer.run(Task(double).lane("cpu")(1)).unwrap() == 2


def test_nothing_starts_before_it_is_needed_and_nothing_stays() -> None:
    before = set(threading.enumerate())

    def minding() -> list[str]:
        return [thread.name for thread in set(threading.enumerate()) - before if "lane" in thread.name]

    with Balancer("thread", lanes={"cpu": 2, "io": 1}) as balancer:
        assert balancer.run(Task(double)(1)).unwrap() == 2
        assert minding() == []
        pid = balancer.run(Task(where).lane("io")()).unwrap()
        assert minding() == ["rio_chain-lane-io-1"]
    assert is_gone(pid)
    assert minding() == []


def test_a_new_process_loads_what_the_old_one_knew(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[bytes] = []
    monkeypatch.setattr(lanes, "exchange", lambda _process, _most, parts: sent.extend(parts) or bytearray())
    monkeypatch.setattr(lanes, "launch", lambda: subprocess.Popen([sys.executable, "-c", ""], stdin=-1, stdout=-1))
    lane = Lane("cpu", 1)
    room: Any = lane.reserve(threading.Event, double)  # type: ignore[arg-type]
    if room is not None:
        room.close()
    eventually(lambda: sent)
    lane.close()
    start = pickle.loads(sent[0])  # noqa: S301 - our own
    assert start == (lanes.MOST, (pickling.dumps(double),))


@pytest.mark.parametrize("executor", ["asyncio", "trio", "thread"])
def test_a_hedge_that_lost_is_killed(executor: str, tmp_path: Path) -> None:
    with Balancer(executor, lanes={"cpu": 2}) as balancer:
        outcome = balancer.run(Task(win_or_stay).lane("cpu").replica(2)(tmp_path / "race"))
        pid = int((tmp_path / "race" / "note").read_text())
        assert outcome.unwrap() != pid
        eventually(lambda: is_gone(pid))
        assert balancer.stats().abandoned == 0


@pytest.mark.parametrize("library", ["asyncio", "trio"])
def test_they_end_with_the_loop(library: str) -> None:
    async def main() -> int:
        return (await balancer.arun(Task(where).lane("cpu")())).unwrap()

    balancer = Balancer(lanes={"cpu": 1})
    module = importlib.import_module(library)
    pid = module.run(main() if library == "asyncio" else main)
    eventually(lambda: is_gone(pid))


@pytest.mark.parametrize("executor", ["asyncio", "trio", "thread"])
def test_they_end_with_a_balancer_that_is_dropped(executor: str) -> None:
    with pytest.warns(ResourceWarning, match="was dropped without being closed"):
        pid = Balancer(executor, lanes={"cpu": 1}).run(Task(where).lane("cpu")()).unwrap()
    eventually(lambda: is_gone(pid))


@pytest.mark.parametrize("executor", ["asyncio", "trio", "thread"])
def test_a_script_without_a_main_guard(executor: str) -> None:
    pytest.importorskip("cloudpickle")
    code = f"""
from rio_chain import Balancer, ProcessDied, Task

class Point:
    def __init__(self, x):
        self.x = x

def moved(point):
    return Point(point.x + 1)

def stay(x):
    while True:
        pass

balancer = Balancer({executor!r}, lanes={{"cpu": 1}})
got = balancer.run(Task(moved).lane("cpu")(Point(1))).unwrap()
assert type(got) is Point and got.x == 2
balancer.post(Task(stay).lane("cpu")(1))  # still at it when the interpreter exits
print("once")
"""
    ended = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", code],
        capture_output=True, text=True, timeout=30, cwd=ROOT, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "once\n", "")


def test_it_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    code = f"""
import os, sys, time
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}]
from rio_chain import Balancer, Task

def stay(path):
    with open(path + ".part", "w") as file:
        file.write(str(os.getpid()))
    os.rename(path + ".part", path)
    while True:
        pass

Balancer(lanes={{"cpu": 1}}).run(Task(stay).lane("cpu")(sys.argv[1]))
"""
    pytest.importorskip("cloudpickle")
    note = tmp_path / "note"
    started = subprocess.Popen([sys.executable, "-c", code, str(note)], cwd=ROOT)
    eventually(note.exists)
    started.kill()
    started.wait()
    eventually(lambda: is_gone(int(note.read_text())))


def test_results_are_opened(balancer: Balancer) -> None:
    assert balancer.run(Task(Success).lane("cpu")(1)).unwrap() == 1
