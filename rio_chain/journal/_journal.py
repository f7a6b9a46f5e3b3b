"""Journal: the records of runs in a file, and what users do with them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from attrs import frozen

from rio_chain._core.chain_base import ChainBase
from rio_chain._core.units import Duration, flag, seconds, short_repr
from rio_chain.errors import ChainDefinitionError, UsageError
from rio_chain.journal._codec import JSON, Serializer
from rio_chain.journal._owner import is_dead
from rio_chain.journal._session import Session, plan_of
from rio_chain.journal._sqlite_store import SqliteStore
from rio_chain.journal._store import RunRow, Store
from rio_chain.journal._writer import Transaction, Writer

if TYPE_CHECKING:
    from types import TracebackType

    from rio_chain.balancer import Balancer
    from rio_chain.chain._plan import Plan
    from rio_chain.chain._request import Request
    from rio_chain.executors._ticket import Ticket
    from rio_chain.results._outcome import Outcome

Out = TypeVar("Out")
RunStatus = Literal["running", "succeeded", "failed", "interrupted"]


@frozen
class RunInfo:
    """What a journal knows of one run.

    Attributes:
        id: its ``run_id``.
        status: ``running``, ``succeeded``, ``failed``, or ``interrupted``: it was cancelled, or its process has ended.
        chain: the title of its chain.
        created: when it was begun first.
        updated: when it was begun or has ended last.
        records: the number of its records.
        owner: the process that began it last.
    """

    id: str
    status: RunStatus
    chain: str
    created: datetime
    updated: datetime
    records: int
    owner: str


class Journal:
    """The records of runs, in a file or in PostgreSQL. A run with a ``run_id`` that it knows goes on where it was.

    The file is made when it is first used, readable by its owner only. Several processes may use it at once. ``close``
    it, or use it in a ``with`` block, to end its thread and to close the file at once.

    Args:
        path: the file; or a database, such as ``"postgresql://user@host/name"``, which needs ``rio-chain[postgres]``.
            Its tables are made when it is first used, and leases are given by its clock.
        serializer: how answers are written: an object with ``dumps`` and ``loads``. Default ``JSON()``.
        lease: how long a run that does not answer counts as running, in milliseconds or as a ``timedelta``. It is
            renewed three times as often. Default 30000.
        on_change: what happens if a known run is begun with another chain: ``"refuse"`` raises ``PlanChanged``
            (default); ``"rerun"`` drops the records of what has changed and of all that depends on it.
        failures: whether a run that has failed has ended, so that its Outcome comes back. Default False: what has
            failed is called again.
        synchronous: ``"normal"``: a power cut may lose the last moments, a crash of the process does not (default).
            ``"full"``: nothing that was recorded is lost, and each commit waits for the disk.

    Raises:
        ChainDefinitionError: an argument is not one of these.
        ImportError: ``path`` is a database, and psycopg is not installed.

    Example:
        >>> import tempfile, pathlib
        >>> from rio_chain import Task
        >>> from rio_chain.journal import Journal
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "runs.db"
        >>> with Journal(path) as journal:
        ...     first = Task(len)("four").run(journal=journal, run_id="order-7")
        ...     again = Task(len)("four").run(journal=journal, run_id="order-7")
        >>> first.only.recalled, again.only.recalled, again.unwrap()
        (False, True, 4)
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        serializer: Serializer | None = None,
        lease: Duration = 30_000,
        on_change: Literal["refuse", "rerun"] = "refuse",
        failures: bool = False,
        synchronous: Literal["normal", "full"] = "normal",
    ) -> None:
        given: tuple[Any, Any, Any, Any] = path, on_change, synchronous, serializer
        if not is_address(path) and (not isinstance(given[0], (str, os.PathLike)) or not _is_path(str(path))):
            raise ChainDefinitionError(
                '`path` must be that of a file, as in Journal("runs.db"), or the address of a database, as in '
                f'Journal("postgresql://user@host/name"); got {short_repr(path)}'
            )
        if given[1] not in ("refuse", "rerun"):
            raise ChainDefinitionError(f"`on_change` must be 'refuse' or 'rerun'; got {short_repr(on_change)}")
        if given[2] not in ("normal", "full"):
            raise ChainDefinitionError(f"`synchronous` must be 'normal' or 'full'; got {short_repr(synchronous)}")
        whole = all(callable(getattr(serializer, name, None)) for name in ("dumps", "loads"))
        if serializer is not None and (not whole or isinstance(given[3], type)):
            raise ChainDefinitionError(
                "`serializer` must be an object with the methods dumps and loads, as in Journal(..., "
                f"serializer=Pickle()); got {short_repr(serializer)}"
            )
        self._serializer: Serializer = JSON() if serializer is None else serializer
        self._rerun = on_change == "rerun"
        self._failures = flag(failures, "failures")
        span = seconds(lease, "lease")
        self.path: Path | str
        """The file, or the address of the database without its password."""
        if is_address(path):
            store, self.path, name = _postgres_store(str(path), synchronous)
        else:
            self.path = Path(os.path.abspath(path))  # noqa: PTH100 - a symbolic link stays one
            store, name = SqliteStore(self.path, synchronous), self.path.name
        self._writer = Writer(store, span, f"rio_chain-journal-{name}")

    def session(self, request: Request[Any], run_id: str) -> Session:
        """For the executors: the journal of one run."""
        return Session(self._writer, self._serializer, request, run_id, rerun=self._rerun, failures=self._failures)

    # --- runs ---------------------------------------------------------------------------------------------------

    def runs(self) -> list[RunInfo]:
        """All runs, in the order in which they were begun first. It reads the file in the calling thread."""
        now, rows = self._rows()
        return [_info(row, records, now) for row, records in rows]

    def status(self, run_id: str) -> RunInfo | None:
        """What is known of one run; None if the journal does not know it."""
        return next((info for info in self.runs() if info.id == run_id), None)

    def outcome(self, request: Request[Out], run_id: str) -> Outcome[Out] | None:
        """The Outcome of a run that has ended, without running anything; None if it has not, or is not known.

        Args:
            request: the chain of the run with its arguments, as ``page(7)``.
            run_id: its id.

        Raises:
            JournalError: the journal can't be read, or knows the id with another chain or other arguments.
        """
        return self.session(request, run_id).known_outcome()

    def create(self) -> None:
        """Make the file, or the tables, now, and not when they are first used."""
        self._writer.read(lambda _: None)

    def _rows(self) -> tuple[float, list[tuple[RunRow, int]]]:
        """The time by the clock of the store, and all runs with the number of their records."""
        found: tuple[float, list[tuple[RunRow, int]]] = self._writer.read(lambda store: (store.now(), store.runs()))
        return found

    def resume(self, balancer: Balancer, *chains: Any) -> dict[str, Ticket[Any]]:
        """Post each interrupted run again, and return the tickets by ``run_id``.

        Args:
            balancer: where they run.
            chains: the chains of these runs. Chains at the top level of a module that is imported are found without.

        Raises:
            ChainDefinitionError: an argument is not a balancer or a chain.
            UsageError: the chain of a run is not among them, or its arguments could not be stored. Nothing was posted.
            QueueFull, BalancerClosed, Saturated: as ``post``.
        """
        from rio_chain.chain._request import Request  # noqa: PLC0415

        for chain in chains:
            if not issubclass(type(chain), ChainBase):
                raise ChainDefinitionError(
                    "`resume` takes chains after the balancer, as in journal.resume(balancer, page); "
                    f"got {short_repr(chain)}"
                )
        if not callable(getattr(balancer, "post", None)):
            raise ChainDefinitionError(
                f"`resume` takes a balancer, as in journal.resume(balancer, page); got {short_repr(balancer)}"
            )
        now, rows = self._rows()
        open_runs = [row for row, _ in rows if _status(row, now) == "interrupted"]
        plans = (*_plans(), *(chain.plan() for chain in chains)) if open_runs else ()
        known = {plan_of(plan): plan for plan in plans}
        requests: dict[str, Request[Any]] = {}
        for row in open_runs:
            plan = known.get(row.plan)
            if plan is None:
                raise UsageError(
                    f"run {row.id!r} was begun with the chain {row.title}, which is not known here; give it: "
                    "journal.resume(balancer, page)"
                )
            if row.request is None:
                raise UsageError(
                    f"the arguments of run {row.id!r} could not be stored; run it again by hand: "
                    f"page(...).run(journal=journal, run_id={row.id!r})"
                )
            args, kwargs = self._serializer.loads(row.request)
            requests[row.id] = Request(plan, tuple(args), kwargs)
        return {run_id: balancer.post(one, journal=self, run_id=run_id) for run_id, one in requests.items()}

    def forget(self, older_than: Duration) -> int:
        """Delete the runs that ended longer ago than this, with their records, and return their number.

        Args:
            older_than: in milliseconds or as a ``timedelta``. Runs that have not ended are kept.
        """
        age = seconds(older_than, "older_than", zero=True)

        def forget(transaction: Transaction) -> int:
            until = transaction.now - age
            ended = [row.number for row, _ in transaction.store.runs() if row.state in _ENDED and row.updated <= until]
            transaction.store.drop_runs(ended)
            return len(ended)

        count: int = self._writer.call(forget)
        return count

    # --- closing ------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Write what is left, end the thread, and close the file. If the journal is used again, it is opened again."""
        self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Journal({str(self.path)!r})"


def is_address(path: object) -> bool:
    """Whether it is that of a PostgreSQL database."""
    return isinstance(path, str) and path.startswith(("postgresql://", "postgres://"))


def _postgres_store(dsn: str, synchronous: str) -> tuple[Store, str, str]:
    """The store, what is shown of its address, and a name for its thread."""
    if find_spec("psycopg") is None:
        raise ImportError("a Journal in PostgreSQL needs psycopg: `pip install 'rio-chain[postgres]'`", name="psycopg")
    from rio_chain.journal._postgres_store import PostgresStore  # noqa: PLC0415 - needs the extra

    store = PostgresStore(dsn, synchronous)
    return store, store.shown, store.shown.rpartition("/")[2]


def _is_path(path: str) -> bool:
    """Whether it can be that of a file."""
    try:
        return bool(path) and "://" not in path and b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        return False


_ENDED = ("succeeded", "failed")


def _status(row: RunRow, now: float) -> RunStatus:
    if row.state == "running":
        return "interrupted" if row.until < now or is_dead(row.owner) else "running"
    status: Any = row.state
    return status  # type: ignore[no-any-return]


def _info(row: RunRow, records: int, now: float) -> RunInfo:
    created, updated = (datetime.fromtimestamp(at, UTC) for at in (row.created, row.updated))
    return RunInfo(row.id, _status(row, now), row.title, created, updated, records, row.owner.partition(" [")[0])


def _plans() -> Iterator[Plan]:
    """The plans of the chains at the top level of the imported modules. One that can't run has no plan."""
    for module in list(sys.modules.values()):
        try:
            values = list(vars(module).values())
        except TypeError:
            continue
        for value in values:
            if issubclass(type(value), ChainBase):
                with suppress(ChainDefinitionError):
                    yield value.plan()


def journal_of(journal: object, run_id: object, request: Request[Any]) -> Session | None:
    """The session for the arguments ``journal`` and ``run_id`` of a call.

    Raises:
        ChainDefinitionError: one is missing, or is of another type.
    """
    if journal is None and run_id is None:
        return None
    if journal is None:
        raise ChainDefinitionError(
            '`run_id` needs the journal that knows it: run(journal=Journal("runs.db"), run_id=...)'
        )
    if not isinstance(journal, Journal):
        raise ChainDefinitionError(f'`journal` must be a Journal, as Journal("runs.db"); got {short_repr(journal)}')
    if run_id is None:
        raise ChainDefinitionError('`journal` needs the id of the run: run(journal=journal, run_id="order-7")')
    if not isinstance(run_id, str) or not run_id or not run_id.isprintable():
        got = short_repr(run_id)
        raise ChainDefinitionError(f"`run_id` must be a text of printable characters, and not empty; got {got}")
    return journal.session(request, run_id)
