"""What a notebook shows: HTML with the picture and all texts, and always plain text too.

With ``RIO_DISPLAY=text`` in the environment it shows only the text.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterator
from contextlib import suppress
from typing import Any

from rio_chain._core.chain_base import ChainBase
from rio_chain.balancer import Balancer, Ticket
from rio_chain.chain._plan import Plan
from rio_chain.chain._request import Request
from rio_chain.inspect._bounds import bounds
from rio_chain.inspect._explain import explain
from rio_chain.inspect._html import escape
from rio_chain.inspect._shown_live import shown_live
from rio_chain.inspect.pictures._balancer_picture import balancer_picture
from rio_chain.inspect.pictures._build_picture import picture
from rio_chain.inspect.pictures._paint_svg import paint
from rio_chain.inspect.pictures._picture import Mark, Marks
from rio_chain.inspect.pictures._status_marks import NESTED, duration, error_text, short
from rio_chain.inspect.pictures._svg_string import plan_of, scrolled, svg_of
from rio_chain.inspect.pictures._theme import MONO, SANS
from rio_chain.results._outcome import Outcome
from rio_chain.results._response import Response

HTML, PLAIN = "text/html", "text/plain"
ROWS = 200  # the most rows of a table
STYLE = (
    f".rio-chain-look{{font:13px/1.5 {SANS};color:var(--jp-content-font-color1,inherit)}}"
    ".rio-chain-look details{margin:4px 0}"
    ".rio-chain-look summary{cursor:pointer}"
    f".rio-chain-look pre{{font:12px/1.5 {MONO};margin:4px 0 8px 16px;white-space:pre;overflow-x:auto;"
    "background:none;color:inherit}"
    ".rio-chain-look table{border-collapse:collapse;margin:4px 0 8px 16px}"
    ".rio-chain-look th,.rio-chain-look td{padding:2px 12px 2px 0;text-align:left;background:none;"
    "color:inherit;font-weight:normal}"
    ".rio-chain-look th{font-weight:600}"
)


def bundle(thing: Any, include: Container[str] | None, exclude: Container[str] | None) -> dict[str, str]:
    """The representations of an object for IPython, by MIME type. If the picture fails, only the text is given."""
    found = {PLAIN: plain(thing)}
    wanted = (include is None or HTML in include) and (exclude is None or HTML not in exclude)
    if wanted and not text_alone():
        try:
            found[HTML] = html(thing)
        except Exception:  # noqa: BLE001 - the text is better than an error
            return found
    return found


def text_alone() -> bool:
    """Whether the user wants no pictures."""
    return os.environ.get("RIO_DISPLAY", "").strip().lower() == "text"


def plain(thing: Any) -> str:
    """The object as text: the repr and the tree of a chain, the tree of a plan, the summary of an Outcome."""
    bare = object.__repr__(thing)
    try:
        text = repr(thing)
        if isinstance(thing, Outcome):
            return thing.summary()
        if isinstance(thing, Plan):
            return str(explain(thing))
        if isinstance(thing, (ChainBase, Request)):
            tree = explain(plan_of(thing))
            return f"{text}\n\n{tree}" if "\n" in tree else text
    except Exception:  # noqa: BLE001 - the default repr is better than an error
        return bare
    return text


def html(thing: Any) -> str:
    """The object as HTML: the picture, and all texts, folded."""
    inner = next(make(thing) for kind, make in _MADE if isinstance(thing, kind))
    return f'<div class="rio-chain-look"><style>{STYLE}</style>{"".join(inner)}</div>'


# --- each kind of object ----------------------------------------------------------------------------------------


def _described(thing: Any) -> Iterator[str]:
    """A chain, a plan or a Request: the picture, the tree, the bounds, the findings of lint."""
    plan = plan_of(thing)
    yield scrolled(svg_of(thing))
    for look in (_tree, _bounds, _lint):
        with suppress(Exception):  # the failure of one part must not hide the others
            yield look(plan)


def _tree(plan: Plan) -> str:
    return _details("Tree", _pre(explain(plan)))


def _bounds(plan: Plan) -> str:
    return _details("Bounds", _pre(repr(bounds(plan))))


def _lint(plan: Plan) -> str:
    from rio_chain.inspect.lint import lint  # noqa: PLC0415 - only a notebook needs it

    found = lint(plan)
    return _details(f"Lint: {len(found)} to look at", _pre("\n".join(map(str, found))), opened=True) if found else ""


def _outcome(outcome: Outcome[Any], deep: int = NESTED) -> Iterator[str]:
    """A run: the picture with the result of each task, the timeline, and the Responses.

    If a live view in the same cell has ended with the picture, the picture is not shown again.
    """
    if not shown_live(outcome):
        yield scrolled(svg_of(outcome))
    yield _details("Timeline", scrolled(outcome.timeline()), opened=True)
    yield _details("Responses", _table(list(outcome.responses[:ROWS]), len(outcome)))
    for response in outcome.responses[:ROWS]:
        nested = response.nested
        if nested is not None and deep:
            yield _details(f"What {response.name} returned", "".join(_outcome(nested, deep - 1)))


def _ticket(ticket: Ticket[Any]) -> Iterator[str]:
    """A ticket: its Outcome if there is one, else the picture of its request."""
    outcome = ticket.outcome
    if outcome is not None:
        yield from _outcome(outcome)
        return
    open_ = Marks(head=Mark("waiting", "no answer yet"))
    yield scrolled(paint(picture(ticket.request.plan, open_)))


def _balancer(balancer: Balancer) -> Iterator[str]:
    """A balancer: how many requests wait and run, and how requests have ended."""
    bounds = balancer._settings  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    text = repr(balancer).strip("<>").partition(":")[0]
    yield scrolled(paint(balancer_picture(text, balancer.stats(), workers=bounds.workers, buffer=bounds.buffer)))


_MADE: tuple[tuple[type | tuple[type, ...], Callable[[Any], Iterator[str]]], ...] = (
    (Outcome, _outcome),
    (Ticket, _ticket),
    (Balancer, _balancer),
    ((ChainBase, Plan, Request), _described),
)


# --- parts ------------------------------------------------------------------------------------------------------


def _details(summary: str, inner: str, *, opened: bool = False) -> str:
    return f"<details{' open' if opened else ''}><summary>{escape(summary)}</summary>{inner}</details>"


def _pre(text: str) -> str:
    return f"<pre>{escape(text)}</pre>"


def _table(responses: list[Response], total: int) -> str:
    head = "".join(f"<th>{name}</th>" for name in ("task", "status", "calls", "elapsed", "errors"))
    rows = "".join(f"<tr>{_row(response)}</tr>" for response in responses)
    more = f"<tr><td>and {total - len(responses)} more</td></tr>" if total > len(responses) else ""
    return f"<table><tr>{head}</tr>{rows}{more}</table>"


def _row(response: Response) -> str:
    said = short(response) if response.counts else response.status.replace("_", " ")
    errors = "; ".join(error_text(error) for error in response.errors[:3])
    more = f" and {len(response.errors) - 3} more" if len(response.errors) > 3 else ""  # noqa: PLR2004 - of the above
    cells = response.name, said, str(response.attempts), duration(response.elapsed), errors + more
    return "".join(f"<td>{escape(cell)}</td>" for cell in cells)
