"""The ways to ask from a thread."""

from __future__ import annotations

import contextlib
import math
import random
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.soak.asking import LIMIT, Asker
from benchmarks.soak.chains import happens
from benchmarks.soak.ledger import ERRORS, Entry
from rio_chain import Balancer, Task, Ticket


def waits(asker: Asker, draw: random.Random) -> None:
    posted = asker.post(draw, "post, wait")
    if posted is None:
        time.sleep(0.001)
        return
    entry, ticket = posted
    if happens(draw, 30):
        with contextlib.suppress(*ERRORS):
            ticket.wait(draw.choice([0, 1]))
    if happens(draw, 30):
        asker.cancel(entry, ticket)
    asker.finish(entry, ticket)


def batch(asker: Asker, draw: random.Random) -> None:
    posted = [one for _ in range(5) if (one := asker.post(draw, "post, batch")) is not None]
    for entry, ticket in posted:
        if happens(draw, 30):
            asker.cancel(entry, ticket)
    for entry, ticket in draw.sample(posted, len(posted)):
        asker.finish(entry, ticket)


def runs(asker: Asker, draw: random.Random) -> None:
    entry, request = asker.ask(draw, "run")
    terms = asker.terms(draw, entry) | {"on_full": draw.choice(["wait", "reject"])}
    asker.take(entry, partial(asker.balancer.run, request, **terms))


def runs_alone(asker: Asker, draw: random.Random) -> None:
    entry, request = asker.ask(draw, "request.run")
    entry.timed = True
    asker.take(entry, partial(request.run, executor=asker.executor, deadline=LIMIT))


def maps(asker: Asker, draw: random.Random) -> None:
    entry, request = asker.ask(draw, "map")
    many, stop = draw.randint(0, 12), draw.choice([math.inf, math.inf, 2])
    found = asker.balancer.map(lambda _: request, range(many), as_completed=happens(draw, 50))
    got = 0
    try:
        with contextlib.closing(found):  # type: ignore[type-var]  # it is a generator
            for outcome in found:
                got += 1
                asker.ledger.check(entry, outcome)
                if got >= stop:
                    break
    except ERRORS as error:
        asker.ledger.check_raised(entry, error)
        asker.ledger.left(entry)
        return
    asker.mapped(entry, got, many, stop)


def streams(asker: Asker, draw: random.Random) -> None:
    entry, request = asker.ask(draw, "stream")
    entry.timed = True
    stop, seen = draw.choice([math.inf, math.inf, 1, 3]), 0
    try:
        with request.stream(executor=asker.executor, deadline=LIMIT) as events:
            for seen, _ in enumerate(events, 1):
                entry.cancelled = seen >= stop
                if seen >= stop:
                    break
    except ERRORS as error:
        asker.ledger.raised(entry, error)
        return
    asker.take(entry, lambda: events.outcome)


def meddles(asker: Asker, draw: random.Random) -> None:
    """Cancel a ticket of somebody else, or wait for it as well."""
    with contextlib.suppress(*ERRORS):
        entry, ticket = asker.handed.pop()
        if happens(draw, 50):
            asker.cancel(entry, ticket)
        ticket.wait(asker.patience)


def moves_in(asker: Asker, draw: random.Random) -> None:
    """A balancer of its own that closes, at once or not, while requests are under way; now and then with a lane."""
    if not happens(draw, 10):  # it is dear
        return
    lane = happens(draw, 20)
    balancer = Balancer(asker.executor, workers=2, lanes={"cpu": 1} if lane else None)
    tickets: list[tuple[Entry, Ticket[Any]]] = []
    for _ in range(5):
        entry, request = asker.ask(draw, "own balancer")
        entry.cancelled = True  # by closing
        tickets.append((entry, balancer.post(request)))
    if lane and balancer.run(Task(math.factorial).lane("cpu")(5)).value_or(None) != math.factorial(5):
        asker.ledger.found("a lane gave a wrong answer")
    balancer.close(grace=draw.choice([0, 2, 100]))
    for entry, ticket in tickets:
        if not ticket.done:
            asker.ledger.found("not answered when its balancer had closed", asker.ledger.name(entry))
        asker.finish(entry, ticket)


THREAD_WAYS: tuple[Callable[[Asker, random.Random], None], ...] = (
    waits, batch, runs, runs_alone, maps, streams, meddles, moves_in,
)  # fmt: skip
