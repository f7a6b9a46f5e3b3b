"""Rules about items and branches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

from attrs import evolve

from rio_chain.chain._nodes import Choose, Each, Expand, call_of
from rio_chain.chain._source import tests_words
from rio_chain.inspect.lint._policy_stack import PolicyStack, Said, answers, keeps_failures


def on_error_never_used(stack: PolicyStack) -> Iterator[Said]:
    """``on_error`` has no effect, as no item can fail."""
    core = stack.core.node
    if isinstance(core, (Each, Expand)) and keeps_failures(core) and answers(core.inner) is not None:
        text = f"what is inside the {call_of(core)} always answers, so no item fails and `on_error` is never used"
        yield Said("on-error-never-used", text, stack.build(stack.nodes(), evolve(core, on_error="raise")))


def branch_never_chosen(stack: PolicyStack) -> Iterator[Said]:
    """A branch of ``choose`` is never used, as an earlier branch takes all its values."""
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
            if not covers(test, tests[before]):  # it is narrower, so it can be first
                branches.insert(before, moved)
                kept.insert(before, test)
        better = evolve(core, tests=tuple(kept), branches=tuple(branches))
        what = tests_words(core)
        text = f"the branch `{what[i]}` is never chosen, as `{what[before]}` before it is true of every such value"
        yield Said("branch-never-chosen", text, stack.build(stack.nodes(), better))


# --- helpers of the rules ---------------------------------------------------------------------------------------


def covers(wide: object, narrow: object) -> bool:
    """Whether the test ``wide`` of a ``choose`` is true of each value for which ``narrow`` is true."""
    if wide is narrow or wide is object:
        return True
    if not isinstance(wide, (type, tuple)) or not isinstance(narrow, (type, tuple)):
        return False
    several = cast("tuple[type[Any], ...]", narrow if isinstance(narrow, tuple) else (narrow,))
    try:
        return all(issubclass(cls, cast("tuple[type[Any], ...]", wide)) for cls in several)
    except Exception:  # noqa: BLE001 - issubclass may raise, as with a Protocol
        return False


ITEMS: tuple[Callable[[PolicyStack], Iterator[Said]], ...] = (
    on_error_never_used,
    branch_never_chosen,
)
