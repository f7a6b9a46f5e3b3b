"""Which values of pieces may stay on a worker: those that only other pieces get, so that nobody here looks at them."""

from __future__ import annotations

from collections import Counter

from rio_chain.engine._instructions import FAN, PIECE, Branch, FanOutOp, Op, PieceOp


def mark_held(ops: list[Op]) -> None:
    """Say so in the PIECE instructions of a program: before a fan-out of pieces, and at the end of its branches."""
    fans = {at: FanOutOp._make(op) for at, op in enumerate(ops) if op[0] == FAN}
    branches = [branch for op in ops for branch in _branches(op)]
    starts, stops = {branch.start for branch in branches}, Counter(branch.stop for branch in branches)
    held = {
        at - 1
        for at, fan in fans.items()
        if at and at not in starts and at not in stops and all(ops[one.start][0] == PIECE for one in fan.branches)
    }
    for fan in fans.values():
        own = sum(branch.stop == fan.after for branch in fan.branches)
        goes_on = fan.after not in starts and stops[fan.after] == own and ops[fan.after][0] == PIECE
        if goes_on and not fan.settle and fan.need is None:
            held |= {branch.stop - 1 for branch in fan.branches}
    for at in held:
        if ops[at][0] == PIECE:
            ops[at] = PieceOp._make(ops[at])._replace(holds=True)


def _branches(op: Op) -> tuple[Branch, ...]:
    found: tuple[Branch, ...] = getattr(op, "branches", ())
    one: Branch | None = getattr(op, "branch", None)
    return found if one is None else (one,)
