"""``each`` is a list comprehension, ``expand`` a breadth-first walk, ``reduce`` a fold: with any limit and delays."""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from functools import reduce as fold
from typing import Any

import virtual_loops
from attrs import frozen
from conformance.harness import pause
from hypothesis import given, note, settings
from hypothesis import strategies as st
from laws.dag_values import said
from returns.result import Failure, Success

from rio_chain import (
    BridgeFailed,
    Chain,
    LimitExceeded,
    NotEnoughSuccesses,
    Outcome,
    Task,
    at_least,
    each,
    expand,
    reduce,
)

# --- how it is run ----------------------------------------------------------------------------------------------


async def outcome_of(chain: Chain[..., Any], value: Any) -> Outcome[Any]:
    return await chain(value)


def on_asyncio(chain: Chain[..., Any], value: Any) -> Outcome[Any]:
    outcome: Outcome[Any] = virtual_loops.on_asyncio(outcome_of, chain, value)
    return outcome


def on_trio(chain: Chain[..., Any], value: Any) -> Outcome[Any]:
    outcome: Outcome[Any] = virtual_loops.on_trio(outcome_of, chain, value)
    return outcome


def on_threads(chain: Chain[..., Any], value: Any) -> Outcome[Any]:
    outcome: Outcome[Any] = chain(value).run(executor="thread")
    return outcome


Run = Callable[[Chain[..., Any], Any], Outcome[Any]]
loops = st.sampled_from([on_asyncio, on_trio])
limits = st.integers(1, 5)


class OddError(Exception):
    def __eq__(self, other: object) -> bool:
        return type(other) is OddError and other.args == self.args

    def __hash__(self) -> int:
        return hash(self.args)


def answer(item: int) -> int:
    if item % 5 == 3:
        raise OddError(item)
    return 10 * item


@frozen
class Work:
    """Takes as long for each item as is written there."""

    delays: tuple[int, ...]
    running: list[int]

    async def __call__(self, item: int, /) -> int:
        self.running.append(+1)
        try:
            await pause(self.delays[item % len(self.delays)])
            return answer(item)
        finally:
            self.running.append(-1)


def most(changes: Iterable[int]) -> int:
    """How many were under way at once."""
    now = top = 0
    for change in changes:
        now += change
        top = max(top, now)
    return top


# --- each -------------------------------------------------------------------------------------------------------


async def several(items: list[int]) -> AsyncIterator[int]:
    for item in items:
        await pause(item % 3)
        yield item


def one_by_one(items: list[int]) -> Iterator[int]:
    yield from items


def same(items: list[int]) -> list[int]:
    return items


def in_place(make: Callable[[list[int]], Any]) -> Chain[..., Any]:
    """A task that a virtual clock does not run away from."""
    return Task(make) if make is several else Task(make).inline()


SOURCES = [same, tuple, several, deque]
items = st.lists(st.integers(0, 20), max_size=12)
delays = st.lists(st.integers(0, 7), min_size=1, max_size=5).map(tuple)


def results(given: list[int]) -> list[Any]:
    made: list[Any] = []
    for item in given:
        try:
            made.append(Success(answer(item)))
        except OddError as error:
            made.append(Failure(error))
    return made


def expected(given: list[int], on_error: Any) -> Any:
    """What comes out, as a Result; for the failure of the whole any of the items that fail will do."""
    made = results(given)
    values = [one.unwrap() for one in made if isinstance(one, Success)]
    if on_error == "keep":
        return Success(made)
    if on_error == "raise" and len(values) < len(made):
        return OddError
    if on_error not in ("raise", "drop") and len(values) < on_error.least:
        return NotEnoughSuccesses
    return Success(values)


def agree(outcome: Outcome[Any], wanted: Any, *, ordered: bool = True) -> bool:
    if isinstance(wanted, type):
        return isinstance(outcome.result, Failure) and isinstance(outcome.result.failure(), wanted)
    if ordered:
        return bool(outcome.result == wanted)
    return sorted(map(said, outcome.unwrap())) == sorted(map(said, wanted.unwrap()))


tolerance = st.sampled_from(["raise", "keep", "drop", at_least(1), at_least(3)])


@settings(deadline=None, max_examples=150)
@given(items, delays, limits, st.sampled_from(["raise", "stop"]), st.booleans(), st.integers(0, 25), loops)
def test_each_ends_as_a_loop_does(  # noqa: PLR0917 - what is drawn
    given: list[int], delays: tuple[int, ...], limit: int, on_error: Any, drops: bool, bound: int, run: Run
) -> None:
    """``take=`` a function, ``drop=`` and ``on_error="stop"`` give what a loop with ``break`` gives."""
    chain = in_place(same) >> each(
        Task(Work(delays, [])).named("work"),
        limit=limit,
        on_error=on_error,
        drop=OddError if drops else None,
        take=lambda value: value < 10 * bound,
    )
    outcome, wanted = run(chain, given), list[int]()
    for one in results(given):
        if isinstance(one, Failure):
            if drops:
                continue
            if on_error == "raise":
                # a later item may have failed first, so which failure it is depends on timing
                assert isinstance(outcome.result, Failure)
                return
            break
        if one.unwrap() >= 10 * bound:
            break
        wanted.append(one.unwrap())
    if on_error == "raise" and isinstance(outcome.result, Failure):
        assert any(isinstance(one, Failure) for one in results(given)), "an item beyond the end has failed before it"
        assert not drops
        return
    assert outcome.result == Success(wanted)


@settings(deadline=None, max_examples=100)
@given(items, delays, limits, st.integers(1, 9), st.booleans(), loops)
def test_each_takes_so_many_and_calls_no_more(  # noqa: PLR0917 - what is drawn
    given: list[int], delays: tuple[int, ...], limit: int, most: int, ordered: bool, run: Run
) -> None:
    chain = in_place(same) >> each(
        Task(Work(delays, [])).named("work"), limit=limit, ordered=ordered, drop=OddError, take=most
    )
    outcome = run(chain, given)
    wanted, needed = list[int](), 0
    for one in results(given):
        if len(wanted) == most:
            break
        needed += 1
        if isinstance(one, Success):
            wanted.append(one.unwrap())
    assert sorted(outcome.unwrap()) == sorted(wanted)
    assert not ordered or outcome.unwrap() == wanted
    assert outcome["work"].attempts == needed


@settings(deadline=None, max_examples=150)
@given(items, delays, limits, st.booleans(), tolerance, st.sampled_from(SOURCES), loops)
def test_each_is_the_list_comprehension(  # noqa: PLR0917 - what is drawn
    given: list[int], delays: tuple[int, ...], limit: int, ordered: bool, on_error: Any, source: Any, run: Run
) -> None:
    running: list[int] = []
    inner = Task(Work(delays, running)).named("work")
    chain = in_place(source) >> each(inner, limit=limit, ordered=ordered, on_error=on_error)
    outcome = run(chain, given)
    note(outcome.summary())
    assert agree(outcome, expected(given, on_error), ordered=ordered)
    response = outcome["work"]
    assert most(running) <= limit
    assert response.attempts == running.count(+1) == running.count(-1) <= len(given)
    assert sum(response.counts.values()) == response.attempts
    if on_error != "raise":
        assert response.counts.get("succeeded", 0) == sum(isinstance(one, Success) for one in results(given))
        assert [one.index for one in response.items] == [*range(len(given))]


@settings(deadline=None, max_examples=40)
@given(items, limits, tolerance, st.sampled_from([*SOURCES, one_by_one]), st.booleans())
def test_each_is_the_same_on_threads(given: list[int], limit: int, on_error: Any, source: Any, is_async: bool) -> None:
    inner: Any = Task(Work((0,), [])) if is_async else Task(answer)
    chain = Task(source) >> each(inner, limit=limit, on_error=on_error)
    assert agree(on_threads(chain, given), expected(given, on_error))


# --- reduce -----------------------------------------------------------------------------------------------------


def joined(total: str, value: object) -> str:
    """It matters which comes first."""
    return f"({total}{value})"


starts: Any = st.sampled_from([(), ("",), ("a",)])


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(0, 2), max_size=12), delays, limits, starts, st.sampled_from(SOURCES), loops)
def test_reduce_is_the_fold_of_the_list(  # noqa: PLR0917 - what is drawn
    given: list[int], delays: tuple[int, ...], limit: int, start: tuple[str, ...], source: Any, run: Run
) -> None:
    chain = in_place(source) >> each(Task(Work(delays, [])), limit=limit) >> reduce(joined, *start)
    outcome = run(chain, given)
    values = [answer(item) for item in given]
    if values or start:
        assert outcome.unwrap() == fold(joined, values, *start)
    else:
        assert isinstance(outcome.result.failure(), BridgeFailed)


@settings(deadline=None, max_examples=50)
@given(items, delays, limits, loops)
def test_reduce_of_what_comes_in_any_order_takes_each_once(
    given: list[int], delays: tuple[int, ...], limit: int, run: Run
) -> None:
    folded = each(Task(Work(delays, [])), limit=limit, ordered=False, on_error="drop") >> reduce(operator.add, 0)
    assert run(folded, given).unwrap() == sum(one.value_or(0) for one in results(given))


# --- expand -----------------------------------------------------------------------------------------------------

Graph = dict[int, list[int]]
graphs: st.SearchStrategy[Graph] = st.dictionaries(
    st.integers(0, 9), st.lists(st.integers(0, 9), max_size=4), max_size=10
)


@frozen
class Page:
    """What a piece of work gives."""

    node: int
    links: tuple[int, ...]


@frozen
class Crawl:
    """Looks a node up, and fails for some."""

    graph: Graph
    delays: tuple[int, ...]
    broken: frozenset[int]
    running: list[int]

    async def __call__(self, node: int, /) -> Page:
        self.running.append(+1)
        try:
            await pause(self.delays[node % len(self.delays)] + node / 10)
        finally:
            self.running.append(-1)
        if node in self.broken:
            raise OddError(node)
        return Page(node, tuple(self.graph.get(node, ())))


def links(page: Page) -> tuple[int, ...]:
    return page.links


def by_levels(graph: Graph, broken: frozenset[int]) -> list[list[int]]:
    """Breadth first, each once; what is broken leads nowhere."""
    levels, seen = [[0]], {0}
    while levels[-1]:
        level: list[int] = []
        for node in levels[-1]:
            for link in () if node in broken else graph.get(node, ()):
                if link not in seen:
                    seen.add(link)
                    level.append(link)
        levels.append(level)
    return levels[:-1]


broken_nodes = st.frozensets(st.integers(0, 9), max_size=2)


@settings(deadline=None, max_examples=200)
@given(
    graphs, delays, limits, broken_nodes, st.sampled_from(["raise", "keep", "drop"]), st.none() | st.integers(0, 3),
    st.sampled_from(["raise", "stop"]), loops,
)  # fmt: skip
def test_expand_is_the_breadth_first_walk(  # noqa: PLR0917 - what is drawn
    graph: Graph, delays: tuple[int, ...], limit: int, broken: frozenset[int], on_error: Any, depth: int | None,
    on_limit: Any, run: Run,
) -> None:  # fmt: skip
    running: list[int] = []
    task = Task(Crawl(graph, delays, broken, running)).named("crawl")
    chain = expand(task, limit=limit, depth=depth, more=links, on_error=on_error, on_limit=on_limit)
    outcome = run(chain, 0)
    levels = by_levels(graph, broken)
    cut = depth is not None and len(levels) > depth + 1
    nodes = [node for level in levels[: None if depth is None else depth + 1] for node in level]
    note(f"{levels} {outcome.result}")
    assert most(running) <= limit
    assert outcome["crawl"].attempts == running.count(+1) == running.count(-1) <= len(nodes)
    if on_error == "raise" and broken & {*nodes}:
        assert isinstance(outcome.result.failure(), (OddError, LimitExceeded) if cut else OddError)
    elif cut and on_limit == "raise":
        assert isinstance(outcome.result.failure(), LimitExceeded)
    elif on_error == "keep":
        assert [one.map(lambda page: page.node) for one in outcome.unwrap()] == [
            Failure(OddError(node)) if node in broken else Success(node) for node in nodes
        ]
    else:
        assert [page.node for page in outcome.unwrap()] == [node for node in nodes if node not in broken]


@settings(deadline=None, max_examples=60)
@given(graphs, delays, limits, st.integers(1, 6), st.sampled_from(["raise", "stop"]), loops)
def test_expand_stops_at_its_total(  # noqa: PLR0917 - what is drawn
    graph: Graph, delays: tuple[int, ...], limit: int, total: int, on_limit: Any, run: Run
) -> None:
    running: list[int] = []
    chain = expand(
        Task(Crawl(graph, delays, frozenset(), running)), limit=limit, total=total, more=links, on_limit=on_limit
    )
    outcome = run(chain, 0)
    nodes = {node for level in by_levels(graph, frozenset()) for node in level}
    assert running.count(+1) == running.count(-1) <= total
    if len(nodes) > total and on_limit == "raise":
        assert isinstance(outcome.result.failure(), LimitExceeded)
        return
    got = [page.node for page in outcome.unwrap()]
    assert len(got) == len({*got}) == min(total, len(nodes))
    assert {*got} <= nodes
