"""The repr of a chain: the source that builds it, on one line if it fits, else with one step a line."""

from __future__ import annotations

import math
from itertools import islice
from keyword import iskeyword
from typing import cast

from rio_chain._core.source_text import constant_source, fn_source, identifier, on_source
from rio_chain._core.units import escape_nonprintable
from rio_chain.chain._nodes import (
    Bridge,
    Choose,
    Constant,
    Each,
    Expand,
    FanOutNode,
    Handler,
    Named,
    Node,
    OnError,
    OrElse,
    RaceNode,
    Scope,
    Seq,
    TaskNode,
    flat,
    parts,
    unwrapped,
    walk,
)
from rio_chain.chain._record_class import is_record
from rio_chain.chain._resources import resources_source
from rio_chain.policies import Chooser, Quantile
from rio_chain.policies._best_and_quorum import Best, Quorum
from rio_chain.policies._delays import Delay, DelayFunction, DelayList
from rio_chain.policies._first import First
from rio_chain.policies._match_errors import Match
from rio_chain.policies._number_format import exact_ms as ms

__all__ = ["ms", "source"]

WIDTH = 88
USED = 40  # characters of a chain that is given to `.using`
LIMIT = 10  # the default of `each` and `expand`
TOTAL = 10_000


def source(node: Node) -> str:
    """Python source for a chain. With its functions in scope, evaluating the source builds an equal chain."""
    sign, operands = _operands(flat(node))
    line = sign.join(operands)
    if len(line) <= WIDTH or len(operands) == 1:
        return line
    return "(\n    " + f"\n   {sign}".join(operands) + "\n)"


def _operands(node: Node) -> tuple[str, list[str]]:
    """An expression as its outermost operator and its operands.

    The loosest operator is ``|``, then ``&``, then ``>>``.
    """
    if isinstance(node, Seq):
        steps = _steps(node)
        return " >> " if len(steps) > 1 else "", steps
    if isinstance(node, FanOutNode) and not _is_call(node):
        return " & ", [_tight(branch) for branch in node.branches]
    either = _either(node)
    if either is not None:
        primary, fallback = either
        return " | ", [_tight(primary) if _either(primary) is None else _line(primary), _tight(fallback)]
    return "", [_single(node)]


def _steps(node: Seq) -> list[str]:
    """The source of each step. Python has no ``>>`` of two functions, so it writes ``f >> (g >> task)``."""
    texts: list[str] = []
    for before, step in zip((None, *node.steps), node.steps, strict=False):
        if isinstance(before, FanOutNode) and is_record(step):
            texts[-1] = _call(before, _single(step))
        else:
            texts.append(_tight(step))
    first = next((i for i, step in enumerate(node.steps) if not isinstance(step, Bridge)), 0)
    if first > 1:
        texts[: first + 1] = [" >> (".join(texts[:first]) + f" >> {texts[first]}" + ")" * (first - 1)]
    return texts


def _line(node: Node) -> str:
    sign, operands = _operands(node)
    return sign.join(operands)


def _tight(node: Node) -> str:
    """The source, in parentheses unless it binds tightly without them."""
    sign, operands = _operands(node)
    return f"({sign.join(operands)})" if sign else operands[0]


def _is_call(node: FanOutNode) -> bool:
    """Whether a fan-out must be written as a call. ``(a & b) & c`` would merge the first fan-out into the second."""
    first = node.branches[0]
    plain = isinstance(first, FanOutNode) and first.keys is None and not first.settle and first.need is None
    return node.settle or node.keys is not None or node.need is not None or len(node.branches) == 1 or plain


def _either(node: Node) -> tuple[Node, Node] | None:
    """The operands of ``|``, if it can be written so. ``|`` can't express ``on=``, a function or a constant."""
    if not isinstance(node, OrElse) or node.on is not Exception or isinstance(node.fallback, (Handler, Constant)):
        return None
    return node.primary, node.fallback


def _single(node: Node) -> str:  # noqa: PLR0911 - one for each kind of node
    if isinstance(node, TaskNode):
        return _task(node)
    if isinstance(node, Bridge):
        return fn_source(node.fn)
    if isinstance(node, FanOutNode):
        return _call(node)
    if isinstance(node, Each):
        return _each(node, _line(node.inner))
    if isinstance(node, Expand):
        return _expand(node, _line(node.inner))
    if isinstance(node, Choose):
        return _choose(node, [_line(branch) for branch in node.branches])
    if isinstance(node, RaceNode):
        first, *rest = node.branches
        return _race(node, [_tight(first) if node.hedge else _line(first), *map(_line, rest)])
    if isinstance(node, Scope):
        return _tight(node.inner) + node.policy.source()
    if isinstance(node, Named):
        return f"{_tight(node.inner)}.named({node.name!r})"
    assert isinstance(node, OrElse)  # noqa: S101 - Seq and Then are joined by an operator
    only = "" if node.on is Exception else f", on={on_source(node.on)}"
    return f"{_tight(node.primary)}.or_else({_fallback(node.fallback)}{only})"


def _fallback(node: Node | Handler | Constant) -> str:
    if isinstance(node, Handler):
        return fn_source(node.fn)
    return constant_source(node.value) if isinstance(node, Constant) else _line(node)


def _task(node: TaskNode) -> str:
    named = f".named({node.name!r})" if node.explicit else ""
    where = ".inline()" if node.inline else f".lane({constant_source(node.lane)})" if node.lane is not None else ""
    where += f".resources({resources_source(node.resources)})" if node.resources else ""
    uses = _keywords([(use.keyword, _used(use.source)) for use in node.uses])
    return f"Task({fn_source(node.fn)}){named}{where}" + (f".using({uses})" if uses else "")


def _used(node: Node) -> str:
    """The source of a ``.using`` argument: its name, because an equal chain made again would be another source."""
    core = unwrapped(node)
    if isinstance(core, TaskNode):
        return identifier(core.name)
    if isinstance(node, Named):
        return identifier(node.name)
    few = len(list(islice(walk(node), USED))) < USED
    text = _line(flat(node)) if few else "..."
    return text if len(text) <= USED else "..."


def _call(node: FanOutNode, record: str = "") -> str:
    texts = [_line(branch) for branch in parts(node)]
    inside = f"{record}, " if record else ""
    inside += ", ".join(texts) if node.keys is None else _keywords(list(zip(node.keys, texts, strict=True)))
    more = "" if node.time_limit is None else f", time_limit={ms(node.time_limit)}"
    more += "" if node.need is None else f", need={node.need}"
    return f"{'settle' if node.settle else 'fan_out'}({inside}{more})"


# --- races ------------------------------------------------------------------------------------------------------


def _race(node: RaceNode, branches: list[str]) -> str:
    """A race as source, given its branches as source. The first branch of a hedge is left of the dot."""
    pick = [] if node.pick == First() else [f"pick={_pick(node.pick)}"]
    if not node.hedge:
        return f"race({', '.join([*branches, *pick])})"
    first, *others = branches
    words = [str(node.count)] if node.count != len(branches) or not others else []
    if node.after:
        words.append(f"after={_after(node.after)}")
    if others:
        words.append(f"to=[{', '.join(others)}]")
    on = [] if node.on is Exception else [f"on={on_source(node.on)}"]
    return f"{first}.replica({', '.join([*words, *pick, *on])})"


def _after(after: Delay) -> str:
    if isinstance(after, Quantile):
        return "quantile"
    if isinstance(after, (DelayList, DelayFunction)):
        return after.source()
    return "None" if after == math.inf else ms(after)


def _pick(pick: Chooser) -> str:
    return escape_nonprintable(repr(pick)) if isinstance(pick, (First, Best, Quorum)) else fn_source(pick)


# --- what the values decide -------------------------------------------------------------------------------------


def _each(node: Each, inner: str) -> str:
    """An ``each`` as source, given its chain as source. Defaults are left out."""
    words = [inner]
    if node.limit != LIMIT:
        words.append(f"limit={node.limit}")
    if not node.ordered:
        words.append("ordered=False")
    words += _on_error(node.on_error)
    if node.time_limit is not None:
        words.append(f"time_limit={ms(node.time_limit)}")
    if node.keeps:
        words.append("on_timeout='keep'")
    words += _drop(node.drop)
    if node.take is not None:
        words.append(f"take={node.take if isinstance(node.take, int) else fn_source(node.take)}")
    if node.key is not None:
        words.append(f"key={fn_source(node.key)}")
    return f"each({', '.join(words)})"


def _expand(node: Expand, inner: str) -> str:
    """An ``expand`` as source, given its chain as source. Defaults are left out."""
    words = [inner]
    if node.limit != LIMIT:
        words.append(f"limit={node.limit}")
    if node.depth is not None:
        words.append(f"depth={node.depth}")
    if node.total != TOTAL:
        words.append(f"total={node.total}")
    if node.more is not None:
        words.append(f"more={fn_source(node.more)}")
    if node.key.fn is not None:
        words.append(f"key={fn_source(node.key.fn)}")
    words += _on_error(node.on_error)
    if node.on_limit != "raise":
        words.append(f"on_limit={node.on_limit!r}")
    words += _drop(node.drop)
    return f"expand({', '.join(words)})"


def _on_error(which: OnError) -> list[str]:
    return [] if which == "raise" else [f"on_error={which!r}"]


def _drop(which: Match | None) -> list[str]:
    return [] if which is None else [f"drop={on_source(which)}"]


def _choose(node: Choose, branches: list[str]) -> str:
    """A ``choose`` as source, given its branches as source."""
    tested = zip(node.tests, branches, strict=False)
    rest = [f"otherwise={text}" for text in branches[len(node.tests) :]]
    return f"choose({', '.join([*(f'when({on_source(test)}, {text})' for test, text in tested), *rest])})"


def _keywords(pairs: list[tuple[str, str]]) -> str:
    """Keyword arguments as source. A key that can't be written as a keyword makes it a ``**{...}``."""
    if all(key.isidentifier() and key.isascii() and not iskeyword(key) for key, _ in pairs):
        return ", ".join(f"{key}={text}" for key, text in pairs)
    return f"**{{{', '.join(f'{constant_source(key)}: {text}' for key, text in pairs)}}}"


def tests_words(node: Choose) -> list[str]:
    """The condition of each branch: ``if is_good``, ``if int or str``, ``otherwise``."""
    texts = [f"if {_test(test)}" for test in node.tests]
    return texts + ["otherwise"] * (len(node.branches) - len(texts))


def _test(test: object) -> str:
    several = cast("tuple[object, ...]", test if isinstance(test, tuple) else (test,))
    return escape_nonprintable(" or ".join(map(fn_source, several)))
