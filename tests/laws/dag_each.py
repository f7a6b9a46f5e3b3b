"""The model of ``each``: workers that take one item after the other."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable
from math import inf
from typing import Any

from attrs import evolve, frozen
from laws.dag_memory import End, Log, Memory, Rec, Unsure, before
from laws.dag_parts import Part
from laws.dag_values import Gather, Spread, Val
from returns.result import Failure, Success

from rio_chain import NotEnoughSuccesses

Play = Callable[[Part, Any, float, float, Memory], End]


@frozen
class Item:
    """One item that was begun."""

    number: int
    value: Any
    at: float
    free: End  # how it ends if nobody stops it


@frozen
class Ended:
    """One item that has ended, or was stopped."""

    end: End
    item: Item
    log: Log


def _begun(play: Play, part: Part, items: list[Val], at: float, memory: Memory) -> tuple[list[Item], Item | None]:
    """The items that are begun, if nobody outside stops them, and the one whose failure stops the others."""
    workers = [at] * (1 + part.ms % 3)
    begun: list[Item] = []
    fatal: Item | None = None
    for number, value in enumerate(items):
        start = heapq.heappop(workers)
        if fatal is not None and start >= fatal.free.at:
            break
        mine = memory.copy()
        mine.item = (*memory.item, part.number, number)
        item = Item(number, value, start, play(part.inner[0], value, start, inf, mine))
        begun.append(item)
        for other in (at, *workers):
            before(other, item.free.at)
        heapq.heappush(workers, item.free.at)
        if part.mode == "raise" and item.free.kind == "error" and (fatal is None or item.free.at < fatal.free.at):
            fatal = item
    return begun, fatal


def play_each(play: Play, part: Part, value: Any, at: float, stop: float, memory: Memory) -> End:  # noqa: PLR0917 - see Play
    """As ``play``, for an ``each``."""
    begun, fatal = _begun(play, part, Spread(part.n)(value), at, memory)
    if memory.timeless and part.mode == "raise":
        _check_timeless(part, begun, memory)
    over = fatal.free.at if fatal else max((item.free.at for item in begun), default=at)
    stopped = over > at and not before(over, stop)
    ended: list[Ended] = []
    outer, around = memory.log, memory.item
    for item in begun:
        if item.at < stop:
            memory.log, memory.item = {}, (*around, part.number, item.number)
            until = stop if item is fatal or not fatal else min(stop, over)
            ended.append(Ended(play(part.inner[0], item.value, item.at, until, memory), item, memory.log))
    memory.log, memory.item = outer, around
    for task in part.tasks():
        _tally(memory.rec(task), [(one, one.log.get(task.number, Rec())) for one in ended], fatal, stopped=stopped)
    return End(stop, "stopped") if stopped else _handed_on(part, ended, over)


def _check_timeless(part: Part, begun: list[Item], memory: Memory) -> None:
    """In real time an item that fails may stop the others, or may not."""
    failed = sum(item.free.kind == "error" for item in begun)
    if failed:
        if memory.retried or failed > 1 or len(begun) < part.n:
            raise Unsure
        memory.loose.update(task.number for task in part.tasks())


def _tally(rec: Rec, items: list[tuple[Ended, Rec]], fatal: Item | None, *, stopped: bool) -> None:
    """What the items have left of a task."""
    rec.status, rec.counts, rec.halted = "running", Counter(), []
    for one, mine in items:
        rec.calls += mine.calls
        if one.end.kind == "stopped":
            rec.halted.append(mine)
        else:
            rec.count(mine)
    if not stopped:
        rec.close("cancelled")
        rec.status = _status(rec, items, fatal)


def _status(rec: Rec, items: list[tuple[Ended, Rec]], fatal: Item | None) -> str | None:
    """Of a task, over all items in their order."""
    assert rec.counts is not None
    if fatal is not None:
        return next(mine.status for one, mine in items if one.item is fatal)
    if rec.counts["succeeded"]:
        return "succeeded"
    return next((mine.status for _, mine in items if mine.status not in {None, "skipped"}), None)


def _handed_on(part: Part, ended: list[Ended], over: float) -> End:
    errors = [one.end for one in ended if one.end.kind == "error"]
    if part.mode == "raise" and errors:
        return evolve(min(errors, key=lambda end: end.at), at=over)
    got = [one.end.value for one in ended if one.end.kind == "value"]
    if part.mode == "some" and len(got) < 2:
        return End(over, "error", NotEnoughSuccesses(2, len(got)))
    if part.mode == "keep":
        got = [(Success if one.end.kind == "value" else Failure)(one.end.value) for one in ended]
    return End(over, "value", Gather(part.n)(got))
