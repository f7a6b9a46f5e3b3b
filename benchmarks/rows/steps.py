"""4 steps and 3 bridges on a loop, in every shape: what a step costs, and what a guard adds to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import ModuleType

from benchmarks import ours
from benchmarks.measure import Case, on_loop
from benchmarks.settings import Settings
from benchmarks.table import Table
from rio_chain import Balancer

SHAPES: tuple[ours.Shape, ...] = ("bare", "limited", "guarded")
Extra = Callable[[ours.Step], list[Case]]


def by_hand(loop: ModuleType, step: ours.Step) -> list[Case]:
    """The three shapes of ``benchmarks.by_hand``."""

    def case(work: Callable[[ours.Step, int], Awaitable[int]]) -> Callable[[], Awaitable[int]]:
        return lambda: work(step, 1)

    return [Case(f"by hand, {shape}", case(getattr(loop, shape))) for shape in SHAPES]


def through(balancer: Balancer, step: ours.Step) -> list[Case]:
    """Ours: awaited in every shape, and the guarded one through the balancer."""
    chain = ours.chain_of(step)

    async def arun() -> None:
        ours.read(await balancer.arun(chain(1)))

    async def post() -> None:
        ours.read(await balancer.post(chain(1)))

    awaited = [Case(f"rio_chain, {shape}", ours.awaited(ours.chain_of(step, shape))) for shape in SHAPES]
    return [*awaited, Case("rio_chain, guarded, arun", arun), Case("rio_chain, guarded, post + await", post)]


async def both(title: str, loop: ModuleType, settings: Settings, extra: Extra = lambda _step: []) -> list[Table]:
    """A table of steps that suspend, and one of steps that don't."""
    tables = []
    async with Balancer(workers=10, buffer=20) as balancer:
        for kind, step in (("suspend", loop.suspending_step), ("don't suspend", ours.instant_step)):
            cases = [*by_hand(loop, step), *extra(step), *through(balancer, step)]
            rows = await on_loop(cases, settings.effort)
            tables.append(Table(f"{title}: 4 steps that {kind}", rows, base="by hand, guarded"))
    return tables
