"""The record of a call of a script."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from attrs import field, frozen

from rio_chain._core.units import escape_nonprintable, milliseconds, short_repr
from rio_chain.engine._current_run import Here

NS = 6
"""Times of calls are rounded to this many places of a millisecond."""

CallStatus = Literal["running", "succeeded", "failed", "cancelled"]


@frozen
class ScriptCall:
    """One call of a script. Times are milliseconds; see ``Script.calls``.

    Attributes:
        args: the positional arguments.
        kwargs: the keyword arguments, for example from ``.using``.
        began: when it began.
        ended: when it answered, failed or was cancelled; None: not yet.
        status: ``running``, ``succeeded``, ``failed`` or ``cancelled``.
        error: the class of the error that it failed with.
        task: the task that called it; "" outside of a run. Comparisons of calls ignore it.
    """

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(factory=dict[str, Any], kw_only=True)
    began: float = field(default=0.0, kw_only=True)
    ended: float | None = field(default=None, kw_only=True)
    status: CallStatus = field(default="succeeded", kw_only=True)
    error: type[Any] | None = field(default=None, kw_only=True)
    task: str = field(default="", kw_only=True, eq=False)

    def __str__(self) -> str:
        """One line, as ``fetch_user(42)  0 -> 20 ms  failed: OSError``."""
        given = [short_repr(arg) for arg in self.args] + [
            f"{escape_nonprintable(k)}={short_repr(v)}" for k, v in self.kwargs.items()
        ]
        until = "" if self.ended is None else f" -> {self.ended:.10g}"
        error = "" if self.error is None else f": {escape_nonprintable(self.error.__name__)}"
        return f"{self.task or 'call'}({', '.join(given)})  {self.began:.10g}{until} ms  {self.status}{error}"


class CallNote:
    """A call while it is recorded. Times are seconds since the script's time began."""

    __slots__ = ("args", "began", "ended", "error", "kwargs", "now", "origin", "status", "task")

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any], where: Here) -> None:
        self.args, self.kwargs = args, kwargs
        self.task, self.now, self.origin = where
        self.began = self.now() - self.origin
        self.ended: float | None = None
        self.status: CallStatus = "running"
        self.error: type[Any] | None = None

    def end(self, status: CallStatus, error: type[Any] | None = None) -> None:
        """The call has ended."""
        self.ended = self.now() - self.origin
        self.status, self.error = status, error

    def as_script_call(self) -> ScriptCall:
        """The call as users see it."""
        ended = None if self.ended is None else _ms(self.ended)
        return ScriptCall(
            self.args,
            kwargs=self.kwargs,
            began=_ms(self.began),
            ended=ended,
            status=self.status,
            error=self.error,
            task=self.task,
        )


def _ms(value: float) -> float:
    return round(milliseconds(value), NS)
