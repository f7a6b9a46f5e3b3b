"""4 steps on asyncio with the loop of uvloop."""

from __future__ import annotations

from benchmarks.rows.asyncio_steps import measured
from benchmarks.settings import Missing, Settings
from benchmarks.table import Table


def tables(settings: Settings) -> list[Table]:
    try:
        import uvloop  # noqa: PLC0415 - a peer may be missing
    except ImportError:
        raise Missing("uvloop is not installed") from None
    found = measured("asyncio with uvloop", settings, uvloop.new_event_loop)
    for table in found:
        table.bars.clear()  # they are held on the loop of the standard library
    return found
