"""The place of a record: where in a run an answer was given, whatever the order of calls.

A place is text. It has a level for each Request around the part that a function has returned, and ``>`` between levels.
A level is the items around the part, each in square brackets; the rounds of the retries around it, in parentheses; and
the label of the part.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rio_chain.engine._attempt import RequestAt
from rio_chain.engine._journal_labels import Labels
from rio_chain.engine._journal_program import places_of

if TYPE_CHECKING:
    from rio_chain.engine._current_run import Run
    from rio_chain.engine._instructions import JournalPart

Rounds = dict[str, dict[tuple[int, int], int]]
"""For each run, or item, by the text of its place: the rounds of its retries, by instruction and layer."""
_ITEM = re.compile(r"\[([^\]]*)\]")


class PlaceFinder:
    """Finds the places of one run, and keeps the rounds of its retries.

    Args:
        item_text: the text of an item, or of the key of a piece of an ``expand``.
    """

    def __init__(self, item_text: Callable[[Any], str]) -> None:
        self._item_text = item_text
        self._rounds: Rounds = {}

    @property
    def has_rounds(self) -> bool:
        """Whether a retry around several parts has called them again."""
        return bool(self._rounds)

    def place(self, run: Run, part: JournalPart) -> str:
        """The place of a part."""
        prefix = self._prefix(run, part.pc)
        return f"{prefix}{self._rounds_at(prefix, run, part.pc)}{part.label}"

    def new_round(self, run: Run, pc: int, depth: int, retries: int) -> None:
        """A retry calls its inner part again. The retries in it begin anew."""
        rounds = self._rounds.setdefault(self._prefix(run, pc), {})
        end = places_of(run.plan).ends.get(pc, pc)
        for other in list(rounds):
            if pc < other[0] <= end or (other[0] == pc and other[1] < depth):
                del rounds[other]
        rounds[pc, depth] = retries

    def levels(self, run: Run) -> list[Labels]:
        """The labels of each level of a place, the outermost first."""
        found: list[Labels] = [places_of(run.plan).labels]
        while run.root is None and run.around is not None:
            if isinstance(run.step, RequestAt):
                found.append(places_of(run.around.plan).labels)
            run = run.around
        return found[::-1]

    def _prefix(self, run: Run, pc: int) -> str:
        """What is around an instruction of this run."""
        parent, step = run.around, run.step
        if run.root is not None or parent is None:
            return ""
        if isinstance(step, RequestAt):
            prefix = self._prefix(parent, step.pc)
            name = places_of(parent.plan).names.get(step.pc, "")
            return f"{prefix}{self._rounds_at(prefix, parent, step.pc, nested=True)}{name}>"
        prefix = self._prefix(parent, pc)
        return f"{prefix}{self._rounds_at(prefix, parent, pc)}[{self._item_text(step)}]"

    def _rounds_at(self, prefix: str, run: Run, pc: int, *, nested: bool = False) -> str:
        """The rounds of the retries around an instruction. ``nested``: a Request was returned there."""
        rounds = self._rounds.get(prefix)
        if not rounds:
            return ""
        places = places_of(run.plan)
        found = sorted(
            (at, -depth, n)
            for (at, depth), n in rounds.items()
            if (at < pc < places.ends.get(at, at) or (nested and at == pc)) and (nested or at in places.several)
        )
        return f"({'.'.join(str(n) for _, _, n in found)})" if found else ""


def is_after(place: str, changed: str, levels: list[Labels]) -> bool:
    """Whether what is recorded at a place may depend on the answer at another one. ``levels``: of that other one."""
    for one, other, labels in zip(place.split(">"), changed.split(">"), levels, strict=False):
        if one == other:
            continue
        items, label = _ITEM.findall(one), _label(one)
        other_items = _ITEM.findall(other)
        common = min(len(items), len(other_items))
        return items[:common] == other_items[:common] and labels.depends(label, _label(other))
    return True


def _label(level: str) -> str:
    return re.split(r"[\])]", level)[-1]


def top_label(place: str) -> str:
    """The label of the part of the chain itself that a place is in."""
    return _label(place.split(">", 1)[0])
