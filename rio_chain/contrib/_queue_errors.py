"""The errors of a durable queue."""

from __future__ import annotations

from rio_chain.errors import RioError


class RunIdTaken(RioError):
    """A run with this id was posted with another chain or with other arguments.

    Attributes:
        run_id: the id.
        what: what differs: ``chain`` or ``arguments``.
    """

    def __init__(self, run_id: str, what: str) -> None:
        super().__init__(run_id, what)
        self.run_id, self.what = run_id, what

    def __str__(self) -> str:
        which = "another chain" if self.what == "chain" else "other arguments"
        return f"run {self.run_id!r} was posted with {which}; use another run_id"


class UnknownRun(RioError, LookupError):
    """The queue has no run with this id: it was never posted, or it was forgotten.

    Attributes:
        run_id: the id.
    """

    def __init__(self, run_id: str) -> None:
        super().__init__(run_id)
        self.run_id = run_id

    def __str__(self) -> str:
        return f"there is no run {self.run_id!r} in this queue: it was never posted, or it was forgotten"


class RunFailed(RioError):
    """A run has failed, perhaps in another process. This replaces the error that it ended with.

    Attributes:
        kind: the class of the error, with its module.
        text: the text of the error.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(kind, text)
        self.kind, self.text = kind, text

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


class DeadRun(RioError):
    """The workers of a run have died several times, so it is a dead letter. ``post_again`` posts it again.

    Attributes:
        run_id: the id.
        deaths: how many workers have died while they ran it.
    """

    def __init__(self, run_id: str, deaths: int) -> None:
        super().__init__(run_id, deaths)
        self.run_id, self.deaths = run_id, deaths

    def __str__(self) -> str:
        return (
            f"run {self.run_id!r} is a dead letter: {self.deaths} of its workers have died; `post_again` posts it again"
        )
