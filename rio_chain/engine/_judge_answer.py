"""Applies the chooser of a hedge or race to an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rio_chain.engine._frames import ask

if TYPE_CHECKING:
    from rio_chain.engine._current_run import Strand
    from rio_chain.engine._hedge import HedgeRace


async def judged(race: HedgeRace, strand: Strand, number: int, value: Any) -> tuple[Any, bool]:
    """The chooser's mark for the answer of this call, and whether that answer may win."""
    pick = race.replica.pick
    try:
        mark = None if pick.ask is None else await ask(strand, pick.ask.role, pick.ask.fn, value)
        return mark, await ask(strand, "pick", pick.good, mark)  # `good` may call `bool` on the mark
    except BaseException:
        race.unneeded(number, value)
        raise
