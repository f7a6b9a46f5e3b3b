"""Rules about items and branches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

from attrs import evolve

from rio_chain._core.units import format_duration
from rio_chain.chain._nodes import Choose, Each, Expand, FanOutNode, call_of
from rio_chain.chain._source import tests_words
from rio_chain.inspect.lint._policy_stack import PolicyStack, Said, answers, keeps_failures


def on_error_never_used(stack: PolicyStack) -> Iterator[Said]:
    """``on_error`` has no effect, as no item can fail."""
    core = stack.core.node
    if not isinstance(core, (Each, Expand)) or answers(core.inner) is None:
        return
    if keeps_failures(core) or core.drop is not None:
        option = "on_error" if core.drop is None else "drop"
        text = f"what is inside the {call_of(core)} always answers, so no item fails and `{option}` is never used"
        better = evolve(core, on_error="raise", drop=None)
        yield Said("on-error-never-used", text, stack.build(stack.nodes(), better))


def time_limit_never_reached(stack: PolicyStack) -> Iterator[Said]:
    """A timeout around a ``time_limit`` expires first, so what has come by then is lost."""
    core = stack.core.node
    if not isinstance(core, (Each, FanOutNode)) or core.time_limit is None or core.time_limit < stack.around.limit:
        return
    around = stack.around.limit
    text = f"the timeout of {format_duration(around)} around it expires before the time limit of {call_of(core)}"
    yield Said(
        "time-limit-never-reached",
        text,
        stack.build(stack.nodes(), evolve(core, time_limit=int(around * 900) / 1000 or around / 2)),
    )


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
    time_limit_never_reached,
    branch_never_chosen,
)
