"""Escapes text for HTML and SVG. Everything that draws takes ``escape`` from here."""

from __future__ import annotations

import html


def escape(text: str) -> str:
    """The text as it is written in HTML or SVG, also inside of an attribute in quotes."""
    return html.escape(text, quote=True)
