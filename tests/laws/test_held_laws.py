"""Values that stay on workers: the client has handles, and predicates and scores are called where the values are."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from attrs import frozen
from hypothesis import given, note, settings
from hypothesis import strategies as st
from laws.loopback import cut_here
from returns.result import Success
from virtual_loops import on_asyncio

from rio_chain import Chain, Outcome, Task, best, choose, fan_out, race, when
from rio_chain.engine import _ask
from rio_chain.engine._remote_protocol import holds


def number_of(value: Any) -> int:
    """The same number for the same value, which may be what fan-outs have joined."""
    assert not holds(value)  # it runs where the value is
    if isinstance(value, tuple):
        return sum((place + 2) * number_of(one) for place, one in enumerate(value)) % 1009
    return int(value)


@frozen
class Body:
    """Fails for some values. It takes a time that depends on the value, so that few end at once."""

    step: int

    async def __call__(self, value: Any) -> int:
        found = number_of(value) * 31 + self.step
        await asyncio.sleep(0.001 + found * math.pi % 0.05)
        if found % 7 == 0:
            raise ValueError(found)
        return found % 1009


@frozen
class Holds:
    """A predicate. One in eleven values it can't judge."""

    step: int

    def __call__(self, value: Any) -> bool:
        found = number_of(value) + self.step
        if found % 11 == 0:
            raise LookupError(found)
        return found % 3 > 0


leaf = Task(Body(3))
leaves = st.integers(0, 50).map(lambda step: Task(Body(step)))
steps = st.integers(0, 50)


def grown(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.tuples(inner, inner).map(lambda two: two[0] >> two[1]),
        st.tuples(inner, inner).map(lambda two: fan_out(*two)),
        st.tuples(inner, inner).map(lambda two: two[0] | two[1]),
        st.tuples(inner, steps).map(lambda two: two[0].accept(Holds(two[1]))),
        st.tuples(inner, steps).map(lambda two: two[0].retry(1, backoff=None, accept=Holds(two[1]))),
        st.tuples(inner, inner, steps).map(lambda three: choose(when(Holds(three[2]), three[0]), otherwise=three[1])),
        st.tuples(inner, inner).map(lambda two: race(*two, pick=best(number_of, within=1_000))),
        st.tuples(inner, st.sampled_from([int, tuple])).map(lambda two: choose(when(two[1], two[0]), otherwise=leaf)),
    )


chains = st.recursive(leaves, grown, max_leaves=12)


def told(outcome: Outcome[Any]) -> Any:
    result = outcome.result
    end = result.unwrap() if isinstance(result, Success) else (type(outcome.error), str(outcome.error))
    return end, [(one.name, str(one.status), one.attempts) for one in outcome]


@settings(deadline=None, max_examples=300)
@given(chains, steps)
def test_a_chain_does_the_same_where_values_stay_on_workers(chain: Chain[..., Any], start: int) -> None:
    note(repr(chain))

    def run(here: Callable[[], Any]) -> tuple[Any, Any]:
        async def main() -> tuple[Any, Any]:
            with here() as remote:
                return told(await chain(start)), remote

        found: tuple[Any, Any] = on_asyncio(main)
        return found

    whole, _ = run(nullcontext)
    cut, _ = run(lambda: cut_here(holds=True))
    assert cut[0] == whole[0]
    ends = {status for _, status, _ in (*whole[1], *cut[1])}
    if ends <= {"succeeded", "skipped"}:  # else a branch has failed, and how far the others came is a matter of time
        assert cut[1] == whole[1]


def test_predicates_and_scores_are_asked_where_the_value_is() -> None:
    """Each kind of question goes to a worker, in one chain."""
    asked = list[str]()
    ask_there = _ask.ask_there

    async def noted(*args: Any, **kwargs: Any) -> Any:
        asked.append(args[2])
        return await ask_there(*args, **kwargs)

    two = fan_out(Task(Body(1)), Task(Body(2)))
    chain = two.accept(Holds(2)).retry(1, accept=Holds(4)) >> Task(Body(3)).replica(2, pick=best(number_of, within=50))
    chain >>= choose(when(Holds(2), two), otherwise=two) >> Task(Body(4))
    start = next(start for start in range(100) if chain(start).run().ok)

    async def main() -> Any:
        with cut_here(holds=True) as remote:
            outcome = await chain(start)
        return outcome, remote.held

    _ask.ask_there = noted
    try:
        outcome, held = on_asyncio(main)
    finally:
        _ask.ask_there = ask_there
    assert outcome.unwrap() == chain(start).run().unwrap()
    assert asked == ["accept", "accept", "score", "score", "when"]
    assert held == 6
