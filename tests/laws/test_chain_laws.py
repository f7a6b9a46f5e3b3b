"""What holds for every chain that can be written."""

import pickle
from collections.abc import Callable
from typing import Any

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from rio_chain import (
    Backoff,
    Breaker,
    Budget,
    Cache,
    Chain,
    ChainDefinitionError,
    Chaos,
    Limit,
    Quantile,
    SingleFlight,
    Task,
    best,
    fan_out,
    first,
    quorum,
    race,
    settle,
    star,
)
from rio_chain.chain._nodes import TaskNode, walk
from rio_chain.chain._plan import compile_plan
from rio_chain.chain._source import ms


def travelled(thing: Any) -> Any:
    return pickle.loads(pickle.dumps(thing))  # noqa: S301 - our own


def f(x: Any) -> Any:
    return x


async def g(x: Any) -> Any:
    return x


def h(x: Any) -> Any:
    return x


def is_fine(x: Any) -> bool:
    return bool(x)


FUNCTIONS = [f, g, h]
NAMES = {
    **{fn.__name__: fn for fn in (*FUNCTIONS, is_fine)},
    "Task": Task,
    "Backoff": Backoff,
    "fan_out": fan_out,
    "settle": settle,
    "star": star,
    "max": max,
    "race": race,
    "first": first,
    "best": best,
    "quorum": quorum,
    "len": len,
}
SHARED = {  # they go by these names in a repr
    "breaker": Breaker(),
    "limit": Limit(3),
    "budget": Budget(),
    "cache": Cache(1000),
    "flights": SingleFlight(),
    "chaos": Chaos(0.1, latency=5),
    "quantile": Quantile(),
}

AnyChain = Chain[..., Any]
functions = st.sampled_from(FUNCTIONS)
milliseconds = st.integers(1, 100_000) | st.floats(0.001, 1e9)
labels = st.text(min_size=1).filter(str.strip)
constants = st.none() | st.integers() | st.text() | st.lists(st.integers()) | st.dictionaries(st.text(), st.booleans())
backoffs = st.none() | st.builds(Backoff, base=st.integers(0, 500), factor=st.integers(1, 5), cap=st.integers(0, 5000))
counts = st.integers(2, 4)
delays = st.sampled_from([0, 20, None])
choosers = st.sampled_from([first(), first(accept=is_fine), quorum(2), best(len, within=5)])
errors = st.sampled_from([Exception, OSError, (OSError,), (OSError, ValueError), is_fine])


def tasks() -> st.SearchStrategy[AnyChain]:
    plain = functions.map(Task)
    return plain | st.sampled_from([f, h]).map(lambda fn: Task(fn).inline()) | st.builds(Task.named, plain, labels)


def retried(chain: AnyChain, n: int, on: Any, backoff: Backoff | None, accept: Any) -> AnyChain:
    return chain.retry(n, on=on, backoff=backoff, accept=accept)


def wider(inner: st.SearchStrategy[AnyChain]) -> st.SearchStrategy[AnyChain]:
    retry = st.builds(retried, inner, st.integers(0, 9), errors, backoffs, st.sampled_from([None, is_fine]))
    keyed = st.dictionaries(st.text(), inner, min_size=1, max_size=3)
    return st.one_of(
        st.builds(composing(lambda a, b: a >> b), inner, inner),
        st.builds(composing(lambda a, b: a >> b), inner, functions),
        st.builds(composing(lambda a, b: a >> b), functions, inner),
        st.builds(composing(lambda a: a >> star(max)), inner),
        st.builds(composing(lambda a, b: a & b), inner, inner),
        st.builds(composing(lambda a, b: a | b), inner, inner | st.sampled_from([f, g, h]) | constants),
        st.builds(composing(lambda a, t: a.timeout(t)), inner, milliseconds),
        retry,
        st.builds(composing(lambda a: a.accept(is_fine)), inner),
        st.builds(composing(lambda a, e: a.or_else(0, on=e)), inner, errors),
        st.builds(composing(lambda a, b, e: a.or_else(b, on=e)), inner, inner, errors),
        st.builds(
            composing(lambda a, n, d, p: a.replica(n, after=d, pick=p)), inner, st.integers(2, 4), delays, choosers
        ),
        st.builds(composing(lambda a, b, d, p: a.replica(after=d, to=[b], pick=p)), inner, inner, delays, choosers),
        st.builds(composing(lambda a, b, p: race(a, b, pick=p)), inner, inner, choosers),
        st.builds(composing(lambda a, n: a.named(n)), inner, labels),
        st.lists(inner, min_size=1, max_size=3).map(composing(lambda many: settle(*many))),
        st.lists(inner, min_size=1, max_size=3).map(composing(lambda many: fan_out(*many))),
        keyed.map(composing(lambda many: fan_out(**many))),
    )


def composing(build: Callable[..., AnyChain]) -> Callable[..., AnyChain]:
    """Drop the examples in which Hypothesis gave a name twice."""

    def wrapped(*parts: Any) -> AnyChain:
        try:
            return build(*parts)
        except ChainDefinitionError as error:
            assume("used twice" not in str(error))
            raise

    return wrapped


def sharing(inner: st.SearchStrategy[AnyChain]) -> st.SearchStrategy[AnyChain]:
    """What keeps state in an object, and can therefore not be pickled."""
    return st.one_of(
        inner.map(lambda a: a.breaker(SHARED["breaker"])),
        inner.map(lambda a: a.limit(SHARED["limit"])),
        inner.map(lambda a: a.budget(SHARED["budget"])),
        inner.map(lambda a: a.cache(SHARED["cache"])),
        inner.map(lambda a: a.single_flight(SHARED["flights"])),
        inner.map(lambda a: a.chaos(SHARED["chaos"])),
        inner.map(lambda a: a.replica(2, after=SHARED["quantile"])),
    )


chains = st.recursive(tasks(), wider, max_leaves=12)
stateful = st.recursive(tasks(), lambda inner: wider(inner) | sharing(inner), max_leaves=12)


@settings(deadline=None)
@given(stateful)
def test_repr_is_source_that_builds_an_equal_chain(chain: AnyChain) -> None:
    again = eval(repr(chain), {**NAMES, **SHARED})  # noqa: S307 - the promise is that it evaluates
    assert again == chain
    assert hash(again) == hash(chain)
    assert repr(again) == repr(chain)


@given(chains, chains, chains)
def test_shift_is_associative(a: AnyChain, b: AnyChain, c: AnyChain) -> None:
    try:
        left = (a >> b) >> c
    except ChainDefinitionError:
        assume(condition=False)
    right = a >> (b >> c)
    assert left == right
    assert left.plan() == right.plan()
    assert (left.plan().tasks, left.plan().bridges) == (right.plan().tasks, right.plan().bridges)
    assert (hash(left), repr(left), left.explain()) == (hash(right), repr(right), right.explain())


@given(chains, chains)
def test_no_builder_call_changes_its_operands(a: AnyChain, b: AnyChain) -> None:
    before = (repr(a), hash(a), a.node, repr(b), hash(b), b.node)
    for call in (
        lambda: a >> b,
        lambda: f >> a,
        lambda: a & b,
        lambda: a | b,
        lambda: fan_out(a, b),
        lambda: settle(a, b),
        lambda: a.timeout(1),
        lambda: a.retry(1),
        lambda: a.named("fresh"),
    ):
        try:
            new = call()
        except ChainDefinitionError:
            continue  # a name in both
        assert new is not a
    assert (repr(a), hash(a), a.node, repr(b), hash(b), b.node) == before


@given(chains)
def test_a_pickle_is_equal_and_keeps_every_origin(chain: AnyChain) -> None:
    again = travelled(chain)
    assert again == chain
    assert type(again) is type(chain)
    origins = [task.call.origin for task in chain.plan().tasks]
    assert [task.call.origin for task in again.plan().tasks] == origins


@settings(deadline=None)
@given(stateful)
def test_a_plan_has_one_task_for_each_occurrence_and_unique_names(chain: AnyChain) -> None:
    plan = chain.plan()
    assert [task.call for task in plan.tasks] == [node for node in walk(plan.root) if isinstance(node, TaskNode)]
    assert len({task.name for task in plan.tasks} | {b.name for b in plan.bridges}) == len(plan.tasks) + len(
        plan.bridges
    )
    assert compile_plan(plan.root) == plan


@settings(deadline=None)
@given(stateful)
def test_every_picture_is_printable_ascii(chain: AnyChain) -> None:
    bounds, findings = str(chain.bounds()), "".join(map(str, chain.lint()))
    for text in (repr(chain), chain.explain(), chain.mermaid(), chain.plan().title, bounds, findings):
        assert all(" " <= c <= "~" or c == "\n" for c in text)


@settings(deadline=None)
@example(Task(f).inline().budget(SHARED["budget"]).named("a"))  # what is left of it is a task, which has its own name
@example(Task(f).timeout(9).named("a").budget(SHARED["budget"]).named("b"))  # two names meet
@given(stateful)
def test_every_better_code_is_source(chain: AnyChain) -> None:
    for finding in chain.lint():
        again = eval(finding.better, {**NAMES, **SHARED})  # noqa: S307 - the promise is that it evaluates
        assert repr(again) == finding.better
        assert set(finding.where) <= {task.name for task in chain.plan().tasks}


@given(st.floats(1e-3, 1e12))
def test_milliseconds_come_back_as_the_same_seconds(value: float) -> None:
    seconds = value / 1000
    assert float(ms(seconds)) / 1000 == seconds
