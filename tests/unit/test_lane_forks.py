"""A process that forks has lanes: they stay its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conformance.lane_bodies import is_gone
from forking import forks
from waiting import eventually

pytestmark = forks
ROOT = Path(__file__).parents[2]
HEAD = f"""
import gc, os, sys, time
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}]
from conformance.lane_bodies import hold, where
from pathlib import Path
from rio_chain import Balancer, Task, UsageError

balancer = Balancer(sys.argv[1], lanes={{"cpu": 1}})
where = Task(where).lane("cpu")
folder = Path(sys.argv[2])
"""
CASES = {
    "a child that exits leaves them alone": """
with balancer:
    pid = balancer.run(where(1)).unwrap()
    ticket = balancer.post(Task(hold).lane("cpu")(folder / "gate"))
    while not (folder / "gate.held").exists():
        time.sleep(0.001)
    for leave in (sys.exit, os._exit):
        child = os.fork()
        if not child:
            try:
                balancer.run(where(1))
            except UsageError:
                gc.collect()
                leave(0)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not ticket.done
    (folder / "gate").touch()
    assert ticket.wait().unwrap() is None
    assert balancer.run(where(1)).unwrap() == pid
""",
    "a child has its own": """
with balancer:
    pid = balancer.run(where(1)).unwrap()
    child = os.fork()
    if not child:
        del balancer
        gc.collect()
        with Balancer(sys.argv[1], lanes={"cpu": 1}) as own:
            assert own.run(where(1)).unwrap() != pid
        sys.exit()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert balancer.run(where(1)).unwrap() == pid
""",
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("executor", ["asyncio", "trio", "thread"])
def test_a_fork(executor: str, case: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-W", "ignore:.*use of fork:DeprecationWarning",
         "-c", HEAD + CASES[case], executor, str(tmp_path)],
        capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


DIES = """
balancer.__enter__()
pid = balancer.run(where(1)).unwrap()
child = os.fork()
if not child:
    time.sleep(60)
(folder / "part").write_text(f"{pid} {child}")
(folder / "part").rename(folder / "pids")
os.kill(os.getpid(), 9)
"""


def test_they_end_with_the_parent_though_a_child_lives_on(tmp_path: Path) -> None:
    started = subprocess.Popen(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", HEAD + DIES, "thread", str(tmp_path)]
    )
    assert started.wait(50) == -signal.SIGKILL
    pid, child = map(int, (tmp_path / "pids").read_text().split())
    try:
        eventually(lambda: is_gone(pid))
        assert not is_gone(child)
    finally:
        os.kill(child, signal.SIGKILL)
