"""What is refused where it is written."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from rio_chain.errors import ChainDefinitionError


def refused(write: Callable[[], object], text: str) -> None:
    """It raises a ChainDefinitionError with this in its text, which is one line and catchable as a built-in error."""
    with pytest.raises(ChainDefinitionError, match=re.escape(text)) as caught:
        write()
    assert isinstance(caught.value, (TypeError, ValueError))
    assert "\n" not in str(caught.value)
