"""What the engine needs of a journal: what is recorded of one run, and how to record more."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from rio_chain.engine._current_run import Run
    from rio_chain.engine._instructions import JournalPart


class Found(NamedTuple):
    """A record that is used again."""

    value: Any
    kept: tuple[Any, ...] = ()
    """The values that later tasks use."""
    way: int | None = None
    """The recorded way of a ``choose`` or an ``or_else``; None for an answer."""


class Write(Protocol):
    """Something that is being written."""

    @property
    def done(self) -> bool:
        """Whether it is committed, or has failed."""
        ...

    @property
    def error(self) -> Exception | None:
        """Why it failed."""
        ...

    def on_done(self, wake: Callable[[], None], home: object) -> None:
        """Begin to write. Call ``wake`` once it is done, from any thread.

        Of several that are done together and have the same ``home``, only the first is woken. It calls ``wake_others``.
        """

    def wake_others(self) -> None:
        """Wake those that were done together with this one. That is cheaper on their own loop."""

    def finish(self) -> None:
        """Write it now, in the calling thread."""


class RunJournal(Protocol):
    """The journal of one run. All of it is synchronous; only a ``Write`` takes time."""

    key: bytes
    """The random number of the run, of which the idempotency keys are made. It outlives the process."""

    times: tuple[float, float, float] | None
    """Of a run that had ended before: when it was posted, began and ended."""

    def begin(self, run: Run) -> Write:
        """Take the lease, and read the records. The ``Write`` fails if the run may not go on here."""
        ...

    def finished(self, run: Run) -> tuple[Any] | None:
        """If the run had ended before: fill its log, and return its value or ``Failed``."""
        ...

    def recall(self, run: Run, part: JournalPart, inputs: tuple[Any, ...]) -> tuple[Found | None, bytes | None]:
        """The record of this part for these inputs, if there is one, and the digest of the inputs."""
        ...

    def record(self, run: Run, part: JournalPart, digest: bytes | None, value: Any, kept: list[Any]) -> Write | None:
        """Record the answer of a part. None if it can't be recorded by its nature, such as an iterator.

        Raises:
            NotStorable: the serializer can't write the value.
        """
        ...

    def note(self, run: Run, part: JournalPart, digest: bytes | None, way: int) -> None:
        """Record the way that a part takes. What is recorded later is written later."""

    def new_round(self, run: Run, pc: int, depth: int, retries: int) -> None:
        """The retry that was entered at this instruction and layer calls its inner part again."""

    def end(self, run: Run, got: Any) -> Write | None:
        """The run has ended with a value or ``Failed``."""
        ...

    def leave(self) -> None:
        """The run was interrupted: give back the lease. It does not wait."""
