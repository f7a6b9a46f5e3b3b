"""A forked process has none of its parent's threads: a balancer bound before says so, one bound after works."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

HEAD = """
import asyncio, os, sys, traceback
import trio
from rio_chain import Balancer, Task, UsageError

executor = sys.argv[1]

def same(x):
    return x

async def asame(x):
    return x

def in_child(work):
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
        code = 1
    os._exit(code)
"""

CASES = {
    "bound before": """
def refused(call):
    try:
        call()
    except UsageError as error:
        assert str(error).startswith("the balancer was bound before this process was forked"), error
        assert str(os.getppid()) in str(error) and "make a new balancer here" in str(error), error
    else:
        raise AssertionError(call)

async def amapped():
    return [outcome async for outcome in balancer.amap(Task(asame), [1])]

def enter():
    with balancer:
        pass

async def aenter():
    async with balancer:
        pass

def child():
    for run in (asyncio.run, lambda main: trio.run(lambda: main)):
        for call in (lambda: balancer.arun(Task(asame)(1)), amapped, balancer.aclose, aenter):
            refused(lambda: run(call()))
    for call in (
        lambda: balancer.run(Task(same)(1)),
        lambda: balancer.post(Task(same)(1)),
        lambda: balancer.map(Task(same), [1]),
        balancer.close,
        balancer.watch,
        enter,
    ):
        refused(call)
    assert "0/10 running" in repr(balancer) and balancer.stats().running == 0
    with Balancer(executor) as own:
        assert own.run(Task(same)(2)).unwrap() == own.run(Task(asame)(2)).unwrap() == 2

with Balancer(executor) as balancer:
    assert balancer.run(Task(asame)(1)).unwrap() == 1
    assert in_child(child) == 0
    assert balancer.run(Task(asame)(3)).unwrap() == 3
""",
    "posted before": """
async def forever(x):
    await (trio.sleep(60) if executor == "trio" else asyncio.sleep(60))

def refused(call):
    try:
        call()
    except UsageError as error:
        assert str(error).startswith("the request began before this process was forked"), error
    else:
        raise AssertionError(call)

async def awaits():
    await ticket

def child():
    refused(ticket.wait)
    refused(lambda: ticket.wait(10))
    refused(lambda: asyncio.run(awaits()))
    refused(lambda: trio.run(awaits))
    ticket.cancel()
    assert not ticket.done
    assert done.wait().unwrap() == 1

with Balancer(executor) as balancer:
    ticket, done = balancer.post(Task(forever)(1)), balancer.post(Task(asame)(1))
    done.wait()
    assert in_child(child) == 0
    assert not ticket.done
    ticket.cancel()
    assert ticket.wait().only.status == "cancelled"
""",
    "a stream that is read": """
async def forever(x):
    await (trio.sleep(60) if executor == "trio" else asyncio.sleep(60))

def child():
    try:
        next(events)
    except UsageError:
        pass
    else:
        raise AssertionError
    left()

def left():
    global events
    del events

stream = Task(forever)(1).stream(executor=executor)
with stream:
    events = iter(stream)
    next(events)
    child = os.fork()
    if child:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        left()
    else:
        try:
            next(events)
        except UsageError:
            left()
        else:
            os._exit(1)
if not child:
    os._exit(0)
""",
    "another thread is binding it": """
import threading
from contextlib import ExitStack

balancer = Balancer(executor, lanes={"cpu": 1})
held, go_on = threading.Event(), threading.Event()

def bind():
    from rio_chain.executors import _blocking_run
    from rio_chain.executors import _running_loop
    from rio_chain.executors import _thread
    with ExitStack() as stack:
        ours = balancer._binding._lock, balancer._binding._deciding
        for lock in (*ours, _running_loop._lock, _blocking_run._lock, _thread._lock):
            stack.enter_context(lock)
        balancer._binding._lanes.open()
        held.set()
        go_on.wait()

def work():
    for fn in (same, asame):
        assert Task(fn)(1).run(executor=executor).unwrap() == 1
    with balancer:
        assert balancer.run(Task(asame)(1)).unwrap() == balancer.run(Task(same).inline()(1)).unwrap() == 1
        assert balancer.run(Task(abs).lane("cpu")(-1)).unwrap() == 1

binding = threading.Thread(target=bind)
binding.start()
held.wait()
assert in_child(work) == 0
go_on.set()
binding.join()
work()
""",
    "a worker of a preloaded application exits": """
from rio_chain import Breaker, Cache, Limit

limit, cache, breaker, balancer = Limit(2, rate=100), Cache(60_000), Breaker(), Balancer(executor)
page = Task(same).limit(limit).breaker(breaker).cache(cache) >> Task(asame)

def work():
    for x in range(3):
        assert page(x).run(executor=executor).unwrap() == x
    with balancer:
        assert [outcome.unwrap() for outcome in balancer.map(page, range(10))] == list(range(10))

assert page(1).run(executor=executor).unwrap() == 1
children = []
for _ in range(2):
    child = os.fork()
    if not child:
        work()
        sys.exit()
    children.append(child)
assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]
work()
""",
    "bound after": """
balancer = Balancer(executor)

def work():
    with balancer:
        assert balancer.run(Task(same)(1)).unwrap() == balancer.post(Task(asame)(1)).wait(10_000).unwrap() == 1

assert in_child(work) == 0
work()
""",
    "on a loop that runs": """
async def main():
    async with Balancer() as balancer:
        assert (await balancer.arun(Task(asame)(1))).unwrap() == 1
        child = os.fork()
        if child:
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
            assert (await balancer.arun(Task(asame)(2))).unwrap() == 2
            return
        try:
            await balancer.arun(Task(asame)(1))
        except UsageError:
            os._exit(7)
        os._exit(1)

if executor == "trio":
    trio.run(main)
else:
    asyncio.run(main())
""",
    "an await in the child has workers of its own": """
async def main():
    for fn in (same, asame):
        assert (await Task(fn)(1)).unwrap() == 1

def work():
    trio.run(main) if executor == "trio" else asyncio.run(main())

work()
assert in_child(work) == 0
work()
""",
    "a blocking run makes a host of its own": """
def work():
    for fn in (same, asame):
        assert Task(fn)(1).run(executor=executor).unwrap() == 1

work()
assert in_child(work) == 0
work()
""",
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("executor", ["asyncio", "trio", "thread"])
def test_a_fork(executor: str, case: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", HEAD + CASES[case], executor],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stderr
