"""What every chain is, for those further down who must tell one from a function.

Both can be called; but a chain gives a Request, which is true and says nothing.
"""

from __future__ import annotations

from rio_chain._core.notebook_repr import Renderable
from rio_chain.errors import ChainDefinitionError


class ChainBase(Renderable):
    """The root of all chains."""

    __slots__ = ()


def not_a_chain(value: object, rule: str) -> None:
    """Refuse a chain where a plain function is meant; the text begins with ``rule``.

    Raises:
        ChainDefinitionError: it is one.
    """
    if isinstance(value, ChainBase):
        raise ChainDefinitionError(f"{rule}; got a Chain, which gives a Request when it is called: write a function")
