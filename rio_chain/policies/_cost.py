"""Costs: how much of a limit a call uses, as a function of its input or of its answer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from attrs import frozen

from rio_chain._core.units import short_repr
from rio_chain.policies._checks import callback, title


@frozen(repr=False)
class Cost:
    """Calls a function of the user for a cost, and checks the number.

    It is called where users' functions are called. A wrong number is an error of that function.
    """

    fn: Callable[..., Any]

    @property
    def __name__(self) -> str:
        """The name of the user's function, for errors."""
        return title(self.fn)

    def __call__(self, *args: Any, **kwargs: Any) -> float:
        """The cost.

        Raises:
            TypeError: the function returned no number.
            ValueError: the number is negative, infinite or not a number.
        """
        got = self.fn(*args, **kwargs)
        rule = "a cost must be a finite number, 0 or more"
        try:
            cost = math.nan if isinstance(got, bool) else float(got)
        except (TypeError, ValueError, OverflowError):
            cost = math.nan
        if isinstance(got, (bool, str, bytes)) or (math.isnan(cost) and not isinstance(got, float)):
            raise TypeError(f"{rule}, and {title(self.fn)} gave {short_repr(got)}")
        if not math.isfinite(cost) or cost < 0:
            raise ValueError(f"{rule}, and {title(self.fn)} gave {short_repr(got)}")
        return cost

    def __repr__(self) -> str:
        return self.__name__


def cost_of(value: object, name: str) -> Cost | None:
    """Read ``cost=`` or ``actual=``."""
    if value is None:
        return None
    of = "the input" if name == "cost" else "the answer"
    rule = f"a function of {of} that returns a number, 0 or more, or None"
    return Cost(callback(value, name, rule, one=name == "actual"))
