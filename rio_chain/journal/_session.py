"""One run with a journal: which records are used again, and what is recorded. Nothing here waits."""

from __future__ import annotations

import json
import os
import threading
from collections import deque
from difflib import ndiff
from typing import TYPE_CHECKING, Any

from attrs import evolve

from rio_chain._journal_errors import ArgumentsChanged, JournalError, LeaseLost, NotStorable, PlanChanged, RunInUse
from rio_chain.chain._request import Request
from rio_chain.engine._attempt import KEY_BYTES
from rio_chain.engine._current_run import Run
from rio_chain.engine._instructions import JournalPart
from rio_chain.engine._item_runner import NO_KEY
from rio_chain.engine._journal_labels import Labels, labels_of
from rio_chain.engine._journal_places import PlaceFinder, is_after, top_label
from rio_chain.engine._journal_protocol import Found
from rio_chain.errors import describe_error
from rio_chain.journal._codec import Serializer, digest_of, is_iterator
from rio_chain.journal._log_codec import LogCodec
from rio_chain.journal._owner import is_dead, this_process
from rio_chain.journal._store import Row, RunRow
from rio_chain.journal._writer import Call, Job, Put, Transaction, Writer
from rio_chain.policies._keys import as_given, text_of
from rio_chain.results._failed import Failed
from rio_chain.results._outcome import Outcome
from rio_chain.results._task_record import TaskRecord, record_of, status_of

if TYPE_CHECKING:
    from rio_chain.chain._plan import Plan


class Session:
    """The journal of one run. It is a ``RunJournal`` of the engine, and has the lease for the writer."""

    def __init__(
        self, writer: Writer, serializer: Serializer, request: Request[Any], run_id: str, *, rerun: bool, failures: bool
    ) -> None:
        self.run_id = run_id
        self.number = 0
        self.fence = 0
        self.key = b""
        self.times: tuple[float, float, float] | None = None
        self._writer = writer
        self._serializer = serializer
        self._request = request
        self._rerun, self._failures = rerun, failures
        self._finder = PlaceFinder(self._item_text)
        self._rows: dict[str, Row] = {}  # what may be recalled; each is taken once
        self._notes: deque[Row] = deque()  # what is written with the next answer
        self._dropped: tuple[str, ...] = ()  # what is deleted with the next answer
        self._lock = threading.RLock()
        self._known: RunRow | None = None  # as it was when the run began
        self._run: Run | None = None
        self._virtual = False
        self._leased = False
        self._codec = LogCodec(serializer, 0.0)

    # --- the beginning ------------------------------------------------------------------------------------------

    def begin(self, run: Run) -> Job:
        """As ``RunJournal.begin``."""
        self._run = run
        if run.root is not None:
            self._virtual = run.root.rt.virtual
            self._codec.start = run.root.rt.now()
        plan, args, kwargs = self._request.given
        arguments = digest_of((args, dict(kwargs)), self._serializer)
        request = _stored(self._serializer, [list(args), dict(kwargs)])
        new = RunRow(
            self.run_id,
            title=plan.title,
            plan=json.dumps(labels_of(plan).parts),
            arguments=arguments,
            request=request,
            key=os.urandom(KEY_BYTES),
        )
        return Call(self._writer.submit, lambda transaction: self._take(transaction, new))

    def _take(self, transaction: Transaction, new: RunRow) -> None:
        """Take the lease, and read the records."""
        store, now = transaction.store, transaction.now
        known = store.run(self.run_id)
        if known is not None:
            self._check(known, new)
            if known.until > now and not is_dead(known.owner):
                raise RunInUse(self.run_id, known.owner.partition(" [")[0], known.until)
        row = known or evolve(new, created=now)
        changed = known is not None and known.plan != new.plan
        ended = {"succeeded", "failed"} if self._failures else {"succeeded"}
        if known is not None and known.outcome is not None and known.state in ended and not changed:
            self.key, self._known = known.key, known
            return
        row = evolve(
            row,
            plan=new.plan,
            title=new.title,
            arguments=new.arguments,
            request=new.request,
            fence=row.fence + 1,
            owner=this_process(),
            until=now + self._writer.lease,
            state="running",
            updated=now,
            outcome=None,
        )
        self.number = store.put_run(row)
        transaction.forget_leases()
        self.fence, self.key = row.fence, row.key
        self._known = evolve(row, number=self.number)
        records = store.records(self.number) if known is not None else []
        if changed:
            parts = {label for label, _ in json.loads(new.plan)}
            gone = [one.place for one in records if top_label(one.place) not in parts]
            store.drop_records(self.number, gone)
            records = [one for one in records if top_label(one.place) in parts]
        self._rows = {one.place: one for one in records}
        self._leased = True
        self._writer.begun(self)

    def _check(self, known: RunRow, new: RunRow) -> None:
        before, after = json.loads(known.plan), json.loads(new.plan)
        if [label for label, _ in before] != [label for label, _ in after] and not self._rerun:
            raise PlanChanged(self.run_id, _difference(before, after))
        if known.arguments is not None and new.arguments is not None and known.arguments != new.arguments:
            raise ArgumentsChanged(self.run_id)

    def finished(self, run: Run) -> tuple[Any] | None:
        """As ``RunJournal.finished``."""
        known = self._known
        if self._leased or known is None or known.outcome is None:
            return None
        now = self._codec.start
        try:
            data = json.loads(known.outcome)
            self.times = (now, now + data["times"][0], now + data["times"][1])
            self._codec.fill(run.log, 0, data["log"], recalled=True)
            return (self._codec.read_got(data["got"]),)
        except Exception as error:  # noqa: BLE001 - of the user's serializer, which may be another one now
            raise self._unreadable("the Outcome", error) from None

    def _unreadable(self, what: str, error: Exception) -> JournalError:
        return JournalError(
            f"{what} of run {self.run_id!r} can't be read; was it written by another serializer? "
            f"{type(error).__name__}: {describe_error(error, str)}"
        )

    def known_outcome(self) -> Outcome[Any] | None:
        """The Outcome of a run that has ended, without a lease; None if it has not, or is not known.

        Raises:
            JournalError: the journal can't be read, or knows the id with another chain or other arguments.
        """
        known: RunRow | None = self._writer.read(lambda store: store.run(self.run_id))
        if known is None or known.outcome is None:
            return None
        plan, args, kwargs = self._request.given
        arguments = digest_of((args, dict(kwargs)), self._serializer)
        self._rerun = False  # a log of another chain can't be read
        self._check(known, RunRow(self.run_id, plan=plan_of(plan), arguments=arguments))
        self._known, run = known, Run(plan)
        found = self.finished(run)
        return None if found is None or self.times is None else Outcome(plan, run.log, found[0], self.times)

    # --- places -------------------------------------------------------------------------------------------------

    def _item_text(self, work: Any) -> str:
        """An item by its number, or by its key where it has one."""
        if work.key is NO_KEY:
            return str(work.number)
        digest = digest_of((text_of(work.key) or as_given(work.key),), self._serializer)
        return str(work) if digest is None else f"key {digest.hex()}"

    def new_round(self, run: Run, pc: int, depth: int, retries: int) -> None:
        """As ``RunJournal.new_round``."""
        with self._lock:
            self._finder.new_round(run, pc, depth, retries)

    # --- recalling ----------------------------------------------------------------------------------------------

    def recall(self, run: Run, part: JournalPart, inputs: tuple[Any, ...]) -> tuple[Found | None, bytes | None]:
        """As ``RunJournal.recall``."""
        digest = digest_of(inputs, self._serializer)
        if not self._rows:
            return None, digest
        with self._lock:
            place = self._finder.place(run, part)
            row = self._rows.pop(place, None)
            if row is not None and row.digest is not None and digest is not None and row.digest != digest:
                self._drop_after(run, place)
                row = None
        if row is None:
            return None, digest
        try:
            return self._found(run, part, row), digest
        except Exception as error:  # noqa: BLE001 - of the user's serializer, which may be another one now
            raise self._unreadable(f"the answer of `{part.name}`", error) from None

    def _drop_after(self, run: Run, place: str) -> None:
        """The input at this place is another one: nothing that may depend on its answer is used."""
        levels: list[Labels] = self._finder.levels(run)
        gone = [one for one in self._rows if is_after(one, place, levels)]
        for one in gone:
            del self._rows[one]
        self._dropped = (*self._dropped, place, *gone)

    def _found(self, run: Run, part: JournalPart, row: Row) -> Found:
        more: dict[str, Any] = {} if row.more is None else json.loads(row.more)
        if "log" in more:
            self._codec.fill(run.log, part.low, more["log"], recalled=row.value is not None)
        if "way" in more:
            if more["way"] not in range(len(part.ways)):
                raise ValueError(f"there is no way {more['way']}")
            return Found(None, way=more["way"])
        value = self._serializer.loads(row.value)
        if part.jump < 0 and "log" not in more:
            entry = record_of(run.log, part.low)
            entry.began = entry.ended = self._codec.start if run.root is None else run.root.rt.now()
            entry.calls = more.get("attempts", 1)
            entry.recalled = True
            entry.succeeded(value)
        return Found(value, tuple(self._codec.read_value(one) for one in more.get("kept", ())))

    # --- recording ----------------------------------------------------------------------------------------------

    def record(self, run: Run, part: JournalPart, digest: bytes | None, value: Any, kept: list[Any]) -> Job | None:
        """As ``RunJournal.record``."""
        entry: Any = run.log[part.low] if part.low < part.high else None
        if is_iterator(value):
            return None
        more: dict[str, Any] = {}
        if part.whole or part.jump >= 0:
            more = self._log_of(run, part)
        elif type(entry) is not tuple:
            if isinstance(entry, TaskRecord) and entry.nested is not None:
                return None  # the function is called again, and what is in its Request is recalled
            if isinstance(entry, TaskRecord) and entry.calls != 1:
                more["attempts"] = entry.calls
        try:
            data = self._serializer.dumps(value)
            if kept:
                more["kept"] = [self._codec.value(one) for one in kept]
        except Exception as error:  # noqa: BLE001 - of the user's serializer
            raise NotStorable(part.name, describe_error(error, str)) from None
        dropped: tuple[str, ...] = ()
        rows: list[Row] = []
        if self._notes or self._dropped or self._finder.has_rounds:
            with self._lock:
                place = self._finder.place(run, part)
                dropped, self._dropped = self._dropped, ()
                rows = self._taken_notes()
        else:  # nothing here changes, so that the threads of an `each` need not wait for each other
            place = self._finder.place(run, part)
        rows.append(Row(place, digest, data, json.dumps(more) if more else None))
        return Put(self._writer.submit, self, rows, dropped)

    def note(self, run: Run, part: JournalPart, digest: bytes | None, way: int) -> None:
        """As ``RunJournal.note``."""
        more = {"way": way, **(self._log_of(run, part) if len(part.ways) == 1 and part.name == "or_else" else {})}
        with self._lock:
            self._notes.append(Row(self._finder.place(run, part), digest, None, json.dumps(more)))

    def _taken_notes(self) -> list[Row]:
        rows: list[Row] = []
        while self._notes:
            rows.append(self._notes.popleft())
        return rows

    def _log_of(self, run: Run, part: JournalPart) -> dict[str, Any]:
        """The log of a part. Without it if a value in it can't be stored: only Responses would show it."""
        try:
            return {"log": self._codec.log(run.log[part.low : part.high])}
        except Exception:  # noqa: BLE001 - of the user's serializer
            return {}

    # --- the end ------------------------------------------------------------------------------------------------

    def end(self, run: Run, got: Any) -> Job | None:
        """As ``RunJournal.end``."""
        if not self._leased:
            return None
        self._leased = False
        self._writer.ended(self)  # now, as the write may fail: then the lease ends by itself
        stopped = run.stop_error
        if isinstance(stopped, LeaseLost):
            return None
        error = got.error if type(got) is Failed else stopped
        state = "succeeded" if type(got) is not Failed and stopped is None else "failed"
        unwritten = isinstance(error, JournalError) and not isinstance(error, NotStorable)
        if state == "failed" and (unwritten or status_of(error) == "cancelled"):
            state = "interrupted"
        outcome = self._outcome(run, got) if state == "succeeded" or (state == "failed" and self._failures) else None
        notes = self._taken_notes()
        return Call(self._writer.submit, lambda transaction: self._give_back(transaction, state, outcome, notes))

    def _outcome(self, run: Run, got: Any) -> str | None:
        """The end of the run as JSON. None if something in it can't be stored: then its records are used again."""
        ended = 0.0 if run.root is None else run.root.rt.now()
        times = [0.0, ended - self._codec.start]
        try:
            return json.dumps({"log": self._codec.log(run.log), "got": self._codec.got(got), "times": times})
        except Exception:  # noqa: BLE001 - of the user's serializer
            return None

    def _give_back(self, transaction: Transaction, state: str, outcome: str | None, notes: list[Row]) -> None:
        self._writer.ended(self)
        transaction.check(self)
        known = transaction.store.run(self.run_id)
        if known is not None:
            transaction.store.put_records(self.number, notes)
            transaction.store.put_run(evolve(known, until=0.0, state=state, updated=transaction.now, outcome=outcome))
            transaction.forget_leases()

    def leave(self) -> None:
        """As ``RunJournal.leave``."""
        self._writer.ended(self)
        job = Call(self._writer.submit, self._give_up)
        if self._virtual:
            job.finish()
        else:
            self._writer.submit(job)

    def _give_up(self, transaction: Transaction) -> None:
        if self._leased:
            self._leased = False
            self._give_back(transaction, "interrupted", None, [])

    def lost(self) -> None:
        """As ``Leased.lost``."""
        run = self._run
        if run is not None and self._leased:
            run.stop(LeaseLost(self.run_id))


def _stored(serializer: Serializer, value: Any) -> str | bytes | None:
    try:
        return serializer.dumps(value)
    except Exception:  # noqa: BLE001 - the run can go on by hand, but not by `resume`
        return None


def _difference(before: list[list[str]], after: list[list[str]]) -> tuple[str, ...]:
    """The parts that differ, as lines with ``-`` and ``+``; both have the same text if only their input differs."""
    old, new = [text for _, text in before], [text for _, text in after]
    lines = tuple(line for line in ndiff(old, new) if line[0] in "-+")
    return lines or ("the same parts, in another structure",)


def plan_of(plan: Plan) -> str:
    """What is stored of a plan."""
    return json.dumps(labels_of(plan).parts)
