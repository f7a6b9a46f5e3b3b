"""What the chooser of a hedge or race makes of an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rio_chain.engine._frames import ask

if TYPE_CHECKING:
    from rio_chain.engine._current_run import Strand
    from rio_chain.engine._hedge import HedgeRace


async def judged(race: HedgeRace, strand: Strand, number: int, value: Any) -> tuple[Any, bool]:
    """What the chooser's function makes of the answer of this call, and whether that answer may win."""
    pick = race.replica.pick
    try:
        mark = None if pick.ask is None else await ask(strand, pick.ask.role, pick.ask.fn, value)
        return mark, await ask(strand, "pick", pick.good, mark)  # that may ask the mark whether it is true
    except BaseException:
        race.unneeded(number, value)
        raise
