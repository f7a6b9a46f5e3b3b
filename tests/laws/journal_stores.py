"""What the laws of the journal need: a store in memory that can be looked at after each commit, and a serializer."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any

from attrs import evolve
from laws.dag_values import BodyError, Val
from returns.result import Failure, Success

from rio_chain import BridgeFailed, Journal, NotEnoughSuccesses
from rio_chain.journal._store import Row, RunRow

Kept = tuple[dict[str, RunRow], dict[int, dict[str, Row]]]


class MemoryStore:
    """As ``Store``. ``snapshots``: what was kept after each commit, as a crash would leave it."""

    def __init__(self, kept: Kept | None = None) -> None:
        self.rows: dict[str, RunRow] = {}
        self.found: dict[int, dict[str, Row]] = {}
        if kept is not None:
            self.rows, self.found = deepcopy(kept)
            self.rows = {key: evolve(row, until=0.0) for key, row in self.rows.items()}  # its process is dead
        self.snapshots: list[Kept] = []

    def begin(self, *, write: bool = True) -> None:
        """As ``Store.begin``."""

    def commit(self) -> None:
        """As ``Store.commit``."""
        self.snapshots.append(deepcopy((self.rows, self.found)))

    def rollback(self) -> None:
        """As ``Store.rollback``."""
        raise AssertionError("nothing fails in memory")

    def now(self) -> float:
        """As ``Store.now``."""
        return time.time()

    def run(self, run_id: str) -> RunRow | None:
        """As ``Store.run``."""
        return self.rows.get(run_id)

    def runs(self) -> list[tuple[RunRow, int]]:
        """As ``Store.runs``."""
        return [(row, len(self.found.get(row.number, {}))) for row in self.rows.values()]

    def lease(self, number: int) -> tuple[int, float]:
        """As ``Store.lease``."""
        return next((row.fence, row.until) for row in self.rows.values() if row.number == number)

    def renew(self, number: int, until: float) -> None:
        """As ``Store.renew``."""
        for row in self.rows.values():
            if row.number == number:
                row.until = until

    def put_run(self, row: RunRow) -> int:
        """As ``Store.put_run``."""
        number = row.number or len(self.rows) + 1
        self.rows[row.id] = evolve(row, number=number)
        return number

    def records(self, number: int) -> list[Row]:
        """As ``Store.records``."""
        return [*self.found.get(number, {}).values()]

    def put_records(self, number: int, rows: Iterable[Row]) -> None:
        """As ``Store.put_records``."""
        self.found.setdefault(number, {}).update({row.place: row for row in rows})

    def drop_records(self, number: int, places: Iterable[str]) -> None:
        """As ``Store.drop_records``."""
        for place in places:
            self.found.get(number, {}).pop(place, None)

    def drop_runs(self, numbers: Iterable[int]) -> None:
        """As ``Store.drop_runs``."""
        raise NotImplementedError

    def close(self) -> None:
        """As ``Store.close``."""

    def abandon(self) -> None:
        """As ``Store.abandon``."""


class Vals:
    """Writes the values of random DAGs."""

    def dumps(self, value: Any) -> str:
        """As ``Serializer.dumps``."""
        return json.dumps(_written(value))

    def loads(self, data: str) -> Any:
        """As ``Serializer.loads``."""
        return _read(json.loads(data))


def _written(value: Any) -> Any:  # noqa: C901, PLR0911 - one for each kind
    match value:
        case Val():
            return ["v", value.digest, value.item]
        case tuple():
            return ["t", *map(_written, value)]
        case list():
            return ["l", *map(_written, value)]
        case dict():
            return ["d", *([key, _written(one)] for key, one in value.items())]
        case Success():
            return ["+", _written(value.unwrap())]
        case Failure():
            return ["-", _written(value.failure())]
        case BodyError():
            return ["e", value.task, value.digest, value.item]
        case BridgeFailed():
            return ["b", value.bridge, value.before, value.after, _written(value.error)]
        case NotEnoughSuccesses():
            return ["n", value.least, value.succeeded]
        case None | int() | str() | float():
            return ["p", value]
    raise TypeError(type(value))


def _read(data: Any) -> Any:  # noqa: PLR0911 - one for each kind
    kind, *rest = data
    match kind:
        case "v":
            return Val(rest[0], None if rest[1] is None else tuple(rest[1]))
        case "t":
            return tuple(map(_read, rest))
        case "l":
            return list(map(_read, rest))
        case "d":
            return {key: _read(one) for key, one in rest}
        case "+":
            return Success(_read(rest[0]))
        case "-":
            return Failure(_read(rest[0]))
        case "e":
            return BodyError(rest[0], rest[1], None if rest[2] is None else tuple(rest[2]))
        case "b":
            return BridgeFailed(*rest[:3], _read(rest[3]))
        case "n":
            return NotEnoughSuccesses(*rest)
        case _:
            return rest[0]


def in_memory(kept: Kept | None = None) -> tuple[Journal, MemoryStore]:
    """A journal in memory."""
    journal = Journal(Path("nowhere"), serializer=Vals())
    journal._writer.store = store = MemoryStore(kept)
    return journal, store
