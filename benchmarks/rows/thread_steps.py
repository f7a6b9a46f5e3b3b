"""4 blocking calls on threads: many posted at once, and one at a time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from benchmarks import ours
from benchmarks.measure import Case, plain
from benchmarks.ours import blocking_step, bridge
from benchmarks.settings import Settings
from benchmarks.table import Table
from rio_chain import Balancer, Chain

MANY = 2000
WHOLE = "ThreadPoolExecutor.submit of the whole"


def whole(value: int) -> int:
    for _ in range(3):
        value = bridge(blocking_step(value))
    return blocking_step(value)


def stepwise(pool: ThreadPoolExecutor, value: int) -> int:
    """Each step limited, the only way there is with a pool: another thread runs it and this one waits."""
    for last in (False, False, False, True):
        for retries_left in (3, 2, 1, 0):
            try:
                value = pool.submit(blocking_step, value).result(1)
                break
            except OSError:
                if not retries_left:
                    raise
        value = value if last else bridge(value)
    return value


def pipelined(pool: ThreadPoolExecutor, balancer: Balancer) -> list[Case]:
    def submitted() -> None:
        for future in [pool.submit(whole, 1) for _ in range(MANY)]:
            future.result()

    def posted(chain: Chain[[int], int]) -> Callable[[], None]:
        def case() -> None:
            for ticket in [balancer.post(chain(1)) for _ in range(MANY)]:
                ours.read(ticket.wait())

        return case

    shapes: tuple[ours.Shape, ...] = ("bare", "limited", "guarded")
    mine = [Case(f"rio_chain, {shape}, post", posted(ours.chain_of(blocking_step, shape)), MANY) for shape in shapes]
    return [Case(WHOLE, submitted, MANY), *mine]


def one_at_a_time(pool: ThreadPoolExecutor, balancer: Balancer) -> list[Case]:
    def run(chain: Chain[[int], int]) -> Callable[[], None]:
        return lambda: ours.read(balancer.run(chain(1)))

    return [
        Case(WHOLE, lambda: pool.submit(whole, 1).result()),
        Case("submit of each step, result(1), retried", lambda: stepwise(pool, 1)),
        Case("rio_chain, bare, run", run(ours.chain_of(blocking_step, "bare"))),
        Case("rio_chain, guarded, run", run(ours.chain_of(blocking_step))),
    ]


def tables(settings: Settings) -> list[Table]:
    with ThreadPoolExecutor(4) as pool, Balancer("thread", workers=10, threads=4, buffer=2 * MANY) as balancer:
        many = Table("threads: 4 blocking calls, pipelined", plain(pipelined(pool, balancer), settings.effort), WHOLE)
        one = Table("threads: 4 blocking calls, one at a time", plain(one_at_a_time(pool, balancer), settings.effort))
    one.base = WHOLE
    many.bar("rio_chain, bare, post", WHOLE, 0.7)
    many.bar("rio_chain, limited, post", WHOLE, 2.5)
    return [many, one]
