"""Rules about what the values decide: items and branches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

from attrs import evolve

from rio_chain.chain._nodes import Choose, Each, Expand, call_of
from rio_chain.chain._source import tests_words
from rio_chain.inspect.lint._policy_stack import PolicyStack, Said, answers, keeps_failures


def on_error_never_used(stack: PolicyStack) -> Iterator[Said]:
    """No item fails."""
    core = stack.core.node
    if isinstance(core, (Each, Expand)) and keeps_failures(core) and answers(core.inner) is not None:
        text = f"what is inside the {call_of(core)} always answers, so no item fails and `on_error` is never used"
        yield Said("on-error-never-used", text, stack.build(stack.nodes(), evolve(core, on_error="raise")))


def branch_never_chosen(stack: PolicyStack) -> Iterator[Said]:
    """Each value that it is for is another's already."""
    core = stack.core.node
    if not isinstance(core, Choose):
        return
    tests: list[object] = [*core.tests, *[object] * (len(core.branches) - len(core.tests))]
    for i, test in enumerate(tests):
        before = next((k for k in range(i) if covers(tests[k], test)), None)
        if before is None:
            continue
        branches, kept = list(core.branches), list(core.tests)
        moved = branches.pop(i)
        if i < len(kept):
            del kept[i]
            if not covers(test, tests[before]):  # it is for less: it can go first
                branches.insert(before, moved)
                kept.insert(before, test)
        better = evolve(core, tests=tuple(kept), branches=tuple(branches))
        what = tests_words(core)
        text = f"the branch `{what[i]}` is never chosen, as `{what[before]}` before it is true of every such value"
        yield Said("branch-never-chosen", text, stack.build(stack.nodes(), better))


# --- what the rules ask -----------------------------------------------------------------------------------------


def covers(wide: object, narrow: object) -> bool:
    """Whether a test of ``choose`` is true of each value that another is true of."""
    if wide is narrow or wide is object:
        return True
    if not isinstance(wide, (type, tuple)) or not isinstance(narrow, (type, tuple)):
        return False
    several = cast("tuple[type[Any], ...]", narrow if isinstance(narrow, tuple) else (narrow,))
    try:
        return all(issubclass(cls, cast("tuple[type[Any], ...]", wide)) for cls in several)
    except Exception:  # noqa: BLE001 - a class may refuse to say, as a Protocol does
        return False


ITEMS: tuple[Callable[[PolicyStack], Iterator[Said]], ...] = (
    on_error_never_used,
    branch_never_chosen,
)
