"""One request: how it is handed in, and what is done with its answer."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.soak.bodies import WHO
from benchmarks.soak.chains import Made, happens
from benchmarks.soak.homes import Home
from benchmarks.soak.ledger import ERRORS, REFUSALS, Entry, Ledger
from benchmarks.soak.loops import cancelled_class, cut
from rio_chain import Deadline, Outcome, Request, Ticket

LIMIT = 300
"""Milliseconds for runs that no balancer limits."""


class Asker:
    """What all callers of one executor have in common, for one round."""

    def __init__(self, home: Home, chains: list[Made], ledger: Ledger, patience: float) -> None:
        self.executor = home.executor
        self.balancer = home.balancer
        self.chains = chains
        self.ledger = ledger
        self.patience = 1000 * patience
        self.handed: deque[tuple[Entry, Ticket[Any]]] = deque(maxlen=20)
        """Tickets that any other caller may cancel or wait for."""

    def ask(self, draw: random.Random, way: str) -> tuple[Entry, Request[Any]]:
        """A new request, and the context in which it is to be handed in."""
        entry = self.ledger.ask(draw.choice(self.chains), way)
        WHO.set(entry.number)
        return entry, entry.made.chain(entry.number)

    def terms(self, draw: random.Random, entry: Entry) -> dict[str, Any]:
        """Keywords of ``post``, ``run`` and ``arun``."""
        terms: dict[str, Any] = {"priority": draw.choice([0, 0, 1, 5])}
        if happens(draw, 12):
            terms["deadline"] = draw.choice([1, 5, 20, Deadline.after(10)])
        if happens(draw, 12):
            terms["queue_timeout"] = draw.choice([0, 1, 10])
        entry.timed = len(terms) > 1
        return terms

    def post(self, draw: random.Random, way: str) -> tuple[Entry, Ticket[Any]] | None:
        """A ticket; None: it was refused."""
        entry, request = self.ask(draw, way)
        try:
            ticket = self.balancer.post(request, **self.terms(draw, entry))
        except REFUSALS as error:
            self.ledger.refused(entry, error)
            return None
        entry.ticket = ticket
        ticket.on_done(partial(self.called_back, entry))
        self.handed.append((entry, ticket))
        return entry, ticket

    def called_back(self, entry: Entry) -> None:
        """A ticket calls this when it is answered; it may do so once."""
        if next(entry.answers) > 1:
            self.ledger.found("a ticket called its callback twice", self.ledger.name(entry))

    def cancel(self, entry: Entry, ticket: Ticket[Any]) -> None:
        entry.cancelled = True
        ticket.cancel()

    def take(self, entry: Entry, get: Callable[[], Outcome[Any]]) -> None:
        """Get the Outcome, and enter it."""
        try:
            outcome = get()
        except REFUSALS as error:
            self.ledger.refused(entry, error)
        except ERRORS as error:
            self.ledger.raised(entry, error)
        else:
            self.ledger.answered(entry, outcome)

    async def atake(self, entry: Entry, get: Callable[[], Any]) -> None:
        """The same on a loop. Who is cancelled here has been answered by that."""
        try:
            outcome = await get()
        except REFUSALS as error:
            self.ledger.refused(entry, error)
        except ERRORS as error:
            self.ledger.raised(entry, error)
        except cancelled_class():
            self.ledger.interrupted(entry)
            raise
        else:
            self.ledger.answered(entry, outcome)

    def finish(self, entry: Entry, ticket: Ticket[Any]) -> None:
        """Wait for the answer; it must stay the same. A ticket that is lost stays open in the ledger."""
        try:
            first = ticket.wait(self.patience)
        except TimeoutError:
            return
        except ERRORS:
            first = None
        self.take(entry, ticket.wait)
        if first is not None and ticket.wait() is not first:
            self.ledger.found("an answer has changed", self.ledger.name(entry))

    def mapped(self, entry: Entry, got: int, many: int, stop: float) -> None:
        """Many in one: all must have come, unless it was left."""
        if got != min(many, stop):
            self.ledger.found("a map gave too few outcomes", f"{self.ledger.name(entry)}: {got} of {many}")
        self.ledger.left(entry)

    async def maybe_cut(self, draw: random.Random, work: Callable[[], Any], entry: Entry) -> None:
        """One in three is cancelled from outside, if it takes that long."""
        if happens(draw, 66):
            await work()
            return
        entry.cancelled = True
        await cut(draw.choice([0, 1, 4, 15]), work, kill=happens(draw, 50))
        if entry.number in self.ledger.open:  # its task was cancelled before it began
            self.ledger.interrupted(entry)
