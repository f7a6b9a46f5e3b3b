"""The repr of a chain is source: it builds an equal chain again, whatever a policy call is given."""

import doctest
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from fractions import Fraction
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tenacity import stop_after_delay, wait_fixed

import rio_chain
from rio_chain import (
    Backoff,
    Breaker,
    Budget,
    Cache,
    Chain,
    Chaos,
    Gate,
    Limit,
    Permit,
    Quantile,
    SingleFlight,
    Task,
    best,
    first,
    quorum,
    star,
)
from rio_chain._core.source_text import identifier, name_of
from rio_chain.chain._nodes import Scope, walk
from rio_chain.dsl._policy_methods import PolicyMethods
from rio_chain.policies._shared_state import Shared

AnyChain = Chain[..., Any]
CALLS = sorted(name for name, call in vars(PolicyMethods).items() if callable(call) and not name.startswith("_"))


def f(x: Any) -> Any:
    return x


def plain(x: Any) -> bool:
    return bool(x)


def bound_to(least: int, x: Any) -> bool:
    return bool(x >= least)


def asked_for(error: Any) -> float:
    return float(error.seconds)


def later(least: float, error: Any) -> float:
    return max(least, float(error.seconds))


def ever_longer(state: Any) -> float:
    return float(state.attempt_number)


def seconds(state: Any) -> float:
    return float(state.idle_for)


def by_host(x: Any) -> str:
    return str(x)


class Checker:
    def __call__(self, x: Any) -> bool:
        return bool(x)

    def method(self, x: Any) -> bool:
        return bool(x)


class Outer:
    class Inner(ValueError):
        pass


class Door(Gate):
    """Its attributes have the names of what a policy says of itself."""

    label = source = words = facts = asked = "mine"

    def enter(self, _: Any) -> Permit:
        return Permit()


class Described(Door):
    def __str__(self) -> str:
        return "door\n4"


class Last:
    """A chooser of one's own."""

    ask = None
    least = 1

    def good(self, _: Any, /) -> bool:
        raise NotImplementedError

    def decide(self, _: Any, *, left: int, now: float) -> Any:
        raise NotImplementedError


# two functions of one name could not both be bound to it
renamed = type(f)(f.__code__, globals(), "my-fn")
tests = [plain, partial(bound_to, 3), Checker(), Checker().method, star(plain), renamed, len]
durations = (
    st.integers(1, 10**9)
    | st.floats(1e-3, 1e12)
    | st.timedeltas(timedelta(microseconds=1), timedelta.max)
    | st.fractions(Fraction(1, 1000), 10**6)
)
maybe_zero = st.sampled_from([0, -0.0]) | durations
waits = st.sampled_from([None, wait_fixed(1), ever_longer, partial(seconds)]) | st.builds(
    Backoff,
    base=maybe_zero,
    factor=st.integers(1, 9) | st.floats(1, 9),
    cap=maybe_zero,
    jitter=st.sampled_from(["full", "equal", "none", "decorrelated"]),
    max_retry_after=st.none() | maybe_zero,
)
waits |= st.builds(Backoff, base=maybe_zero, step=maybe_zero, cap=maybe_zero, jitter=st.sampled_from(["equal", "none"]))
classes = st.sampled_from([Exception, OSError, TimeoutError, Outer.Inner])
several = st.lists(classes, min_size=1, max_size=3).map(tuple)
functions = st.sampled_from(tests)
errors = classes | several | functions
by_class = st.dictionaries(classes, waits, min_size=1, max_size=3)
picks = st.one_of(
    st.just(first()),
    functions.map(first),
    st.builds(
        best,
        functions,
        within=maybe_zero,
        enough=st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    ),
    st.builds(quorum, st.integers(1, 2), by=st.none() | functions),
    st.builds(Last),
)
gates = st.builds(Door) | st.builds(Described)
Given = tuple[tuple[Any, ...], dict[str, Any]]


def call(*args: st.SearchStrategy[Any], **kwargs: st.SearchStrategy[Any]) -> st.SearchStrategy[Given]:
    """What a policy call is given; each keyword may be left out."""
    return st.tuples(st.tuples(*args), st.fixed_dictionaries({}, optional=kwargs))


keys = st.sampled_from([None, by_host, partial(by_host)])
ARGUMENTS: dict[str, st.SearchStrategy[Given]] = {
    "timeout": call(durations | st.sampled_from([by_host, partial(by_host)])),
    "retry": call(
        st.integers(0, 10**6),
        on=errors | by_class,
        backoff=waits,
        accept=st.none() | functions,
        retry_after=st.none() | st.sampled_from([asked_for, partial(later, 4)]),
        stop=st.none() | st.sampled_from([stop_after_delay(2), by_host]),
    ),
    "accept": call(functions),
    "replica": call(
        st.integers(3, 9),
        after=st.none()
        | maybe_zero
        | st.builds(Quantile)
        | st.lists(st.none() | maybe_zero, min_size=1, max_size=2)
        | st.sampled_from([by_host, partial(by_host)]),
        to=st.lists(st.sampled_from([Task(f), f, Task(f).timeout(5) >> Task(len)]), max_size=2),
        pick=picks,
        on=errors,
    ),
    "breaker": call(st.builds(Breaker, on=errors, name=st.just("payments"), key=keys) | gates),
    "limit": call(st.builds(Limit, st.integers(1, 9), rate=st.none() | st.integers(1, 9), key=keys) | gates),
    "budget": call(st.builds(Budget)),
    "cache": call(st.builds(Cache, durations, key=keys)),
    "single_flight": call(st.builds(SingleFlight, keys)),
    "chaos": call(st.builds(Chaos, st.just(0.1), latency=durations)),
}
EXPORTS = {name: getattr(rio_chain, name) for name in rio_chain.__all__}


def functions_in(value: Any) -> Iterator[Any]:
    """The functions and classes in what a call was given."""
    if isinstance(value, (tuple, list)):
        for part in value:
            yield from functions_in(part)
    elif isinstance(value, dict):
        for part in (*value, *value.values()):
            yield from functions_in(part)
    elif isinstance(value, type(star(f))):
        yield value.fn
    elif callable(value) and not isinstance(value, (Chain, Task)):
        yield value
    else:
        inside = (getattr(value, name, None) for name in ("accept", "score", "by"))
        yield from (fn for part in inside if part is not None for fn in functions_in(part))


def shared_in(chain: AnyChain) -> Iterator[tuple[str, Any]]:
    """The objects with state in a chain, by the names under which they are in its repr."""
    for node in walk(chain.node):
        if isinstance(node, Scope) and node.policy.members:
            yield "limits", node.policy.members
        elif isinstance(node, Scope) and not hasattr(node.policy, "__attrs_attrs__"):
            found = re.fullmatch(r"\.\w+\((\w+)\)", node.policy.source())
            assert found is not None
            yield found[1], node.policy


def again(chain: AnyChain, names: dict[str, Any]) -> Any:
    known = {**EXPORTS, "timedelta": timedelta, "len": len, "f": f, **dict(shared_in(chain)), **names}
    return eval(repr(chain), known)  # noqa: S307 - the promise is that it evaluates


def assert_comes_back(chain: AnyChain, names: dict[str, Any]) -> None:
    built = again(chain, names)
    assert built == chain
    assert hash(built) == hash(chain)
    assert repr(built) == repr(chain)


@settings(deadline=None)
@given(st.data())
@pytest.mark.parametrize("name", CALLS)
def test_a_policy_call_comes_back_from_its_repr_with_every_kind_of_argument(name: str, data: st.DataObject) -> None:
    if name not in ARGUMENTS:
        pytest.skip("its example in the docstring is tested below")
    args, kwargs = data.draw(ARGUMENTS[name])
    names = {identifier(name_of(fn)): fn for fn in functions_in([*args, *kwargs.values()])}
    for given_one in (*args, *kwargs.values()):
        if isinstance(given_one, Gate):
            names["gate"] = given_one
        if isinstance(given_one, Quantile):
            names["quantile"] = given_one
        if isinstance(given_one, Last):
            names["Last"] = given_one
    build: Callable[..., AnyChain] = getattr(Task(f).timeout(50), name)
    assert_comes_back(build(*args, **kwargs), names)


@settings(deadline=None)
@given(errors)
def test_a_fallback_comes_back_with_every_kind_of_on(on: Any) -> None:
    chain: AnyChain = Task(f).or_else(0, on=on)
    assert_comes_back(chain, {identifier(name_of(fn)): fn for fn in functions_in(on)})


@pytest.mark.parametrize("name", CALLS)
def test_the_example_of_a_policy_call_comes_back(name: str) -> None:
    """Also that of one which is added later."""
    found = doctest.DocTestParser().get_examples(getattr(PolicyMethods, name).__doc__ or "")
    known: dict[str, Any] = {"__name__": "example"}
    built: list[Any] = []
    for example in found:
        try:
            built.append(eval(example.source, known))  # noqa: S307 - our own
        except SyntaxError:
            exec(example.source, known)  # noqa: S102 - our own
    chains = [value for value in (*built, known.get("chain")) if isinstance(value, (Task, Chain))]
    assert chains
    for chain in chains:
        assert f".{name}(" in repr(chain)
        assert_comes_back(chain, {})


@pytest.mark.parametrize("name", ["breaker", "limit"])
@pytest.mark.parametrize("gate", [Door(), Described()], ids=["Door", "Described"])
def test_a_gate_goes_by_the_call_that_it_came_by(name: str, gate: Gate) -> None:
    chain: AnyChain = getattr(Task(f), name)(gate)
    other: AnyChain = getattr(Task(f), {"breaker": "limit", "limit": "breaker"}[name])(gate)
    assert chain != other
    assert repr(chain) == f"Task(f).{name}(gate)"
    assert repr(chain.plan().root) != repr(other.plan().root)
    shown = r"door\n4" if isinstance(gate, Described) else "Door"
    assert chain.explain().splitlines()[0] == f"{name} by {shown}"
    assert f"{name} by " in chain.mermaid()
    assert f">{name} gate<" in chain.svg()
    kind = f"{__name__}.{type(gate).__name__}"
    inner = {"kind": "task", "index": 0, "name": "f"}
    assert chain.plan().to_dict()["root"] == {"kind": "gate", "call": name, "type": kind, "inner": inner}


def test_every_policy_that_has_state_is_shared() -> None:
    """So that a simulation can make a fresh one."""
    for value in EXPORTS.values():
        if isinstance(value, type) and issubclass(value, rio_chain.policies.Policy):
            assert issubclass(value, Shared)
