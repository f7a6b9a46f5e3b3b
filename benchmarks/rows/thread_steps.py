"""4 blocking calls on threads: many posted at once, and one at a time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from benchmarks import ours
from benchmarks.by_hand import on_threads
from benchmarks.measure import Case, Effort, plain
from benchmarks.ours import blocking_step, bridge
from benchmarks.settings import Settings
from benchmarks.table import Table
from rio_chain import Balancer, Chain

MANY = 2000
WHOLE = "ThreadPoolExecutor.submit of the whole, bare"
INSIDE = "a pool in a pool, guarded"
"""The only way there is to limit each call: another thread runs it and this one waits."""


def whole(value: int) -> int:
    for _ in range(3):
        value = bridge(blocking_step(value))
    return blocking_step(value)


def posted(balancer: Balancer, shape: ours.Shape) -> Case:
    chain = ours.chain_of(blocking_step, shape)

    def case() -> None:
        for ticket in [balancer.post(chain(1)) for _ in range(MANY)]:
            ours.read(ticket.wait())

    return Case(f"rio_chain, {shape}, post", case, MANY)


def submitted(pool: ThreadPoolExecutor, fn: Callable[..., int], *args: object) -> Callable[[], None]:
    def case() -> None:
        for future in [pool.submit(fn, *args, 1) for _ in range(MANY)]:
            future.result()

    return case


def pipelined(pool: ThreadPoolExecutor, calls: ThreadPoolExecutor, balancer: Balancer, effort: Effort) -> list[Table]:
    bare = [Case(WHOLE, submitted(pool, whole), MANY), posted(balancer, "bare")]
    inside = Case(INSIDE, submitted(pool, on_threads.chain, calls, blocking_step), MANY)
    guarded = [inside, posted(balancer, "guarded")]
    tables = [
        Table("threads: 4 blocking calls, pipelined", plain(bare, effort), WHOLE),
        Table("threads: 4 guarded blocking calls, pipelined", plain(guarded, effort), INSIDE),
    ]
    tables[0].bar("rio_chain, bare, post", WHOLE, 0.7)
    tables[1].bar("rio_chain, guarded, post", INSIDE, 0.25)
    return tables


def one_at_a_time(pool: ThreadPoolExecutor, balancer: Balancer) -> list[Case]:
    def run(chain: Chain[[int], int]) -> Callable[[], None]:
        return lambda: ours.read(balancer.run(chain(1)))

    return [
        Case(WHOLE, lambda: pool.submit(whole, 1).result()),
        Case(INSIDE, lambda: on_threads.chain(pool, blocking_step, 1)),
        Case("rio_chain, bare, run", run(ours.chain_of(blocking_step, "bare"))),
        Case("rio_chain, guarded, run", run(ours.chain_of(blocking_step))),
    ]


def tables(settings: Settings) -> list[Table]:
    with (
        ThreadPoolExecutor(4) as pool,
        ThreadPoolExecutor(4) as calls,
        Balancer("thread", workers=10, threads=4, buffer=2 * MANY) as balancer,
    ):
        many = pipelined(pool, calls, balancer, settings.effort)
        one = Table("threads: 4 blocking calls, one at a time", plain(one_at_a_time(pool, balancer), settings.effort))
    one.base = WHOLE
    one.bar("rio_chain, guarded, run", INSIDE, 1.0)
    return [*many, one]
