"""The interface of the place where a journal keeps its runs and records. All of it is synchronous.

The writer calls it inside of transactions: ``begin``, any number of other calls, then ``commit`` or ``rollback``. A
transaction excludes all other writers of the runs that it reads and writes, also those of other processes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

from attrs import define

Data = str | bytes | None


@define
class RunRow:
    """What is kept of one run."""

    id: str
    number: int = 0
    """Given by the store."""
    fence: int = 0
    """The number of its lease; it grows with each."""
    owner: str = ""
    until: float = 0.0
    """When the lease ends, in seconds since 1970; 0: nobody has it."""
    state: str = "running"
    """``running``, ``succeeded``, ``failed`` or ``interrupted``."""
    title: str = ""
    plan: str = "[]"
    """The parts of its chain, as JSON."""
    arguments: bytes | None = None
    """Their digest."""
    request: Data = None
    """Its arguments, if they can be stored."""
    key: bytes = b""
    created: float = 0.0
    updated: float = 0.0
    outcome: str | None = None
    """The end of the run, as JSON."""


class Row(NamedTuple):
    """A record."""

    place: str
    digest: bytes | None
    value: Data
    more: str | None
    """What else belongs to it, as JSON."""


class Store(Protocol):
    """One connection, used by one thread at a time."""

    def begin(self, *, write: bool = True) -> None:
        """Begin a transaction. Opens the store if necessary. ``write``: False to read only, which waits for no writer.

        Raises:
            JournalError: the store can't be used. Any other method may raise it as well.
        """

    def commit(self) -> None:
        """Make it last."""

    def rollback(self) -> None:
        """Drop it. It raises nothing."""

    def now(self) -> float:
        """The time at which the transaction began, in seconds since 1970. All who use the store have the same clock."""
        ...

    def run(self, run_id: str) -> RunRow | None:
        """A run by its id."""
        ...

    def runs(self) -> list[tuple[RunRow, int]]:
        """All runs, the oldest first, with the number of their records."""
        ...

    def lease(self, number: int) -> tuple[int, float]:
        """The number of the last lease of a run, and when it ends; (-1, 0) if there is no such run."""
        ...

    def renew(self, number: int, until: float) -> None:
        """Let its lease end at another time."""

    def put_run(self, row: RunRow) -> int:
        """Insert a run, or replace what is kept of it. Returns its number."""
        ...

    def records(self, number: int) -> list[Row]:
        """The records of a run."""
        ...

    def put_records(self, number: int, rows: Iterable[Row]) -> None:
        """Insert or replace records."""

    def drop_records(self, number: int, places: Iterable[str]) -> None:
        """Delete records."""

    def drop_runs(self, numbers: Iterable[int]) -> None:
        """Delete runs with their records."""

    def close(self) -> None:
        """Close it. It is opened again when it is used."""

    def abandon(self) -> Any:
        """In a forked child: forget the connection of the parent without touching it. Returns what must be kept."""


def is_plan(text: Any) -> bool:
    """Whether the text is what is stored of a plan: its labels, each with its description."""
    try:
        return all(bool(label) and isinstance(about, str) for label, about in json.loads(text))
    except (TypeError, ValueError):
        return False
