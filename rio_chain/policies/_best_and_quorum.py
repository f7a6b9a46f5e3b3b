"""Choosers that compare the answers of several replicas. ``_first`` has the one that does not."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

from attrs import field, frozen

from rio_chain._core.source_text import fn_source
from rio_chain._core.units import Duration, count, format_duration, number, seconds, short_repr
from rio_chain.policies._checks import callback, title
from rio_chain.policies._chooser import Arrival, Ask, Decision
from rio_chain.policies._number_format import exact_ms, exact_number


@frozen
class _Score:
    """The user's score as a function that returns a number, or None if the answer is rejected."""

    fn: Callable[[Any], Any] = field(hash=False)

    @property
    def __name__(self) -> str:
        """The name of the user's function, for errors."""
        return title(self.fn)

    def __call__(self, value: Any, /) -> float | None:
        """The score.

        Raises:
            TypeError: the score is neither a number nor None.
        """
        got = self.fn(value)
        if got is None or isinstance(got, Real):
            return None if got is None or math.isnan(got) else float(got)
        raise TypeError(f"a score must be a number, or None for an unacceptable answer; got {short_repr(got)}")


@frozen(repr=False)
class Best:
    """The answer with the highest score, among those that come within ``within`` seconds of the first answer."""

    score: Callable[[Any], Any] = field(hash=False)
    within: float
    enough: float | None = None

    @property
    def ask(self) -> Ask | None:
        """As ``Chooser.ask``."""
        return Ask("score", _Score(self.score))

    @property
    def least(self) -> int:
        """As ``Chooser.least``."""
        return 1

    def good(self, mark: Any, /) -> bool:
        """As ``Chooser.good``."""
        return mark is not None

    def decide(self, arrived: Sequence[Arrival], *, left: int, now: float) -> Decision:
        """As ``Chooser.decide``. Of equal scores the first to arrive wins."""
        if not arrived:
            return Decision(missing=1, hopeless=not left)
        best = max(arrived, key=lambda one: one.mark)
        until = arrived[0].at + self.within
        if not left or now >= until or (self.enough is not None and best.mark >= self.enough):
            return Decision(winner=best.index)
        return Decision(until=until)

    def __repr__(self) -> str:
        enough = "" if self.enough is None else f", enough={exact_number(self.enough)}"
        return f"best({fn_source(self.score)}, within={exact_ms(self.within)}{enough})"

    def __str__(self) -> str:
        enough = "" if self.enough is None else f", or {exact_number(self.enough)} is reached"
        return f"the best by {fn_source(self.score)} within {format_duration(self.within)} of the first wins{enough}"


@frozen(repr=False)
class Quorum:
    """The answer that ``k`` replicas agree on. With ``by`` they agree if it returns the same for their answers."""

    k: int
    by: Callable[[Any], Any] | None = field(default=None, hash=False)

    @property
    def ask(self) -> Ask | None:
        """As ``Chooser.ask``."""
        return None if self.by is None else Ask("by", self.by)

    @property
    def least(self) -> int:
        """As ``Chooser.least``."""
        return self.k

    def good(self, mark: Any, /) -> bool:  # noqa: ARG002 - as Chooser
        """As ``Chooser.good``."""
        return True

    def decide(self, arrived: Sequence[Arrival], *, left: int, now: float) -> Decision:  # noqa: ARG002 - as Chooser
        """As ``Chooser.decide``. Answers are compared by ``==``, so they need not be hashable."""
        groups: list[list[Arrival]] = []
        for one in arrived:
            what = one.value if self.by is None else one.mark
            group = next((g for g in groups if what == (g[0].value if self.by is None else g[0].mark)), None)
            if group is None:
                groups.append([one])
            else:
                group.append(one)
        largest = max(map(len, groups), default=0)
        if largest >= self.k:
            return Decision(winner=next(g[0].index for g in groups if len(g) == largest))
        missing = self.k - largest
        return Decision(missing=missing, hopeless=missing > left)

    def __repr__(self) -> str:
        return f"quorum({self.k})" if self.by is None else f"quorum({self.k}, by={fn_source(self.by)})"

    def __str__(self) -> str:
        return f"what {self.k} agree on wins" + ("" if self.by is None else f", compared by {fn_source(self.by)}")


# --- the public functions ---------------------------------------------------------------------------------------


def best(score: Callable[[Any], float | None], within: Duration, enough: float | None = None) -> Best:
    """Choose the answer with the highest score.

    Args:
        score: a function of the value that returns a number; higher is better. It returns None to reject an answer.
        within: how long to wait after the first acceptable answer, in milliseconds or as a ``timedelta``; 0 or more.
        enough: an answer with this score or more wins at once. Default None: no score is enough.

    Raises:
        ChainDefinitionError: an argument is out of its range or of the wrong kind.

    Example:
        >>> best(len, within=50, enough=10)
        best(len, within=50, enough=10)
    """
    fn = callback(score, "score", "a function of the value that returns a number")
    return Best(fn, seconds(within, "within", zero=True), None if enough is None else number(enough, "enough"))


def quorum(k: int, by: Callable[[Any], Any] | None = None) -> Quorum:
    """Choose the answer that ``k`` replicas agree on.

    ``k`` calls start at once. Others start when one fails, is late, or disagrees.

    Args:
        k: how many must agree; 1 or more, and no more than there are replicas.
        by: a function of the value that returns what is compared with ``==``. Default: the value itself.

    Raises:
        ChainDefinitionError: an argument is out of its range or of the wrong kind.

    Example:
        >>> quorum(2, by=len)
        quorum(2, by=len)
    """
    fn = None if by is None else callback(by, "by", "a function of the value that returns what is compared")
    return Quorum(count(k, "k", least=1), fn)
