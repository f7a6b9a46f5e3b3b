"""timeline(): the same text for the same run, whatever executor it ran on; assert_timeline says what differs."""

from __future__ import annotations

from typing import Any

import pytest
from returns.result import Failure

from rio_chain import Backoff, ChainDefinitionError, Outcome, Request, Task, each, expand, fan_out
from rio_chain.testing import Script, assert_timeline, run_virtual, timeline

PLAIN = Backoff(base=50, factor=1, jitter="none")


def page() -> Request[Any]:
    user = Task(Script().delays(20, 30).then_raises(OSError).then("ada")).named("user").retry(1, backoff=PLAIN)
    orders = Task(Script().then([1], after=7.5)).named("orders")
    shops = Task(Script().then("late", after=500)).named("shops").timeout(40).or_else([])
    return (user >> (orders & shops) >> Task(len).named("count"))(42)


TEXT = """
user    succeeded  2 calls    0 ->   100 ms
  call 1  failed      0 ->  20 ms  OSError
  call 2  succeeded  70 -> 100 ms
orders  succeeded  1 call   100 -> 107.5 ms
shops   timed_out  1 call   100 ->   140 ms  TaskTimedOut
count   succeeded  1 call   140 ->   140 ms
succeeded after 140 ms
""".strip()


@pytest.mark.parametrize("executor", ["virtual", "asyncio", "trio", "thread"])
def test_a_run_has_one_timeline_on_every_executor(executor: str) -> None:
    assert timeline(run_virtual(page(), executor)) == TEXT


def test_hedges_items_and_what_was_not_run_are_written() -> None:
    hedged = Task(Script().delays(100, 5).then("slow").then("quick")).named("hedged").replica(2, after=20)
    items = each(Task(Script().delays(5, 6, 7).then(1).then_raises(KeyError).then(3)).named("item"), on_error="drop")
    chain = hedged >> (lambda word: [word] * 3) >> items >> Task(Script().then(Failure("no"))).named("last")
    assert_timeline(
        run_virtual((chain >> Task(len).named("never"))(1)),
        """
        hedged  succeeded                         2 calls   0 -> 25 ms
          call 1               cancelled   0 -> 25 ms
          call 1 of replica 1  succeeded  20 -> 25 ms
        item    succeeded (2 succeeded, 1 failed) 3 calls  25 -> 32 ms
        last    failed                            1 call   32 -> 32 ms  str
        never   skipped
        failed after 32 ms: str
        """,
    )


def test_values_are_not_in_it() -> None:
    outcome = run_virtual(Task(Script().then("a secret")).named("user")("another"))
    assert "secret" not in timeline(outcome)


def test_another_run_is_shown_by_the_lines_that_differ_and_as_a_whole() -> None:
    outcome = run_virtual(page())
    with pytest.raises(AssertionError) as caught:
        assert_timeline(outcome, TEXT.replace("107.5", "107"))
    text = str(caught.value)
    assert "- orders succeeded 1 call 100 -> 107 ms" in text
    assert "+ orders succeeded 1 call 100 -> 107.5 ms" in text
    assert all(line in text for line in TEXT.splitlines())


def test_columns_and_indentation_are_all_one() -> None:
    assert_timeline(run_virtual(page()), TEXT.replace("  ", " ").replace("\n", "\n\t\n        "))


@pytest.mark.parametrize("wrong", [None, 5, page(), [1]])
def test_what_is_no_outcome_is_refused(wrong: Any) -> None:
    with pytest.raises(ChainDefinitionError, match="`timeline` takes an Outcome"):
        timeline(wrong)
    with pytest.raises(ChainDefinitionError, match="`timeline` takes an Outcome"):
        assert_timeline(wrong, "")
    with pytest.raises(ChainDefinitionError, match="`expected` must be a text"):
        assert_timeline(run_virtual(page()), wrong)


def test_hostile_names_and_errors_are_harmless() -> None:
    evil: Any = type("Evil\n\x1b[2J", (Exception,), {})
    outcome: Outcome[Any] = run_virtual(fan_out(Task(Script().then_raises(evil)).named("a\nb"))(1))
    text = timeline(outcome)
    assert len(text.splitlines()) == 2
    assert "\x1b" not in text


def test_a_task_of_expand_has_a_line() -> None:
    outcome = run_virtual(expand(Task(Script().then([1, 2], after=5).always([], after=1)).named("crawl"))(0))
    assert timeline(outcome).splitlines()[0] == "crawl  succeeded (3 succeeded)  3 calls  0 -> 6 ms"
