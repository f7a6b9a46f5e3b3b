"""Random chains of one number: every part takes a number and hands one on."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import count
from typing import Any

from attrs import field, frozen

from benchmarks.soak.bodies import ASYNC, SYNC, AsyncBody, SyncBody
from benchmarks.soak.bridges import (
    Children,
    Picks,
    Spread,
    agrees,
    async_source,
    narrow,
    plain_source,
    score,
    shared_key,
)
from benchmarks.soak.ledger import Fault, Ledger
from rio_chain import (
    Backoff,
    Breaker,
    Budget,
    Cache,
    Chain,
    Chaos,
    Limit,
    Quantile,
    SingleFlight,
    Task,
    at_least,
    best,
    choose,
    each,
    expand,
    fan_out,
    first,
    quorum,
    race,
    settle,
    when,
)

RARE = {"exit": 4, "final": 4}
OFTEN = {"raise": 120, "decline": 40, "pause": 150}
SOMETIMES = 60
FAULTS = {"base": ("exit", "final"), "hang": ("hang",)}


def happens(draw: random.Random, percent: int) -> bool:
    """Whether something happens that does so often."""
    return draw.random() * 100 < percent


@frozen
class Made:
    """A chain, and what is in it: what its requests may fail with depends on that."""

    chain: Chain[..., Any]
    kinds: frozenset[str]


@frozen
class Shared:
    """What all chains of all executors share, for the whole soak."""

    breaker: Breaker = field(factory=lambda: Breaker(ratio=0.6, min_calls=20, window=500, open_for=20))
    limit: Limit = field(factory=lambda: Limit(6, wait=15))
    rate: Limit = field(factory=lambda: Limit(rate=2000, per=1000, burst=50, key=shared_key))
    budget: Budget = field(factory=lambda: Budget(0.2, floor=3))
    cache: Cache = field(factory=lambda: Cache(30, key=shared_key, size=40))
    flights: SingleFlight = field(factory=lambda: SingleFlight(key=shared_key))
    chaos: Chaos = field(factory=lambda: Chaos(0.1, latency=1, error=Fault))
    late: Quantile = field(factory=lambda: Quantile(0.9, warmup=10, window=200))

    def idle(self) -> list[str]:
        """What is still held of them; nothing when nothing runs."""
        held = {
            "limit": self.limit.running + self.limit.waiting,
            "rate": self.rate.running + self.rate.waiting,
            "budget": self.budget.executions + self.budget.extras,
        }
        lines = [f"the {name} still holds {many}" for name, many in held.items() if many]
        return lines if "0 in flight, 0 follow" in repr(self.flights) else [*lines, f"{self.flights!r}"]


class Maker:
    """Draws chains. The same draws give the same chains."""

    def __init__(self, draw: random.Random, ledger: Ledger, shared: Shared) -> None:
        self.draw = draw
        self.ledger = ledger
        self.shared = shared
        self.kinds: set[str] = set()
        self._numbers = count()

    def make(self) -> Made:
        """One chain."""
        self.kinds = set()
        chain = self.part(self.draw.choice([0, 1, 1, 2, 2, 3]))
        if "hang" in self.kinds and happens(self.draw, 95):
            chain = self.timeout(chain)
        return Made(chain, frozenset(self.kinds))

    def part(self, depth: int) -> Chain[..., Any]:
        """A task or a join, and perhaps policies around it."""
        if depth == 0:
            chain: Chain[..., Any] = self.task()
        else:
            chain = self.draw.choice(JOINS)(self, depth - 1)
        for _ in range(self.draw.choice([0, 0, 1, 1, 2])):
            chain = self.draw.choice(POLICIES)(self, chain)
        return chain

    # --- tasks --------------------------------------------------------------------------------------------------

    def task(self, *, nests: bool = True) -> Task[..., Any]:
        """A task with some faults."""
        draw = self.draw
        kind = draw.choice(["async", "async", "async", "sync", "inline"])
        known = set(ASYNC if kind == "async" else SYNC) - set(OFTEN) - {"answer", *RARE}
        faults = dict.fromkeys(draw.sample(sorted(known), 2), SOMETIMES) | OFTEN
        if kind == "inline":
            faults.pop("hang", None)
        if happens(draw, 20):
            faults |= RARE
        nested = None
        if nests and happens(draw, 15):
            faults["request"] = SOMETIMES
            nested = self.task(nests=False)
        self.kinds |= {name for name, some in FAULTS.items() if any(one in faults for one in some)}
        made = AsyncBody if kind == "async" else SyncBody
        body = made(next(self._numbers), self.ledger, faults, nested, awaited=kind != "sync")
        task = Task(body).named(f"{kind}{body.task}")
        return task.inline() if kind == "inline" else task

    # --- joins --------------------------------------------------------------------------------------------------

    def row(self, depth: int) -> Chain[..., Any]:
        chain: Chain[..., Any] = self.part(depth) >> narrow >> self.part(0)
        return chain

    def used(self, depth: int) -> Chain[..., Any]:
        source = self.task()
        user: Task[..., Any] = self.task().using(user=source)
        chain: Chain[..., Any] = source >> self.part(depth) >> user
        return chain

    def wide(self, depth: int) -> Chain[..., Any]:
        branches = [self.part(depth) for _ in range(self.draw.choice([2, 3]))]
        ways: dict[str, Callable[[], Any]] = {
            "all": lambda: fan_out(*branches),
            "keys": lambda: fan_out(**{f"k{i}": one for i, one in enumerate(branches)}),
            "need": lambda: fan_out(*branches, need=self.draw.randint(1, len(branches))),
            "settle": lambda: settle(*branches),
        }
        wide: Chain[..., Any] = ways[self.draw.choice([*ways])]() >> narrow
        return wide

    def race(self, depth: int) -> Chain[..., Any]:
        return race(self.part(depth), self.part(depth), pick=self.pick(2))

    def routed(self, depth: int) -> Chain[..., Any]:
        return choose(when(Picks(0, 2), self.part(depth)), otherwise=self.part(depth))

    def items(self, depth: int) -> Chain[..., Any]:
        if "items" in self.kinds:
            self.kinds.add("hang")  # items of items of items may take as long as a run may last
        self.kinds.add("items")
        draw = self.draw
        source: Any = draw.choice([Spread(draw.randint(0, 5)), Spread(3), Task(plain_source), Task(async_source)])
        mode: Any = draw.choice(["raise", "keep", "drop", at_least(2)])
        if isinstance(source, Task):
            source = source.named(f"source{next(self._numbers)}")
        chain = each(self.part(depth), limit=draw.randint(1, 4), ordered=happens(draw, 50), on_error=mode)
        joined: Chain[..., Any] = source >> chain >> narrow
        return joined

    def tree(self, depth: int) -> Chain[..., Any]:
        self.kinds.add("items")
        mode: Any = self.draw.choice(["raise", "keep", "drop", at_least(1)])
        stop: Any = self.draw.choice(["raise", "stop"])
        chain = expand(
            self.part(depth), limit=3, total=12, more=Children(self.draw.randint(1, 3)), on_error=mode, on_limit=stop
        )
        return chain >> narrow

    # --- policies -----------------------------------------------------------------------------------------------

    def timeout(self, chain: Chain[..., Any]) -> Chain[..., Any]:
        self.kinds.add("timeout")
        return chain.timeout(self.draw.choice([3, 10, 30, 100]))

    def retry(self, chain: Chain[..., Any]) -> Chain[..., Any]:
        accept = self.accepted(agrees) if happens(self.draw, 20) else None
        backoff = self.draw.choice([None, Backoff(base=1, cap=4), Backoff(base=1, cap=3, jitter="decorrelated")])
        return chain.retry(self.draw.randint(0, 2), backoff=backoff, accept=accept)

    def accept(self, chain: Chain[..., Any]) -> Chain[..., Any]:
        return chain.accept(self.accepted(agrees))

    def accepted(self, predicate: Callable[[Any], bool]) -> Callable[[Any], bool]:
        self.kinds |= {"accept", "callback"}
        return predicate

    def replica(self, chain: Chain[..., Any]) -> Chain[..., Any]:
        many = self.draw.randint(2, 3)
        after = self.draw.choice([0, 1, 3, None, self.shared.late])
        return chain.replica(many, after=after, pick=self.pick(many))

    def pick(self, many: int) -> Any:
        kind = self.draw.choice(["first", "accepted", "best", "quorum"])
        if kind == "accepted":
            return first(self.accepted(agrees))
        if kind == "first":
            return first()
        self.kinds.add("accept")
        return best(score, within=4) if kind == "best" else quorum(min(2, many))

    def otherwise(self, chain: Chain[..., Any]) -> Chain[..., Any]:
        others: list[Any] = [None, lambda _: None, self.task()]
        return chain.or_else(self.draw.choice(others))

    def guarded(self, chain: Chain[..., Any]) -> Chain[..., Any]:
        shared = self.shared
        kind = self.draw.choice(["breaker", "limit", "rate", "budget", "chaos"])
        self.kinds |= {kind} & {"breaker"}
        wrapped: dict[str, Callable[[], Chain[..., Any]]] = {
            "breaker": lambda: chain.breaker(shared.breaker),
            "limit": lambda: chain.limit(shared.limit),
            "rate": lambda: chain.limit(shared.rate),
            "budget": lambda: chain.budget(shared.budget),
            "chaos": lambda: chain.chaos(shared.chaos),
        }
        return wrapped[kind]()

    def mixed(self, chain: Chain[..., Any]) -> Chain[..., Any]:
        """Its answers may be those of other requests. Once in a chain: a flight in itself would follow itself."""
        if "shared" in self.kinds:
            return chain
        self.kinds.add("shared")
        shared = self.shared
        return chain.cache(shared.cache) if happens(self.draw, 50) else chain.single_flight(shared.flights)


Join = Callable[[Maker, int], Chain[..., Any]]
Policy = Callable[[Maker, Chain[..., Any]], Chain[..., Any]]
JOINS: tuple[Join, ...] = (
    Maker.row, Maker.row, Maker.used, Maker.wide, Maker.wide, Maker.race, Maker.routed, Maker.items, Maker.tree,
)  # fmt: skip
POLICIES: tuple[Policy, ...] = (
    Maker.timeout, Maker.timeout, Maker.retry, Maker.retry, Maker.accept, Maker.replica, Maker.otherwise,
    Maker.otherwise, Maker.guarded, Maker.guarded, Maker.mixed,
)  # fmt: skip


def chains(draw: random.Random, ledger: Ledger, shared: Shared, many: int) -> list[Made]:
    """So many chains."""
    maker = Maker(draw, ledger, shared)
    return [maker.make() for _ in range(many)]
