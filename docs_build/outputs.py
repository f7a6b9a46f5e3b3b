"""Blocks of HTML that Markdown must not change: a placeholder replaces each until the page is made."""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Mapping

COLOURS = re.compile(r"\x1b\[[0-9;]*m")

shown: dict[str, str] = {}


def of_bundle(data: Mapping[str, str]) -> str:
    """What a notebook shows of a value: its HTML or its picture if it has one, else its text."""
    for kind in ("text/html", "image/svg+xml"):
        if kind in data:
            return placeholder(f'<div class="output">{data[kind]}</div>')
    return of_text(data.get("text/plain", ""))


def of_text(text: str) -> str:
    """Text as it was printed; nothing if there is none."""
    plain = COLOURS.sub("", text).rstrip()
    return placeholder(f'<pre class="output">{html.escape(plain)}</pre>') if plain else ""


def placeholder(block: str) -> str:
    """The placeholder of a block."""
    word = f"output-{hashlib.sha256(block.encode()).hexdigest()[:16]}"
    shown[word] = block
    return word


def restored(content: str) -> str:
    """The page, with the blocks in it."""
    return re.sub(r"<p>(output-[0-9a-f]{16})</p>", lambda found: shown.get(found[1], found[0]), content)
