"""Handles the late answers of calls that were given up."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rio_chain.engine._current_run import Run
    from rio_chain.engine._instructions import Branch


class LateAnswers(ABC):
    """Gets the unused answers of a strand's calls, so that they are closed. If there are several, the innermost does.

    Such a strand runs a call of a hedge or race, or a branch of a fan-out that does not need all branches.
    """

    __slots__ = ()

    outer: LateAnswers | None = None
    """The one around it, if that belongs to a race whose call runs in the same strand."""

    @property
    def lost(self) -> bool:
        """Whether the call in its strand is no longer needed, and was interrupted for that reason."""
        return False

    def shift(self, run: Run, task: int) -> int:  # noqa: ARG002 - as RaceFrame
        """The distance of this task from the task of the first call, if the strand makes the same call elsewhere."""
        return 0

    def first_task(self, task: int) -> int | None:  # noqa: ARG002 - as RaceFrame
        """In a hedge, the same task in the first call; in a race, the first task of the first call."""
        return None

    @abstractmethod
    def answered_late(self, value: Any) -> None:
        """A call that was given up has answered. This may run on any thread."""

    @abstractmethod
    def answered_just_now(self, value: Any) -> None:
        """A call has answered at the moment when it was interrupted."""


def beside_first(branches: Sequence[Branch], number: int, task: int, *, hedge: bool) -> int | None:
    """``first_task`` of this call of a race."""
    branch, first = branches[number % len(branches)], branches[0]
    if hedge:  # the same call, maybe in another branch
        return task - branch.low + first.low
    return first.low if first.high > first.low else None
