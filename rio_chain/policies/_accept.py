"""Accept: makes a failure of a value that is not good enough."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import field, frozen

from rio_chain._core.source_text import fn_source
from rio_chain.policies._plain_data import function
from rio_chain.policies._policy import Facts, Label, Policy

_FACTS = Facts(refuses_values=True)


@frozen
class Accept(Policy):
    """Fails with ``NotAccepted`` if ``predicate`` returns False for the value."""

    builder_call = "accept"
    asked = False

    predicate: Callable[[Any], bool] = field(hash=False)

    def source(self) -> str:
        """As ``Policy.source``."""
        return f".accept({fn_source(self.predicate)})"

    def label(self) -> Label:
        """As ``Policy.label``."""
        return Label(f"accept {fn_source(self.predicate)}", "share")

    def words(self) -> str:
        """As ``Policy.words``."""
        return f"only answers that {fn_source(self.predicate)} accepts"

    def to_dict(self) -> dict[str, Any]:
        """As ``Policy.to_dict``."""
        return {"kind": "accept", "predicate": function(self.predicate)}

    def facts(self) -> Facts:
        """As ``Policy.facts``."""
        return _FACTS

    def __str__(self) -> str:
        return "accepted answers only"
