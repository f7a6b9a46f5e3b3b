"""Applies the chooser of a hedge or race to an answer, and its ``on`` to an error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rio_chain.engine._ask import ask, predicate_holds
from rio_chain.errors import CallbackFailed
from rio_chain.policies._match_errors import matches

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


async def ends_race(race: HedgeRace, strand: Strand, error: Any) -> tuple[Any, bool]:
    """The error of a call, and whether it ends the race because ``on`` does not select it."""
    on = race.replica.on
    found = matches(on, error)
    if found is not None:
        return error, not found
    try:
        return error, not await predicate_holds(strand, "on", on, error)  # type: ignore[arg-type]  # a predicate
    except CallbackFailed as exc:
        return exc, True
