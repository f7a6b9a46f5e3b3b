"""What the model of random DAGs remembers of a run, and how a part of it ended."""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from typing import Any

from attrs import field, frozen, mutable
from laws.dag_parts import Part


class Unsure(Exception):
    """Two instants are so close that the order is unspecified, or two calls look the same."""


@frozen
class End:
    """How a part ended: with a value, with an error, or stopped."""

    at: float
    kind: str
    value: Any = None


@mutable
class Rec:
    """What is known of a task: the status of its last turn (None: that has not come), and its calls in all turns."""

    status: str | None = None
    calls: int = 0
    counts: Counter[str] | None = None  # of its items
    halted: list[Rec] = field(factory=list)  # items that don't know yet what stopped them

    def close(self, status: str) -> None:
        """What stopped it is known."""
        for one in self.halted:
            one.close(status)
            self.count(one)
        self.halted = []
        if self.status == "running":
            untouched = self.counts is not None and not self.counts.keys() - {"skipped"}
            self.status = "skipped" if untouched else status

    def count(self, item: Rec) -> None:
        """An item has ended."""
        assert self.counts is not None
        self.counts[item.status or "skipped"] += 1


Log = dict[int, Rec]


@mutable
class Memory:
    """What the run remembers."""

    made: Counter[tuple[int, int]] = field(factory=Counter)
    claims: dict[tuple[int, int], Any] = field(factory=dict)
    values: dict[int, Any] = field(factory=dict)  # of the places, for the tasks that use them
    log: Log = field(factory=dict)
    item: tuple[int, ...] = ()
    used: dict[int, list[tuple[str, ...]]] = field(factory=dict)  # what the calls of a task got by keyword
    timeless: bool = False  # in real time the order is unknown; what it decides is unsure, or loose
    loose: set[int] = field(factory=set)  # the places of tasks that may or may not have run
    retried: int = 0  # retries around

    def rec(self, part: Part) -> Rec:
        return self.log.setdefault(part.number, Rec())

    def copy(self) -> Memory:
        return deepcopy(self)

    def close(self, part: Part, status: str) -> None:
        """Whatever runs in a part was stopped."""
        for task in part.tasks():
            self.rec(task).close(status)

    def again(self, part: Part) -> None:
        """Its tasks get another turn."""
        for task in part.tasks():
            self.rec(task).status = None


def before(a: float, b: float) -> bool:
    """Whether one instant is before another."""
    if abs(a - b) < 1e-5:
        raise Unsure
    return a < b
