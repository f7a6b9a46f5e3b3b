"""Escapes text for HTML and SVG. All code that draws uses ``escape``."""

from __future__ import annotations

import html


def escape(text: str) -> str:
    """The text escaped for HTML or SVG, also for an attribute in quotes."""
    return html.escape(text, quote=True)
