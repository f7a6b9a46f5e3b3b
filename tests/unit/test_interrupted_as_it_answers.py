"""A timeout expires in the very turn of the loop in which a function answers.

The next step is not begun, and leaves nothing.
"""

from __future__ import annotations

import gc
import warnings
from typing import Any

import pytest

from rio_chain import Chain, Limit, Task, choose, each, when
from rio_chain.engine._current_run import CURRENT

LIMIT = Limit(1)


async def answers(value: int) -> list[int]:
    strand = CURRENT.get()
    assert strand is not None
    strand.slot.interrupt()  # as its timer does, in the very turn of the loop in which it answers
    return [value]


async def echo(value: Any) -> Any:
    return value


@pytest.mark.parametrize(
    "step",
    [
        each(Task(echo)),
        Task(echo).limit(LIMIT),
        choose(when(bool, Task(echo))),
        Task(echo).retry(1).accept(bool),
        (lambda value: value) >> Task(echo).or_else(len),
    ],
    ids=repr,
)
def test_no_coroutine_is_made_for_it(step: Chain[[Any], Any]) -> None:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        (Task(answers) >> step).timeout(5)(7).run(executor="asyncio")
        gc.collect()
    assert [str(one.message) for one in warned] == []
    assert Task(echo).limit(LIMIT)(7).run(executor="asyncio").unwrap() == 7
