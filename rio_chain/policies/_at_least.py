"""at_least: how many of the items of an ``each`` or ``expand`` must succeed."""

from __future__ import annotations

from attrs import frozen

from rio_chain._core.units import count


@frozen(repr=False)
class AtLeast:
    """The result of ``at_least(n)``."""

    least: int

    def enough(self, succeeded: int) -> bool:
        """Whether this number of successes is enough."""
        return succeeded >= self.least

    def __repr__(self) -> str:
        return f"at_least({self.least})"


def at_least(n: int, /) -> AtLeast:
    """For ``each(chain, on_error=at_least(n))``: drop the failures if at least ``n`` items succeed.

    All items run. If fewer than ``n`` succeed, the whole fails with ``NotEnoughSuccesses``, which holds their errors.

    Args:
        n: how many items must succeed; 1 or more.

    Raises:
        ChainDefinitionError: ``n`` is not a whole number of 1 or more.

    Example:
        >>> from rio_chain import Task, at_least, each
        >>> each(Task(len), on_error=at_least(2))
        each(Task(len), on_error=at_least(2))
    """
    return AtLeast(count(n, "at_least", least=1))
