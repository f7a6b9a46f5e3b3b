"""4 steps on trio."""

from __future__ import annotations

import trio

from benchmarks.by_hand import on_trio
from benchmarks.rows.steps import both
from benchmarks.settings import Settings
from benchmarks.table import Table


def tables(settings: Settings) -> list[Table]:
    found = trio.run(both, "trio", on_trio, settings)
    found[0].bar("rio_chain, guarded", "by hand, guarded", 0.7)
    return found
