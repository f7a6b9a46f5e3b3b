"""The errors of a journal.

A run that can't begin raises one of the first group. A run that has begun ends with a ``Failure`` that holds one of
them; no retry and no fallback sees it.
"""

from __future__ import annotations

from rio_chain.errors import RioError


class JournalError(RioError):
    """The root of the errors of a journal. By itself: the file can't be used; the text says why."""


class JournalCorrupt(JournalError):
    """The file is damaged, or is not a journal. It is left as it is."""


class JournalReadOnly(JournalError):
    """The file of the journal can't be written."""


class JournalFull(JournalError):
    """There is no space left on the disk. What was committed before is kept."""


class JournalTooNew(JournalError):
    """A newer version of rio_chain has written this journal. It is left as it is.

    ``found`` is the version of the file, and ``known`` the newest one that this rio_chain can read.
    """

    def __init__(self, path: str, found: int, known: int) -> None:
        super().__init__(path, found, known)
        self.path, self.found, self.known = path, found, known

    def __str__(self) -> str:
        return (
            f"the journal {self.path} has the version {self.found}, and this rio_chain reads versions up to "
            f"{self.known}; use a newer rio_chain, or another file"
        )


class PlanChanged(JournalError):
    """A run with this id was begun with another chain. ``difference`` has a line for each part that differs."""

    def __init__(self, run_id: str, difference: tuple[str, ...]) -> None:
        super().__init__(run_id, difference)
        self.run_id, self.difference = run_id, difference

    def __str__(self) -> str:
        lines = "".join(f"\n  {line}" for line in self.difference)
        return (
            f"run {self.run_id!r} was begun with another chain; use another run_id, or "
            f'Journal(..., on_change="rerun") to call what has changed and all that depends on it:{lines}'
        )


class ArgumentsChanged(JournalError):
    """A run with this id was begun with other arguments."""

    def __init__(self, run_id: str) -> None:
        super().__init__(run_id)
        self.run_id = run_id

    def __str__(self) -> str:
        return f"run {self.run_id!r} was begun with other arguments; use another run_id for other arguments"


class RunInUse(JournalError):
    """This run is running elsewhere. ``owner`` says where, and ``until`` is the time when its lease ends."""

    def __init__(self, run_id: str, owner: str, until: float) -> None:
        super().__init__(run_id, owner, until)
        self.run_id, self.owner, self.until = run_id, owner, until

    def __str__(self) -> str:
        return f"run {self.run_id!r} is running in {self.owner}; wait for it, or use another run_id"


class LeaseLost(JournalError):
    """The lease of the run has ended: its process did not renew it in time. Another process may have taken it over."""

    def __init__(self, run_id: str) -> None:
        super().__init__(run_id)
        self.run_id = run_id

    def __str__(self) -> str:
        return f"the lease of run {self.run_id!r} has ended, so it writes nothing more; run it again to go on"


class NotStorable(JournalError, TypeError):
    """The answer of a task can't be written to the journal. ``name`` is the task."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name, self.reason = name, reason

    def __str__(self) -> str:
        return (
            f"the answer of `{self.name}` can't be stored: {self.reason}; return plain data, or give "
            "Journal(..., serializer=...)"
        )


class RecalledError(RioError):
    """An error that a journal has kept as text. ``kind`` is the name of its class."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(kind, text)
        self.kind, self.text = kind, text

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}" if self.text else self.kind
