"""Griffe extension: an `Example:` of a docstring is code, as the plural is; Griffe would make it a note in Markdown."""

from __future__ import annotations

import re
from typing import Any

import griffe


class Examples(griffe.Extension):
    """Reads the singular as the plural."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Of each object that was found."""
        if obj.docstring:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
