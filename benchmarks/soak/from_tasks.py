"""The ways to ask from a task of a loop."""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.soak.asking import LIMIT, Asker
from benchmarks.soak.chains import happens
from benchmarks.soak.ledger import ERRORS
from benchmarks.soak.loops import CUT, cut, pause
from rio_chain import Outcome


async def aruns(asker: Asker, draw: random.Random) -> None:
    entry, request = asker.ask(draw, "arun")
    terms = asker.terms(draw, entry) | {"on_full": draw.choice(["wait", "wait", "reject"])}
    work = partial(asker.atake, entry, partial(asker.balancer.arun, request, **terms))
    await asker.maybe_cut(draw, work, entry)


async def direct(asker: Asker, draw: random.Random) -> None:
    """In this task, without the balancer."""
    entry, request = asker.ask(draw, "await request")

    async def work() -> Outcome[Any]:
        return await request

    await asker.maybe_cut(draw, partial(asker.atake, entry, work), entry)


async def awaits(asker: Asker, draw: random.Random) -> None:
    """A wait that is cancelled leaves the request running; another one gets the answer."""
    posted = asker.post(draw, "post, await")
    if posted is None:
        await pause(1)
        return
    entry, ticket = posted

    async def wait() -> Any:
        try:
            return await ticket
        except ERRORS as error:
            return error

    if happens(draw, 30):
        await cut(draw.choice([0, 1]), wait, kill=happens(draw, 50))
    if happens(draw, 30):
        asker.cancel(entry, ticket)
    got = await cut(asker.patience, wait, kill=False)
    if got is CUT:
        return
    if isinstance(got, BaseException):
        asker.ledger.raised(entry, got)
    else:
        asker.ledger.answered(entry, got)


async def amaps(asker: Asker, draw: random.Random) -> None:
    entry, request = asker.ask(draw, "amap")
    many, stop = draw.randint(0, 12), draw.choice([math.inf, math.inf, 2])
    found: Any = asker.balancer.amap(lambda _: request, range(many), as_completed=happens(draw, 50))
    got = 0
    try:
        async with contextlib.aclosing(found):
            async for outcome in found:
                got += 1
                asker.ledger.check(entry, outcome)
                if got >= stop:
                    break
    except ERRORS as error:
        asker.ledger.check_raised(entry, error)
        asker.ledger.left(entry)
        return
    asker.mapped(entry, got, many, stop)


async def astreams(asker: Asker, draw: random.Random) -> None:
    entry, request = asker.ask(draw, "async stream")
    entry.timed = True
    stop, seen = draw.choice([math.inf, math.inf, 1, 3]), 0
    executor = draw.choice([None, asker.executor])
    try:
        async with request.stream(executor=executor, deadline=LIMIT) as events:
            async for _ in events:
                seen += 1
                entry.cancelled = seen >= stop
                if seen >= stop:
                    break
    except ERRORS as error:
        asker.ledger.raised(entry, error)
        return
    asker.take(entry, lambda: events.outcome)


TASK_WAYS: tuple[Callable[[Asker, random.Random], Any], ...] = (aruns, aruns, awaits, awaits, amaps, astreams)
HOME_WAYS = (*TASK_WAYS, direct, direct)
"""On a loop on which the balancer's own bodies run."""
