"""The title of a chain: one short line that names its tasks, without its policies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from rio_chain._core.units import escape_nonprintable, short_repr
from rio_chain.chain._nodes import (
    Bridge,
    Choose,
    Constant,
    Each,
    Expand,
    FanOutNode,
    Kept,
    Named,
    Node,
    OrElse,
    RaceNode,
    Scope,
    TaskNode,
    call_of,
    is_hedge_of_one,
    parts,
)

WIDEST = 80  # characters of a title, or of the name of a neighbour that is a fan-out


def title(node: Node) -> str:
    """A chain in one short line of printable ASCII, without its policies: ``fetch_user >> (orders & nearby)``."""
    return cut(_words(node, short_repr, outer=True), WIDEST)


def public_title(node: Node) -> str:
    """The title for logs and metrics. It has ``...`` in place of each constant, which may be secret."""
    return cut(_words(node, lambda _: "...", outer=True), WIDEST)


def _words(node: Node, shown: Callable[[object], str], *, outer: bool = False) -> Iterator[str]:
    words = partial(_words, shown=shown)
    if isinstance(node, (TaskNode, Bridge, Named)):
        yield node.name
    elif isinstance(node, (Scope, Kept)) or is_hedge_of_one(node):
        yield from words(parts(node)[0], outer=outer)
    elif isinstance(node, (RaceNode, Each, Expand, Choose)) or (isinstance(node, FanOutNode) and _is_call(node)):
        keys = node.keys if isinstance(node, FanOutNode) else None
        inside = parts(node)
        yield f"{call_of(node)}("
        labels = [f"{escape_nonprintable(key)}=" for key in keys or ()] or [""] * len(inside)
        for i, (label, part) in enumerate(zip(labels, inside, strict=True)):
            yield f", {label}" if i else label
            yield from words(part, outer=True)
        yield f", need={node.need})" if isinstance(node, FanOutNode) and node.need is not None else ")"
    else:
        sign = " & " if isinstance(node, FanOutNode) else " | " if isinstance(node, OrElse) else " >> "
        yield "" if outer else "("
        for i, part in enumerate(parts(node)):
            yield sign if i else ""
            yield from words(part)
        if isinstance(node, OrElse) and not isinstance(node.fallback, Node):
            yield sign + (shown(node.fallback.value) if isinstance(node.fallback, Constant) else node.fallback.name)
        yield "" if outer else ")"


def _is_call(node: FanOutNode) -> bool:
    """Whether it is more than ``a & b``."""
    return node.settle or node.keys is not None or node.need is not None or len(node.branches) == 1


def between(sign: str, names: Iterable[str]) -> Iterator[str]:
    """The names, with ``sign`` between them."""
    for i, name in enumerate(names):
        yield f"{sign}{name}" if i else name


def cut(words: Iterable[str], width: int) -> str:
    """The words joined and cut to the width. It reads no more words than fit."""
    text = ""
    for word in words:
        text += word
        if len(text) > width:
            return text[: width - 3] + "..."
    return text
