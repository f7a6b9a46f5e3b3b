"""What a recipe means: a plain recursive model with a clock that it moves itself. It knows nothing of the engine.

A part is played from an instant on, and is stopped at another if it takes that long. Who is stopped by whom is found by
playing all branches to their ends first, on copies of what is remembered, and then once more up to the instant that
decided. Nothing waits for anything else, so that this is exact.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from itertools import pairwise
from math import inf
from typing import Any

from attrs import evolve, frozen
from laws.dag_each import Play, play_each
from laws.dag_memory import End, Log, Memory, Rec, Unsure, before
from laws.dag_parts import Part, limit_of, need_of
from laws.dag_values import BodyError, Check, Picks, Val, item_of, mixed, said, share
from returns.result import Failure, Success

from rio_chain import BridgeFailed, TaskTimedOut

FOREVER = 30_000.0  # `abandon_after`


def play(part: Part, value: Any, at: float, stop: float, memory: Memory) -> End:
    """Run a part from ``at`` on, at most up to ``stop``."""
    end = PLAYS[part.kind](part, value, at, stop, memory)
    if end.kind == "value":
        memory.values[part.number] = end.value
    return end


def _task(part: Part, value: Any, at: float, stop: float, memory: Memory) -> End:
    used = {f"u{i}": memory.values[use.number] for i, use in enumerate(part.uses)}
    digest = mixed(value, used)
    key = (part.task, digest)
    if memory.claims.setdefault(key, (part.number, memory.item)) != (part.number, memory.item):
        raise Unsure
    nth = memory.made[key]
    memory.made[key] += 1
    memory.used.setdefault(part.number, []).append(tuple(said(one) for one in used.values()))
    rec = memory.rec(part)
    rec.calls += 1
    rec.status = "running"
    ended = at + part.ms + share(part.task, digest, nth)
    if not before(ended, stop):
        return End(stop, "stopped")
    item = item_of(value)
    if nth < part.faults:
        rec.status = "failed"
        return End(ended, "error", BodyError(part.task, digest, item))
    rec.status = "succeeded"
    return End(ended, "value", Val(mixed(part.task, digest), item))


def _seq(part: Part, value: Any, at: float, stop: float, memory: Memory) -> End:
    end = End(at, "value", value)
    for step in part.inner:
        end = play(step, end.value, end.at, stop, memory)
        if end.kind != "value":
            return end
    return end


def _check(part: Part, value: Any, at: float, stop: float, memory: Memory) -> End:
    end = play(part.inner[0], value, at, stop, memory)
    if end.kind != "value":
        return end
    try:
        return evolve(end, value=Check(part.n % 4)(end.value))
    except BodyError as error:
        return End(end.at, "error", BridgeFailed("", "", "", error))


def _ends(part: Part, value: Any, at: float, memory: Memory) -> list[End]:
    """How the branches would end if nobody stopped them; in the order of time, ties are unsure."""
    ends = [play(branch, value, at, inf, memory.copy()) for branch in part.inner]
    instants = sorted([at, *(end.at for end in ends)])  # one that takes no time may end before the next has begun
    for a, b in pairwise(instants):
        before(a, b)
    return ends


def _together(  # noqa: PLR0917 - as play, and one more
    part: Part, value: Any, at: float, stop: float, memory: Memory, decided: float
) -> list[End] | None:
    """Play the branches up to the instant that decides, or to ``stop``: then None."""
    ends: list[End] = []
    for branch in part.inner:
        free = play(branch, value, at, inf, memory.copy())
        until = stop if free.at <= decided else min(stop, decided)
        ends.append(play(branch, value, at, until, memory))
    if decided == inf:
        return None if any(end.kind == "stopped" for end in ends) else ends
    return ends if before(decided, stop) else None


def _nth(ends: Iterable[End], kind: str, nth: int) -> float:
    """When so many have ended like this."""
    instants = sorted(end.at for end in ends if end.kind == kind)
    return instants[nth - 1] if len(instants) >= nth else inf


def _first_error(ends: list[End]) -> End:
    return min((end for end in ends if end.kind == "error"), key=lambda end: end.at)


def _fan(part: Part, value: Any, at: float, stop: float, memory: Memory) -> End:
    """All branches, or ``need`` of them."""
    if memory.timeless:
        return _timeless(part, value, at, stop, memory)
    width = len(part.inner)
    need = need_of(part) if part.kind == "need" else width
    ends = _ends(part, value, at, memory)
    enough, lost = _nth(ends, "value", need), _nth(ends, "error", width - need + 1)
    decided = min(enough, lost)
    played = _together(part, value, at, stop, memory, decided)
    if played is None:
        return End(stop, "stopped")
    memory.close(part, "cancelled")
    if lost < enough:
        return evolve(_first_error(played), at=decided)
    won = [(i, end.value) for i, end in enumerate(played) if end.kind == "value" and end.at <= decided]
    return End(decided, "value", {f"k{i}": v for i, v in won} if part.kind == "keys" else tuple(v for _, v in won))


def _timeless(part: Part, value: Any, at: float, stop: float, memory: Memory) -> End:
    ends = [play(branch, value, at, stop, memory) for branch in part.inner]
    over = max(end.at for end in ends)
    failed = [i for i, end in enumerate(ends) if end.kind == "error"]
    if failed:
        if memory.retried or len(failed) > 1:
            raise Unsure
        memory.loose.update(t.number for i, one in enumerate(part.inner) if i != failed[0] for t in one.tasks())
        return evolve(ends[failed[0]], at=over)
    got = tuple(end.value for end in ends)
    return End(over, "value", {f"k{i}": v for i, v in enumerate(got)} if part.kind == "keys" else got)


def _settle(part: Part, value: Any, at: float, stop: float, memory: Memory) -> End:
    ends = _together(part, value, at, stop, memory, inf)
    if ends is None:
        return End(stop, "stopped")
    got = tuple(Success(end.value) if end.kind == "value" else Failure(end.value) for end in ends)
    return End(max(end.at for end in ends), "value", got)


def _race(part: Part, value: Any, at: float, stop: float, memory: Memory) -> End:
    ends = _ends(part, value, at, memory)
    decided = min(_nth(ends, "value", 1), max(end.at for end in ends))
    played = _together(part, value, at, stop, memory, decided)
    if played is None:
        return End(stop, "stopped")
    memory.close(part, "cancelled")
    won = next((end for end in played if end.kind == "value"), None)
    return won or evolve(played[0], at=decided)


def _or(part: Part, value: Any, at: float, stop: float, memory: Memory) -> End:
    primary, fallback = part.inner
    end = play(primary, value, at, stop, memory)
    return play(fallback, value, end.at, stop, memory) if end.kind == "error" else end


def _choose(part: Part, value: Any, at: float, stop: float, memory: Memory) -> End:
    width = len(part.inner)
    taken = next((i for i in range(width - 1) if Picks(i, width)(value)), width - 1)
    return play(part.inner[taken], value, at, stop, memory)


def _timeout(part: Part, value: Any, at: float, stop: float, memory: Memory) -> End:
    mine = at + limit_of(part)
    end = play(part.inner[0], value, at, min(mine, stop), memory)
    if end.kind == "stopped" and mine < stop:
        memory.close(part, "timed_out")
        return End(mine, "error", TaskTimedOut("", limit_of(part)))
    return end


def _retry(part: Part, value: Any, at: float, stop: float, memory: Memory) -> End:
    memory.retried += 1
    end = play(part.inner[0], value, at, stop, memory)
    for _ in range(part.n):
        if end.kind != "error" or isinstance(end.value, BridgeFailed):
            break
        memory.again(part)
        end = play(part.inner[0], value, end.at, stop, memory)
    memory.retried -= 1
    return end


def _replica(part: Part, value: Any, at: float, stop: float, memory: Memory) -> End:
    """One call after the other, each with a log of its own. The winner's tells how tasks ended; else the first's,
    and which of them were running.
    """
    outer, logs, ends = memory.log, list[Log](), list[End]()
    while len(ends) <= part.n and (not ends or ends[-1].kind == "error"):
        memory.log = {}
        ends.append(play(part.inner[0], value, ends[-1].at if ends else at, stop, memory))
        logs.append(memory.log)
    memory.log = outer
    for task in part.tasks():
        ran = [log[task.number] for log in logs if task.number in log]
        if ran:
            running = [rec for rec in ran if rec.status == "running"]
            last = logs[-1].get(task.number, Rec()) if ends[-1].kind == "value" else (running or ran)[0]
            memory.log[task.number] = evolve(last, calls=sum(rec.calls for rec in ran) + memory.rec(task).calls)
    return evolve(ends[0], at=ends[-1].at) if ends[-1].kind == "error" else ends[-1]


def _named(part: Part, value: Any, at: float, stop: float, memory: Memory) -> End:
    return play(part.inner[0], value, at, stop, memory)


PLAYS: dict[str, Play] = {
    "task": _task,
    "seq": _seq,
    "check": _check,
    "and": _fan,
    "keys": _fan,
    "need": _fan,
    "settle": _settle,
    "race": _race,
    "or": _or,
    "choose": _choose,
    "each": partial(play_each, play),
    "timeout": _timeout,
    "retry": _retry,
    "replica": _replica,
    "named": _named,
}


@frozen
class Played:
    """What is compared."""

    result: str
    ms: float
    tasks: list[tuple[str, int, dict[str, int]]]  # of each in plan order: status, attempts, counts


def played(root: Part, value: Any, *, timeless: bool = False) -> tuple[Played, Memory]:
    """Run the whole."""
    memory = Memory(timeless=timeless)
    stop = inf if outermost_limit(root) else FOREVER
    end = play(root, value, 0.0, stop, memory)
    assert end.kind != "stopped"
    counted: list[tuple[str, int, dict[str, int]]] = []
    for part in root.tasks():
        rec = memory.rec(part)
        counts = {kind: n for kind, n in (rec.counts or {}).items() if n}
        counted.append((rec.status or "skipped", rec.calls, counts))
    return Played(said(Success(end.value) if end.kind == "value" else Failure(end.value)), end.at, counted), memory


def outermost_limit(root: Part) -> bool:
    """Whether the chain has a limit of its own."""
    while root.kind in {"named", "retry"}:
        root = root.inner[0]
    return root.kind == "timeout"
