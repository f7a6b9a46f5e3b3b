"""Finds the pieces whose values may stay on a worker, because the client never looks at them.

The client may pass on such a value: into pieces and branches, out of a race, through a retry. It may call a predicate
or a score with it, as that call is a remote one, too (``_remote_ask``). Everything else needs the value itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rio_chain.engine._hedge_delays import reads_input
from rio_chain.engine._instructions import (
    ADMIT,
    CHOOSE,
    CONSTANT,
    ENTER,
    FAN,
    HANDLER,
    JUMP,
    LEAVE,
    PIECE,
    RACE,
    Branch,
    Fallback,
    FanOutOp,
    Op,
    PieceOp,
    RaceOp,
)
from rio_chain.policies import Accept, Limit, Retry, Timeout
from rio_chain.policies._best_and_quorum import Best, Quorum
from rio_chain.policies._first import First


def mark_held(ops: list[Op]) -> None:
    """Set ``holds`` of the PIECE instructions of a program whose values may stay on a worker."""
    found = _Values(ops)
    for at in range(len(ops) - 1, -1, -1):
        found.look_at(at)
    for at, op in enumerate(ops):
        if op[0] == PIECE and found.passes(at + 1, at):
            ops[at] = PieceOp._make(op)._replace(holds=True)


class _Values:
    """From the last instruction to the first, as each goes on at later ones only."""

    def __init__(self, ops: Sequence[Op]) -> None:
        self.ops = ops
        self.takes = [False] * len(ops)
        """For each instruction: whether its input may be a handle."""
        self.around: list[tuple[Branch, int] | None] = [None] * len(ops)
        """For each instruction: the branch that it is in, and the instruction that the branch belongs to."""
        branches = [(branch, at) for at, op in enumerate(ops) for branch in _branches(op)]
        for branch, at in sorted(branches, key=lambda one: (one[0].start, -one[0].stop)):  # the inner ones last
            self.around[branch.start : branch.stop] = [(branch, at)] * (branch.stop - branch.start)

    def passes(self, to: int, at: int) -> bool:
        """Whether the value of the instruction ``at``, which goes on at ``to``, may be a handle."""
        around = self.around[at]
        if around is None or around[0].stop != to:
            return self.takes[to]
        owner: Any = self.ops[around[1]]
        if owner[0] == FAN:
            joined = FanOutOp._make(owner)
            return not joined.settle and joined.need is None and self.passes(joined.after, around[1])
        return owner[0] == RACE and _passes_on(owner) and self.passes(self.ops[to][1], around[1])

    def look_at(self, at: int) -> None:
        """Whether the input of this instruction may be a handle. The later ones are known."""
        op: Any = self.ops[at]
        code = op[0]
        if code in (PIECE, CONSTANT, HANDLER):  # a fallback gets the error, unless its ENTER needs the value
            takes = True
        elif code in (FAN, RACE):
            takes = self._all_take([branch.start for branch in _branches(op)])
            takes = takes and not (code == RACE and reads_input(op.replica))
        elif code == CHOOSE:
            takes = self._all_take(op.starts)
        elif code in (ENTER, ADMIT):
            takes = all(map(self._layer_takes, op.layers)) and self.takes[at + 1]
        elif code == LEAVE:
            takes = all(map(self._layer_takes, self.ops[op.entered_at][1])) and self.passes(at + 1, at)
        else:
            takes = code == JUMP and self.passes(op.to, at)
        self.takes[at] = takes

    def _all_take(self, starts: Sequence[int]) -> bool:
        return all(self.takes[start] for start in starts)

    def _layer_takes(self, layer: object) -> bool:
        if isinstance(layer, Fallback):
            return not layer.both and self.takes[layer.handler]
        if isinstance(layer, Retry):
            return not layer.reads_input
        return isinstance(layer, (Timeout, Accept)) or (isinstance(layer, Limit) and layer.key is layer.cost is None)


def _passes_on(op: Any) -> bool:
    """Whether the chooser of a race only calls a function with the answers, and does not compare them."""
    pick = RaceOp._make(op).replica.pick
    return isinstance(pick, (First, Best)) or (isinstance(pick, Quorum) and pick.by is not None)


def _branches(op: Any) -> tuple[Branch, ...]:
    found: tuple[Branch, ...] = getattr(op, "branches", ())
    one: Branch | None = getattr(op, "branch", None)
    return found if one is None else (one,)
