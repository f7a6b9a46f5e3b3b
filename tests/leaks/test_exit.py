"""An interpreter that exits while work runs neither hangs nor complains."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from leaks.baseline import EXECUTORS

ROOT = Path(__file__).parents[2]

HEAD = """
import asyncio, logging, sys, threading, time
import sniffio, trio
from rio_chain import Balancer, Task, TaskTimedOut

begun = threading.Semaphore(0)

async def astay(x):
    begun.release()
    await (trio.sleep if sniffio.current_async_library() == "trio" else asyncio.sleep)(60)

def stay(x):
    begun.release()
    time.sleep(60)

async def quick(x):
    return x

executor = sys.argv[1]
logging.getLogger("asyncio").setLevel(logging.ERROR)  # in dev mode it warns of steps that are slow on a busy machine
"""

CASES = {
    "a balancer that nobody closed": """
balancer = Balancer(executor, workers=2, threads=4)
tickets = [balancer.post((Task(astay) & Task(stay).timeout(50_000))(n)) for n in range(6)]
tickets += [balancer.post(Task(quick)(1), queue_timeout=50_000)]
for _ in range(4):
    assert begun.acquire(timeout=10)
""",
    "a thread that waits": """
balancer = Balancer(executor, workers=2)
threading.Thread(target=lambda: balancer.run((Task(astay) & Task(stay))(1)), daemon=True).start()
for _ in range(2):
    assert begun.acquire(timeout=10)
""",
    "an abandoned call": """
outcome = (Task(stay) & Task(astay)).timeout(20)(1).run(executor=executor)
assert isinstance(outcome.result.failure(), TaskTimedOut)
with Balancer(executor) as balancer:
    outcome = balancer.run((Task(stay) & Task(astay)).timeout(20)(1))
assert isinstance(outcome.result.failure(), TaskTimedOut)
""",
    "an interrupted with block": """
try:
    with Balancer(executor) as balancer:
        tickets = [balancer.post(Task(body)(1)) for body in (astay, stay)]
        raise KeyboardInterrupt
except KeyboardInterrupt:
    assert all(ticket.done for ticket in tickets)
""",
    "a loop that ends": """
async def main():
    balancer = Balancer()
    await balancer.arun(Task(quick)(1))
    tickets = [balancer.post(Task(body)(1)) for body in (astay, stay, stay)]
    await quick(1)
    return tickets

tickets = trio.run(main) if executor == "trio" else asyncio.run(main())
assert all(ticket.done for ticket in tickets)
""",
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("executor", EXECUTORS)
def test_exit_is_quick_and_quiet(executor: str, case: str) -> None:
    if (executor, case) == ("thread", "a loop that ends"):
        return  # it has none
    code = HEAD + CASES[case]
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", code, executor]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=ROOT, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
