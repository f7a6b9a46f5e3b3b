"""What the values decide at run time: each, expand and choose, and what tasks use; as source and in words."""

from __future__ import annotations

from keyword import iskeyword
from typing import cast

from rio_chain.nodes import Choose, Each, Expand, Kept, OnError, TaskNode, unwrapped, walk
from rio_chain.plan import Plan, title
from rio_chain.policies import AtLeast
from rio_chain.show.policies import fn_source, on, value
from rio_chain.units import inert

LIMIT = 10  # what `each` and `expand` take if they are not told
TOTAL = 10_000

# --- source -----------------------------------------------------------------------------------------------------


def each(node: Each, inner: str) -> str:
    """An ``each`` as source, its chain given as such. Defaults are left out."""
    words = [inner]
    if node.limit != LIMIT:
        words.append(f"limit={node.limit}")
    if not node.ordered:
        words.append("ordered=False")
    return f"each({', '.join([*words, *_on_error(node.on_error)])})"


def expand(node: Expand, inner: str) -> str:
    """An ``expand`` as source, its chain given as such. Defaults are left out."""
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
    return f"expand({', '.join(words)})"


def _on_error(which: OnError) -> list[str]:
    return [] if which == "raise" else [f"on_error={which!r}"]


def choose(node: Choose, branches: list[str]) -> str:
    """A ``choose`` as source, its branches given as such."""
    tested = zip(node.tests, branches, strict=False)
    rest = [f"otherwise={text}" for text in branches[len(node.tests) :]]
    return f"choose({', '.join([*(f'when({on(test)}, {text})' for test, text in tested), *rest])})"


def keywords(pairs: list[tuple[str, str]]) -> str:
    """Keyword arguments as source; what can't be written as a keyword is unpacked from a dict."""
    if all(key.isidentifier() and key.isascii() and not iskeyword(key) for key, _ in pairs):
        return ", ".join(f"{key}={text}" for key, text in pairs)
    return f"**{{{', '.join(f'{value(key)}: {text}' for key, text in pairs)}}}"


# --- words ------------------------------------------------------------------------------------------------------


def each_words(node: Each) -> str:
    """An ``each`` in words."""
    order = "in order" if node.ordered else "as they come"
    return f"each item, at most {node.limit} at once, {order}{_failures(node.on_error)}"


def expand_words(node: Expand) -> str:
    """An ``expand`` in words."""
    words = f"each and what it leads to, at most {node.limit} at once"
    words += "" if node.depth is None else f", at most {node.depth} deep"
    words += f", {node.total} in all"
    words += "" if node.more is None else f", more by {fn_source(node.more)}"
    words += "" if node.key.fn is None else f", told apart by {fn_source(node.key.fn)}"
    return words + _failures(node.on_error) + (", the rest left out" if node.on_limit == "stop" else "")


def _failures(which: OnError) -> str:
    if isinstance(which, AtLeast):
        return f", failures dropped, at least {which.least} must succeed"
    return {"raise": "", "keep": ", failures kept", "drop": ", failures dropped"}[which]


def tests_words(node: Choose) -> list[str]:
    """When each of the branches is taken: ``if is_good``, ``if int or str``, ``otherwise``."""
    texts = [f"if {_test(test)}" for test in node.tests]
    return texts + ["otherwise"] * (len(node.branches) - len(texts))


def _test(test: object) -> str:
    several = cast("tuple[object, ...]", test if isinstance(test, tuple) else (test,))
    return inert(" or ".join(map(fn_source, several)))


# --- what is used -----------------------------------------------------------------------------------------------


def kept_names(plan: Plan) -> dict[int, str]:
    """What each kept node goes by: a task as in the Outcome, anything else by its title."""
    found: dict[int, str] = {}
    tasks = 0
    for node in walk(plan.root):
        if isinstance(node, TaskNode):
            tasks += 1
        if isinstance(node, Kept):
            is_task = isinstance(unwrapped(node), TaskNode)  # then it is the next one in plan order
            found[node.place] = plan.tasks[tasks].name if is_task else title(node.inner)
    return found


def using(call: TaskNode, names: dict[int, str]) -> str:
    """What a task uses, after its name: ``, using user=fetch_user``."""
    pairs = [f"{inert(use.keyword)}={names[use.kept]}" for use in call.uses if use.kept is not None]
    return f", using {', '.join(pairs)}" if pairs else ""
