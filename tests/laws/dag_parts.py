"""Random DAGs as recipes: trees of parts, and what each backend answers. The chains made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from attrs import evolve, field, frozen
from hypothesis import strategies as st
from laws.dag_values import ALWAYS, Async, Check, Gather, Picks, Spread, share

from rio_chain import Chain, Task, at_least, choose, each, fan_out, race, settle, when

POLICIES = ("timeout", "retry", "replica", "named")


@frozen
class Part:
    """A task or a join of parts. ``n`` is the number in it: of a limit, of retries, of items."""

    kind: str
    inner: tuple[Part, ...] = ()
    n: int = 0
    ms: int = 0
    faults: int = 0  # so many calls with the same input fail
    mode: str = ""  # of an `each`: what a failure means
    task: int = -1  # which task it is: the same may be in several places
    number: int = field(default=-1, eq=False)  # of the place
    uses: tuple[Part, ...] = ()

    def walk(self) -> Iterator[Part]:
        """It and all in it, in plan order."""
        yield self
        for part in self.inner:
            yield from part.walk()

    def tasks(self) -> list[Part]:
        """The tasks in it."""
        return [part for part in self.walk() if part.kind == "task"]

    def has(self, *kinds: str) -> bool:
        """Whether one of these is in it."""
        return any(part.kind in kinds for part in self.walk())

    def __repr__(self) -> str:
        if self.kind == "task":
            uses = f" uses {[part.number for part in self.uses]}" if self.uses else ""
            return f"t{self.task}({self.ms} ms, {self.faults} faults{uses})"
        return f"{self.number}:{self.kind}{self.mode}.{self.n}{list(self.inner)}"


def limit_of(part: Part) -> float:
    """The milliseconds of a timeout."""
    return part.n + share("limit", part.number)


# --- chains -----------------------------------------------------------------------------------------------------

Make = Callable[[Part], Chain[..., Any]]


def named_tasks(body: Callable[[int, int, int], Any] = Async) -> Make:
    """Each task in a recipe is one of its own, with its name."""
    return lambda part: Task(body(part.task, part.ms, part.faults)).named(f"t{part.task}")


def chain_of(root: Part, make: Make | None = None, **joins: Callable[..., Any]) -> Chain[..., Any]:
    """The chain of a recipe; ``joins`` are more kinds of them."""
    made: Chain[..., Any] = Builder(make or named_tasks(), {**JOINS, **joins}).build(root)
    return made


@frozen
class Builder:
    """Makes chains of recipes; what is used is the very chain that was made for it before."""

    make: Make
    joins: Mapping[str, Callable[..., Any]] = field(factory=lambda: JOINS)
    made: dict[int, Chain[..., Any]] = field(factory=dict)

    def build(self, part: Part) -> Any:
        """The chain of a part."""
        chain = self.made[part.number] = self._built(part)
        return chain

    def _built(self, part: Part) -> Any:
        if part.kind == "task":
            task: Any = self.make(part)
            return task.using(**{f"u{i}": self._source(use) for i, use in enumerate(part.uses)}) if part.uses else task
        inner = [self.build(one) for one in part.inner]
        return self.joins[part.kind](part, *inner)

    def _source(self, part: Part) -> Any:
        return self.made[part.number] if part.number in self.made else self.build(part)


def _each(part: Part, chain: Any) -> Any:
    tolerant: Any = {"some": at_least(2)}.get(part.mode, part.mode)
    return Spread(part.n) >> each(chain, limit=1 + part.ms % 3, on_error=tolerant) >> Gather(part.n)


def _choose(part: Part, *inner: Any) -> Any:
    whens = [when(Picks(i, len(inner)), chain) for i, chain in enumerate(inner[:-1])]
    return choose(*whens, otherwise=inner[-1])


def _seq(_: Part, *inner: Any) -> Any:
    chain = inner[0]
    for other in inner[1:]:
        chain >>= other
    return chain


JOINS: dict[str, Callable[..., Any]] = {
    "seq": _seq,
    "check": lambda part, a: a >> Check(part.n % 4),
    "and": lambda _, *inner: fan_out(*inner),
    "keys": lambda _, *inner: fan_out(**{f"k{i}": chain for i, chain in enumerate(inner)}),
    "need": lambda part, *inner: fan_out(*inner, need=need_of(part)),
    "settle": lambda _, *inner: settle(*inner),
    "race": lambda _, *inner: race(*inner),
    "or": lambda _, a, b: a | b,
    "choose": _choose,
    "each": _each,
    "timeout": lambda part, a: a.timeout(limit_of(part)),
    "retry": lambda part, a: a.retry(part.n, backoff=None),
    "replica": lambda part, a: a.replica(1 + part.n, after=None),
    "named": lambda part, a: a.named(f"n{part.number}"),
}


def need_of(part: Part) -> int:
    """How many branches of a ``need`` are enough."""
    return 1 + part.n % len(part.inner)


# --- what is drawn ----------------------------------------------------------------------------------------------

tasks = st.builds(
    Part,
    st.just("task"),
    ms=st.sampled_from([0, 1, 4, 9, 20]),
    faults=st.sampled_from([0, 0, 0, 0, 1, 2, ALWAYS]),
)
TIMELESS = ("seq", "check", "and", "keys", "settle", "or", "choose", "each", "retry", "named")
ALL = (*TIMELESS, "need", "race", "timeout", "replica")


def wider(kinds: tuple[str, ...], inner: st.SearchStrategy[Part]) -> st.SearchStrategy[Part]:
    """One layer more."""
    few = st.lists(inner, min_size=2, max_size=3).map(tuple)
    two, one = st.tuples(inner, inner), st.tuples(inner)
    numbers = st.integers(0, 3)
    known: dict[str, st.SearchStrategy[Part]] = {
        **{kind: st.builds(Part, st.just(kind), few, numbers) for kind in ("and", "keys", "settle", "race", "choose")},
        "seq": st.builds(Part, st.just("seq"), few),
        "need": st.builds(Part, st.just("need"), few, numbers),
        "or": st.builds(Part, st.just("or"), two),
        "check": st.builds(Part, st.just("check"), st.tuples(tasks), numbers),
        "each": st.builds(
            Part,
            st.just("each"),
            one,
            st.integers(0, 4),
            numbers,
            mode=st.sampled_from(["raise", "keep", "drop", "some"]),
        ),
        "timeout": st.builds(Part, st.just("timeout"), one, st.sampled_from([2, 6, 15, 40])),
        "retry": st.builds(Part, st.just("retry"), one, st.integers(0, 2)),
        "replica": st.builds(Part, st.just("replica"), one, st.integers(1, 2)),
        "named": st.builds(Part, st.just("named"), one),
    }
    other = {kind: st.builds(Part, st.just(kind), one, numbers, numbers) for kind in kinds if kind not in known}
    return st.one_of(*({**known, **other}[kind] for kind in kinds))


def numbered(root: Part) -> Part:
    """The same with a number for each place, and each task one of its own."""
    count = iter(range(1_000))

    def visit(part: Part) -> Part:
        number = next(count)
        inner = tuple(visit(one) for one in part.inner)
        return evolve(part, inner=inner, number=number, task=number if part.kind == "task" else -1)

    return visit(root)


def parts(kinds: tuple[str, ...] = ALL) -> st.SearchStrategy[Part]:
    """Recipes without ``.using``."""
    return st.recursive(tasks, lambda inner: wider(kinds, inner), max_leaves=7).map(numbered)
