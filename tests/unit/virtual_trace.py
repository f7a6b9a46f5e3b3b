"""Prints what happens in virtual time, with jitter, hedges, limits, a shuffled order and a close in the middle."""

from __future__ import annotations

import sys

from rio_chain import Balancer, Chaos, Limit, Task, each, fan_out
from rio_chain.testing import VirtualExecutor, sleep

executor = VirtualExecutor(seed=int(sys.argv[1]), shuffle=True)


def say(what: object) -> None:
    sys.stdout.write(f"{what}\n")


async def fetch(x: int) -> int:
    say(f"{executor.now!r} fetch {x}")
    await sleep(20 + x)
    if x % 3 == 0 and executor.now < 500:
        raise OSError(x)
    return x


async def check(x: int) -> int:
    await sleep(x)
    say(f"{executor.now!r} checked {x}")
    return x


guarded = Task(fetch).chaos(Chaos(0.3, latency=30)).timeout(60).retry(5).limit(Limit(4)).replica(2, after=25)
chain = fan_out(a=guarded, b=Task(check)) >> (lambda both: sorted(both.values())) >> each(Task(check).retry(2), limit=2)

with Balancer(executor, workers=5) as balancer:
    tickets = [balancer.post(chain(k), priority=k % 4) for k in range(25)]
    tickets[0].wait()
    balancer.close(grace=100)
    for ticket in tickets:
        outcome = ticket.wait()
        say([outcome, *((task.name, task.status, task.attempts, task.elapsed) for task in outcome)])
