"""Writes a chain or a run to a file. The suffix selects the form."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rio_chain._core.notebook_repr import Renderable
from rio_chain._core.units import escape_nonprintable, short_repr
from rio_chain.errors import UsageError
from rio_chain.inspect._explain import explain
from rio_chain.inspect._mermaid import mermaid
from rio_chain.inspect._notebook import html
from rio_chain.inspect.pictures._svg_string import plan_of, svg_of
from rio_chain.inspect.pictures._theme import ground
from rio_chain.results._outcome import Outcome


def _text(drawn: Renderable) -> str:
    return drawn.summary() if isinstance(drawn, Outcome) else str(explain(plan_of(drawn)))


def _page(drawn: Renderable) -> str:
    """A complete HTML page that loads nothing."""
    title = plan_of(drawn).title.replace("&", "&amp;").replace("<", "&lt;")
    style = f"{ground('body')}body{{background:var(--bg);color:var(--fg);margin:24px}}"
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
    return (
        f'<!doctype html>\n<html lang="en">\n<head>{head}<title>{title}</title><style>{style}</style></head>\n'
        f"<body>{html(drawn)}</body>\n</html>"
    )


FORMS: dict[str, Callable[[Any], str]] = {
    ".svg": lambda drawn: str(svg_of(drawn)),
    ".html": _page,
    ".mmd": lambda drawn: str(mermaid(plan_of(drawn))),
    ".txt": _text,
}


def save(drawn: Renderable, path: str | Path) -> Path:
    """Write it in the form that the suffix selects. See ``Renderable.save``."""
    try:
        path = Path(path)
    except TypeError:
        raise UsageError(f"`path` must be a path, as in save('plan.svg'); got {short_repr(path)}") from None
    form = FORMS.get(path.suffix.lower())
    if form is None:
        got = f"got {escape_nonprintable(path.name)!r}"
        raise UsageError(f"`save` writes {', '.join(FORMS)}: the suffix of the path says which; {got}")
    path.write_text(form(drawn).rstrip("\n") + "\n", encoding="utf-8")
    return path
