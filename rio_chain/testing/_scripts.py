"""The fixture ``script``: it makes scripts, and checks at the end that their steps were used."""

# pyright: reportPrivateUsage=false
# ruff: noqa: SLF001
# only this file needs to know which script was made from which, so it has no public name

from __future__ import annotations

from typing import Any

from rio_chain._core.units import short_repr
from rio_chain.errors import ChainDefinitionError
from rio_chain.simulation._script import Script


class Scripts:
    """Makes a script when it is called.

    Example:
        >>> from rio_chain.testing._scripts import Scripts
        >>> script = Scripts()
        >>> users = script(all_used=True).then("ada").then("bob")
        >>> script.check()
        Traceback (most recent call last):
        AssertionError: 2 of 2 steps were not called: .then('ada').then('bob')
    """

    def __init__(self) -> None:
        self._families: list[list[Script]] = []

    def __call__(self, *, seed: int | str = 0, all_used: bool = False) -> Script:
        """Make a script without steps.

        Args:
            seed: as for ``Script``.
            all_used: whether the test fails if a step has not been called at its end. A step that repeats for ever must
                be called once. Default False.

        Raises:
            ChainDefinitionError: an argument is out of its range.
        """
        given: Any = all_used
        if not isinstance(given, bool):
            raise ChainDefinitionError(f"`all_used` must be True or False; got {short_repr(given)}")
        made = Script(seed=seed)
        if all_used:
            made._family = [made]
            self._families.append(made._family)
        return made

    def check(self) -> None:
        """Fail if a step was not used that had to be used.

        Raises:
            AssertionError: the text has a line for each script with such steps.
        """
        left = [text for family in self._families for script in family if (text := script._unused())]
        if left:
            raise AssertionError("\n".join(left))
