"""First: the default chooser."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import field, frozen

from rio_chain._core.source_text import fn_source
from rio_chain.policies._checks import callback
from rio_chain.policies._chooser import Arrival, Ask, Decision


@frozen(repr=False)
class First:
    """The first answer. With ``accept`` the first answer for which it returns True."""

    accept: Callable[[Any], bool] | None = field(default=None, hash=False)

    @property
    def ask(self) -> Ask | None:
        """As ``Chooser.ask``."""
        return None if self.accept is None else Ask("accept", self.accept)

    @property
    def least(self) -> int:
        """As ``Chooser.least``."""
        return 1

    def good(self, mark: Any, /) -> bool:
        """As ``Chooser.good``."""
        return self.accept is None or bool(mark)

    def decide(self, arrived: Sequence[Arrival], *, left: int, now: float) -> Decision:  # noqa: ARG002 - as Chooser
        """As ``Chooser.decide``."""
        return Decision(winner=arrived[0].index) if arrived else Decision(missing=1, hopeless=not left)

    def __repr__(self) -> str:
        return "first()" if self.accept is None else f"first(accept={fn_source(self.accept)})"

    def __str__(self) -> str:
        return (
            "the first answer wins" if self.accept is None else f"the first that {fn_source(self.accept)} accepts wins"
        )


def first(accept: Callable[[Any], bool] | None = None) -> First:
    """Choose the first answer. With ``accept``, a function of the value, the first for which it returns True.

    An answer that is not accepted has failed, so the next replica starts at once.

    Raises:
        ChainDefinitionError: ``accept`` is not a sync function of one argument.

    Example:
        >>> first(accept=bool)
        first(accept=bool)
    """
    rule = "a function of the value that returns True or False"
    return First(None if accept is None else callback(accept, "accept", rule))
