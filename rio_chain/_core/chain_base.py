"""The base class of chains, for lower layers that must distinguish a chain from a function.

Both can be called. But a chain returns a Request, which is always true, so it must not be used as a predicate.
"""

from __future__ import annotations

from rio_chain._core.notebook_repr import Renderable
from rio_chain.errors import ChainDefinitionError


class ChainBase(Renderable):
    """The base class of all chains."""

    __slots__ = ()


def not_a_chain(value: object, rule: str) -> None:
    """Refuse a chain where a plain function is needed.

    Args:
        value: what the user gave.
        rule: the beginning of the error text.

    Raises:
        ChainDefinitionError: ``value`` is a chain.
    """
    if isinstance(value, ChainBase):
        raise ChainDefinitionError(f"{rule}; got a Chain, and calling a Chain gives a Request: write a function")
