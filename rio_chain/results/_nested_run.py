"""The run of a Request that a task returned, kept in the record of that task."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from rio_chain.results._failed import Failed
from rio_chain.results._task_record import Log, close, record_of

if TYPE_CHECKING:
    from rio_chain.chain._plan import Plan
    from rio_chain.results._outcome import Outcome


INTERRUPTED: Any = Failed(None)
"""The result of a nested run that was interrupted, until its task has ended too."""


class NestedRun:
    """The record of a nested run. ``Response.nested`` gives the Outcome made from it.

    It ends by itself, or together with the task that it is a part of.
    """

    __slots__ = ("_got", "_log", "_over", "_plan", "_times")

    kind: ClassVar[type[Outcome[Any]]]
    """The class of Outcome. It is set there, as this module can't import it."""

    def __init__(self, plan: Plan, log: Log, times: tuple[float, float], over: Callable[[Any], None] | None) -> None:
        self._plan = plan
        self._log = log
        self._times = times  # began, ended
        self._over = over  # called with the cause when it has ended
        self._got: Any = INTERRUPTED

    def end(self, got: Any) -> None:
        """It has ended with a value, or with ``Failed``."""
        self._got = got
        if self._over is not None:
            over, self._over = self._over, None
            over(got.error if type(got) is Failed else None)

    def interrupted(self, error: Any) -> None:
        """Its task has ended with ``error``. It works without recursion, as a task may return its own Request."""
        todo, found = [self], list[NestedRun]()
        while todo:
            one = todo.pop()
            if one._got is INTERRUPTED:  # noqa: SLF001 - one of its own
                found.append(one)
                todo += [entry.nested for entry in one._log if getattr(entry, "nested", None) is not None]  # noqa: SLF001
        for one in reversed(found):  # the innermost first, so that the others find the ones inside them ended
            close(one._log, 0, len(one._log), error)  # noqa: SLF001
            one.end(Failed(error))

    def shift(self, by: float) -> Log:
        """Move its times by so many seconds; gives its log, whose times are as they were."""
        began, ended = self._times
        self._times = began + by, ended + by
        return self._log

    @property
    def began(self) -> float:
        """When it began, on the clock of the run."""
        return self._times[0]

    def outcome(self) -> Outcome[Any]:
        """Make the Outcome."""
        began, ended = self._times
        return self.kind(self._plan, self._log, self._got, (began, began, ended))


class _Run(Protocol):
    """The part of a run's state that is read here."""

    plan: Plan
    log: Log

    @property
    def observed(self) -> bool:
        """Whether its events are reported."""
        ...

    def over(self, cause: Any = None) -> None:
        """Nothing more will happen in this run."""
        ...


def note_nested(log: Log, index: int | None, run: _Run, times: tuple[float, float], got: Any) -> None:
    """Record that the task ``index``, or a bridge (None), returned a Request, whose run gave ``got``."""
    if index is None:
        return  # a bridge has no record
    nested = NestedRun(run.plan, run.log, times, run.over if run.observed else None)
    record_of(log, index).nested = nested
    if got is not INTERRUPTED:
        nested.end(got)
