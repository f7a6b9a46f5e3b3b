"""The repr of a chain: the source that builds it, on one line where it fits, else one step a line."""

from __future__ import annotations

import math
import re
from typing import Any, cast

from rio_chain.functions import Star, name_of
from rio_chain.nodes import Bridge, Call, Constant, FanOut, Handler, Named, Node, OrElse, Scope, Seq, flat, parts
from rio_chain.policies import DEFAULT_BACKOFF, Policy, Retry, Timeout
from rio_chain.units import inert

WIDTH = 88


def source(node: Node) -> str:
    """Python source for a chain. Given its functions by name, evaluating it builds an equal chain."""
    sign, operands = _operands(flat(node))
    line = sign.join(operands)
    if len(line) <= WIDTH or len(operands) == 1:
        return line
    return "(\n    " + f"\n   {sign}".join(operands) + "\n)"


def fn_source(fn: Any) -> str:
    """The name that a function goes by in source; what is no identifier is made one."""
    name = re.sub(r"\W", "_", name_of(fn), flags=re.ASCII)
    return f"star({name})" if isinstance(fn, Star) else name


def _operands(node: Node) -> tuple[str, list[str]]:
    """An expression as its outermost operator and what that joins, loosest first: ``|``, then ``&``, then ``>>``."""
    if isinstance(node, Seq):
        return " >> ", _steps(node)
    if isinstance(node, FanOut) and not _is_call(node):
        return " & ", [_tight(branch) for branch in node.branches]
    if isinstance(node, OrElse) and not isinstance(node.fallback, (Handler, Constant)):
        primary = _line(node.primary) if _is_or(node.primary) else _tight(node.primary)
        return " | ", [primary, _tight(node.fallback)]
    return "", [_single(node)]


def _steps(node: Seq) -> list[str]:
    """Two functions can't stand side by side at the front: ``f >> (g >> task)`` keeps Python from shifting them."""
    texts = [_tight(step) for step in node.steps]
    first = next((i for i, step in enumerate(node.steps) if not isinstance(step, Bridge)), 0)
    if first > 1:
        texts[: first + 1] = [" >> (".join(texts[:first]) + f" >> {texts[first]}" + ")" * (first - 1)]
    return texts


def _line(node: Node) -> str:
    sign, operands = _operands(node)
    return sign.join(operands)


def _tight(node: Node) -> str:
    """In parentheses, unless nothing can come between its parts."""
    sign, operands = _operands(node)
    return f"({sign.join(operands)})" if sign else operands[0]


def _is_call(node: FanOut) -> bool:
    """Whether a fan-out can only be written as a call; ``(a & b) & c`` would take a first fan-out apart."""
    first = node.branches[0]
    plain = isinstance(first, FanOut) and first.keys is None and not first.settle
    return node.settle or node.keys is not None or len(node.branches) == 1 or plain


def _is_or(node: Node) -> bool:
    return isinstance(node, OrElse) and not isinstance(node.fallback, (Handler, Constant))


def _single(node: Node) -> str:
    if isinstance(node, Call):
        named = f".named({node.name!r})" if node.explicit else ""
        return f"Task({fn_source(node.fn)}){named}" + (".inline()" if node.inline else "")
    if isinstance(node, Bridge):
        return fn_source(node.fn)
    if isinstance(node, FanOut):
        return _call(node)
    if isinstance(node, Scope):
        return _tight(node.inner) + _policy(node.policy)
    if isinstance(node, Named):
        return f"{_tight(node.inner)}.named({node.name!r})"
    assert isinstance(node, OrElse)  # noqa: S101 - Seq and Then are joined by an operator
    other = node.fallback
    assert isinstance(other, (Handler, Constant))  # noqa: S101 - and so is a chain as fallback
    return (
        f"{_tight(node.primary)}.or_else({value(other.value) if isinstance(other, Constant) else fn_source(other.fn)})"
    )


def _call(node: FanOut) -> str:
    texts = [_line(branch) for branch in parts(node)]
    if node.keys is not None:
        plain = all(key.isidentifier() and key.isascii() for key in node.keys)
        pairs = zip(node.keys, texts, strict=True)
        inside = ", ".join(f"{key}={text}" if plain else f"{value(key)}: {text}" for key, text in pairs)
        return f"fan_out({inside})" if plain else f"fan_out(**{{{inside}}})"
    return f"{'settle' if node.settle else 'fan_out'}({', '.join(texts)})"


def _policy(policy: Policy) -> str:
    if isinstance(policy, Timeout):
        return f".timeout({ms(policy.seconds)})"
    words = [str(policy.retries)]
    if policy.on is not Exception:
        words.append(f"on={on(policy)}")
    if policy.backoff != DEFAULT_BACKOFF:
        words.append(f"backoff={policy.backoff!r}")
    if policy.accept is not None:
        words.append(f"accept={fn_source(policy.accept)}")
    return f".retry({', '.join(words)})"


def on(policy: Retry) -> str:
    """The ``on=`` of a retry as source."""
    which = cast("object", policy.on)
    if not isinstance(which, tuple):
        return fn_source(which)
    classes = cast("tuple[object, ...]", which)
    inside = ", ".join(fn_source(error) for error in classes)
    return f"({inside},)" if len(classes) == 1 else f"({inside})"


def ms(seconds: float) -> str:
    """The shortest milliseconds that are these seconds again."""
    near = seconds * 1000
    short = f"{near:.10g}"
    exact = (repr(x) for x in (near, math.nextafter(near, 0), math.nextafter(near, math.inf)))
    return next((text for text in (short, *exact) if float(text) / 1000 == seconds), short)


def value(constant: object) -> str:
    """A constant as source of printable ASCII; of what can't say what it is, the type."""
    try:
        return inert(repr(constant))
    except Exception:  # noqa: BLE001 - a user's broken __repr__ must not break ours
        return f"<{inert(type(constant).__name__)}>"
