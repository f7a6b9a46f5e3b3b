"""An interpreter that exits while work runs neither hangs nor complains."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
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


ALL = """
balancers = [Balancer(name, workers=2, threads=2, max_abandoned=9) for name in ("asyncio", "trio", "thread")]
tickets = []
for balancer in balancers:
    assert isinstance(balancer.run(Task(stay).timeout(5)(0)).result.failure(), TaskTimedOut)
    tickets += [balancer.post((Task(astay) & Task(stay))(n)) for n in range(6)]
    tickets += [balancer.post(Task(astay).retry(3)(1), queue_timeout=50_000)]
for _ in range(3 + 12):
    assert begun.acquire(timeout=10)
assert all(balancer.stats().abandoned == 1 and balancer.stats().queued == 5 for balancer in balancers)
"""

READY = "print('ready', flush=True)\n"

ENDS = {
    "the end": (READY, None, 0, ""),
    "sys.exit": (READY + "sys.exit(3)", None, 3, ""),
    "an error": (READY + "raise ValueError('of the program')", None, 1, "ValueError: of the program"),
    "an error in a with": (
        READY + "with balancers[0]: raise KeyboardInterrupt",
        None,
        -signal.SIGINT,
        "KeyboardInterrupt",
    ),
    "Ctrl-C": (READY + "time.sleep(20)", signal.SIGINT, -signal.SIGINT, "KeyboardInterrupt"),
    "Ctrl-C in a wait": (READY + "tickets[0].wait()", signal.SIGINT, -signal.SIGINT, "KeyboardInterrupt"),
    "Ctrl-C in a run": (
        READY + "balancers[0].run(Task(astay)(1), priority=9)",
        signal.SIGINT,
        -signal.SIGINT,
        "KeyboardInterrupt",
    ),
    "SIGTERM": (READY + "tickets[0].wait()", signal.SIGTERM, -signal.SIGTERM, ""),
    "SIGTERM that is sys.exit": (
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n" + READY + "tickets[0].wait()",
        signal.SIGTERM,
        143,
        "",
    ),
    "atexit": (
        "import atexit\nfor balancer in balancers:\n    atexit.register(balancer.close, 0)\n" + READY + "sys.exit(4)",
        None,
        4,
        "",
    ),
}


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("end", ENDS)
def test_unclosed_balancers_of_all_executors_let_the_process_go(end: str) -> None:
    """Each has queued, running and abandoned calls. Nobody complains but the program itself, as it always does."""
    last, sent, code, text = ENDS[end]
    head = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored in the background
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", head + HEAD + ALL + last, "all"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            ready = process.stdout.readline()
            if sent is not None:
                process.send_signal(sent)
            begun = time.monotonic()
            _, err = process.communicate(timeout=20)
            lasted = time.monotonic() - begun
        finally:
            process.kill()
    assert (ready, process.returncode) == ("ready\n", code), err
    assert lasted < 5, "it ends promptly"
    assert err.strip().splitlines()[-1:] == ([text] if text else []), err
    assert err.count("Traceback") == bool(text), err
    assert "Warning" not in err
