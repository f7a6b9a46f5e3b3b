"""How many of the items of an ``each`` or ``expand`` have to succeed."""

from __future__ import annotations

from attrs import frozen

from rio_chain._core.units import count


@frozen(repr=False)
class AtLeast:
    """What ``at_least(n)`` gives."""

    least: int

    def enough(self, succeeded: int) -> bool:
        """Whether so many will do."""
        return succeeded >= self.least

    def __repr__(self) -> str:
        return f"at_least({self.least})"


def at_least(n: int, /) -> AtLeast:
    """For ``each(chain, on_error=at_least(n))``: failures are dropped as long as ``n`` items succeed.

    All items are run. If fewer succeed, the whole fails with ``NotEnoughSuccesses``, which holds their errors.

    Args:
        n: how many; 1 or more.

    Raises:
        ChainDefinitionError: not a whole number of 1 or more.

    Example:
        >>> from rio_chain import Task, at_least, each
        >>> each(Task(len), on_error=at_least(2))
        each(Task(len), on_error=at_least(2))
    """
    return AtLeast(count(n, "at_least", least=1))
