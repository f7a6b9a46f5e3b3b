"""What a chain can cost at most, by rule and, for small chains, by trying everything that can happen."""

import heapq
import math
from collections import Counter
from collections.abc import Callable, Iterator
from textwrap import dedent
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rio_chain import (
    Backoff,
    Bounds,
    Chain,
    Chaos,
    Limit,
    Quantile,
    SingleFlight,
    Task,
    choose,
    each,
    expand,
    fan_out,
    quorum,
    race,
    settle,
    when,
)
from rio_chain.chain._nodes import Choose, Expand, FanOutNode, Node, OrElse, RaceNode, Scope, Seq, TaskNode, walk
from rio_chain.chain._plan import compile_plan
from rio_chain.inspect._bounds import Cut
from rio_chain.policies import Retry, Timeout


def f(x: Any) -> Any:
    return x


def g(x: Any) -> Any:
    return x


def h(x: Any) -> Any:
    return x


def is_good(x: Any) -> bool:
    return bool(x)


def used(x: Any, first: Any = None) -> Any:
    return x, first


AnyChain = Chain[..., Any]
F, G, H = Task(f), Task(g), Task(h)
FIXED = Backoff(base=100, factor=1, jitter="none")
NO_LIMIT = math.inf


class TestTime:
    @pytest.mark.parametrize(
        ("chain", "ms"),
        [
            (F, NO_LIMIT),
            (F.timeout(100), 100),
            (F.timeout(100).timeout(50), 50),
            (F.timeout(100) >> f >> G.timeout(50), 150),
            (F.timeout(100) & G.timeout(50), 100),
            (settle(F.timeout(100), G.timeout(50)), 100),
            (fan_out(a=F.timeout(100), b=G), NO_LIMIT),
            ((F & G).timeout(30), 30),
            (F.timeout(100) | G.timeout(50), 150),
            (F.timeout(100).or_else([]), 100),
            (F.timeout(100).named("x"), 100),
            (F.timeout(100).retry(2, backoff=None), 300),
            (F.timeout(100).retry(2, backoff=FIXED), 500),
            (F.timeout(100).retry(3, backoff=Backoff(base=10, cap=30)), 400 + 10 + 20 + 30),
            (F.timeout(100).retry(2, backoff=Backoff(base=10, cap=80, jitter="decorrelated")), 300 + 30 + 80),
            (F.timeout(100).retry(2, on={OSError: FIXED, ValueError: None}), 500),
            (F.timeout(100).retry(2, backoff=lambda _: 1.0), NO_LIMIT),
            (F.timeout(100).retry(0, backoff=lambda _: 1.0), 100),
            (F.timeout(100).retry(5_000, backoff=Backoff(base=1, factor=1)), 500_100 + 5_000),
            (F.timeout(100).retry(3, backoff=Backoff(base=10, cap=30), retry_after=str), 400 + 3 * 30),
            (F.timeout(100).retry(3, backoff=Backoff(base=10, cap=30, max_retry_after=20)), 400 + 20 + 20 + 30),
            (F.timeout(100).retry(1, backoff=Backoff(max_retry_after=0), retry_after=str), 200 + 50),
            (F.timeout(100).retry(1, backoff=None, retry_after=str), math.inf),
            (F.timeout(100).retry(2, backoff=None).timeout(250), 250),
            (race(F.timeout(100), G.timeout(50)), 100),
            (F.timeout(100).limit(Limit(1)), NO_LIMIT),
            (F.timeout(100).limit(Limit(1, wait=30)), 130),
            (F.limit(Limit(1)).timeout(100), 100),
            (F.timeout(100).chaos(Chaos(0.1, latency=20)), 120),
            (F.timeout(100).single_flight(SingleFlight()), 200),
            (each(F.timeout(100), limit=3), NO_LIMIT),
            (each(F.timeout(100)).timeout(500), 500),
            (expand(F.timeout(100), total=20), 2_000),
            (expand(F.timeout(100), total=10**400), NO_LIMIT),
            (expand(F.timeout(100), depth=2), 1_000_000),
            (expand(F, total=20), NO_LIMIT),
            (choose(when(int, F.timeout(100)), when(is_good, G.timeout(300)), otherwise=H.timeout(200)), 300),
            (choose(when(int, F.timeout(100)), otherwise=G), NO_LIMIT),
            (fan_out(F.timeout(100), G.timeout(50), need=1), 100),
            (F.timeout(100) >> G.timeout(10) >> Task(used).using(first=F).timeout(5), 115),
            (F.timeout(100).retry(10**400, backoff=None), NO_LIMIT),
        ],
    )
    def test_without_hedges(self, chain: AnyChain, ms: float) -> None:
        found = chain.bounds()
        assert found.time == pytest.approx(ms)
        assert found.time_without_hedges == pytest.approx(ms)

    @pytest.mark.parametrize(
        ("chain", "ms", "without"),
        [
            (F.timeout(100).replica(2, after=20), 120, 100),
            (F.timeout(100).replica(3, after=20), 140, 100),
            (F.timeout(100).replica(3), 100, 100),
            (F.timeout(100).replica(3, after=None), 300, 100),
            (F.timeout(100).replica(3, after=400), 300, 100),
            (F.timeout(100).replica(1_000, after=20), 20 * 999 + 100, 100),
            (F.timeout(100).replica(1_000), 100, 100),
            (F.timeout(100).replica(2, after=Quantile()), 200, 100),
            (F.timeout(100).replica(2, after=20, to=[G.timeout(500)]), 520, 100),
            (F.timeout(100).replica(3, after=20, pick=quorum(2)), 120, 100),
            (F.timeout(100).replica(2, after=20).retry(1, backoff=None), 240, 200),
            (F.replica(2, after=20).timeout(90), 90, 90),
        ],
    )
    def test_with_hedges(self, chain: AnyChain, ms: float, without: float) -> None:
        found = chain.bounds()
        assert (found.time, found.time_without_hedges) == (pytest.approx(ms), pytest.approx(without))


class TestCalls:
    @pytest.mark.parametrize(
        ("chain", "calls", "without"),
        [
            (F.retry(3), {"f": 4}, {"f": 4}),
            (F.retry(2).retry(2), {"f": 9}, {"f": 9}),
            ((F.retry(2) >> G).retry(1), {"f": 6, "g": 2}, {"f": 6, "g": 2}),
            ((F & G).retry(1), {"f": 2, "g": 2}, {"f": 2, "g": 2}),
            ((F | G).retry(1), {"f": 2, "g": 2}, {"f": 2, "g": 2}),
            (F.replica(3).retry(1), {"f": 6}, {"f": 2}),
            (F.replica(3, to=[G]), {"f": 2, "g": 1}, {"f": 1, "g": 0}),
            (race(F, G), {"f": 1, "g": 1}, {"f": 1, "g": 1}),
            (F.retry(10**9).retry(10**9), {"f": (10**9 + 1) ** 2}, {"f": (10**9 + 1) ** 2}),
            (each(F.retry(2)) >> G, {"f": NO_LIMIT, "g": 1}, {"f": NO_LIMIT, "g": 1}),
            (each(F).timeout(5).retry(10**400), {"f": NO_LIMIT}, {"f": NO_LIMIT}),
            (F.replica(2, to=[each(G)]), {"f": 1, "g": NO_LIMIT}, {"f": 1, "g": 0}),
            (expand(F.retry(1) >> G, total=20).retry(2), {"f": 120, "g": 60}, {"f": 120, "g": 60}),
            (choose(when(int, F.retry(1)), otherwise=G).retry(2), {"f": 6, "g": 3}, {"f": 6, "g": 3}),
            (fan_out(F.retry(1), G, H, need=2), {"f": 2, "g": 1, "h": 1}, {"f": 2, "g": 1, "h": 1}),
            (F >> G >> Task(used).using(first=F).retry(1), {"f": 1, "g": 1, "used": 2}, {"f": 1, "g": 1, "used": 2}),
        ],
    )
    def test_multiply(self, chain: AnyChain, calls: dict[str, int], without: dict[str, int]) -> None:
        found = chain.bounds()
        assert (found.calls, found.calls_without_hedges) == (calls, without)
        assert all(isinstance(many, int) for many in found.calls.values() if many < NO_LIMIT)


class TestCuts:
    def test_attempts_that_the_limit_has_no_time_for(self) -> None:
        [cut] = F.timeout(200).retry(3, backoff=FIXED).timeout(500).bounds().cuts
        assert cut == Cut("retry", ("f",), 500, calls=4, slowest=2, fastest=4)

    def test_attempts_that_come_too_late_even_when_they_fail_at_once(self) -> None:
        [cut] = F.retry(9, backoff=FIXED).timeout(250).bounds().cuts
        assert cut == Cut("retry", ("f",), 250, calls=10, slowest=1, fastest=3)

    def test_the_smallest_limit_around_counts(self) -> None:
        [cut] = (F.retry(1, backoff=None).timeout(300) >> G).timeout(200).bounds().cuts
        assert cut.limit == 200

    def test_hedges(self) -> None:
        [cut] = F.replica(4, after=100).timeout(250).bounds().cuts
        assert cut == Cut("replica", ("f",), 250, calls=4, slowest=3, fastest=4)

    def test_as_many_hedges_as_there_may_be(self) -> None:
        chain = F.timeout(100).replica(1_000, after=20, to=[G.timeout(10)], pick=quorum(2))
        [cut] = chain.timeout(250).bounds().cuts  # they begin at 0, 0, 10, 30, 40, 60, ... 240, 250
        assert (cut.slowest, cut.fastest) == (18, 1_000)

    def test_of_each_item(self) -> None:
        [cut] = each(F.timeout(200).retry(3, backoff=FIXED)).timeout(500).bounds().cuts
        assert cut == Cut("retry", ("f",), 500, calls=4, slowest=2, fastest=4)

    def test_none_where_all_fit(self) -> None:
        assert F.timeout(100).retry(2, backoff=None).timeout(300).bounds().cuts == ()
        assert F.retry(9).bounds().cuts == ()


class TestLook:
    def test_it_prints_as_text(self) -> None:
        chain = F.timeout(100).replica(2, after=20) >> G.timeout(200).retry(3, backoff=FIXED).timeout(500)
        assert repr(chain.bounds()) == dedent("""\
            at most 620 ms, without hedges 600 ms
            f: at most 2 calls, without hedges 1
            g: at most 4 calls
            retry of g: 2 of 4 calls begin within 500 ms when they are slow""")
        assert str(F.bounds()) == "no limit but abandon_after\nnothing limits f\nf: at most 1 call"

    def test_names_what_has_no_limit(self) -> None:
        short = F.timeout(5)
        for chain, names in (
            (short >> G, ("g",)),
            ((short & G) >> H, ("g", "h")),
            (short | G, ("g",)),
            (G >> G, ("g#1", "g#2")),
            (each(G), ("g",)),
            (each(short), ("each of f",)),
            (each(short >> short), ("each of f#1, f#2",)),
            (short.limit(Limit(1)) >> G.retry(2), ("limit of f", "g")),
            (G.replica(to=[short]), ("g",)),
            (race(G, short), ("g",)),
            (choose(when(int, short), otherwise=G), ("g",)),
            (G.named("slow one"), ("slow one",)),
            (short >> G.timeout(9), ()),
            ((short >> G).timeout(9), ()),
            (each(G).timeout(9), ()),
            (short >> G.inline(), ()),
        ):
            bounds = chain.bounds()
            assert bounds.unlimited == names, repr(chain)
            assert (bounds.time == math.inf) == bool(names)
        assert str((short >> G >> (H & H)).bounds()).splitlines()[1] == "nothing limits g, h#1, h#2"

    def test_an_inline_function_is_no_backend(self) -> None:
        chain = F.timeout(100).retry(1, backoff=None) >> G.inline() >> each(H.inline())
        bounds = (chain.timeout(500) >> G.inline().retry(9, backoff=None)).bounds()
        assert (bounds.time, bounds.calls, bounds.calls_without_hedges) == (500, {"f": 2}, {"f": 2})
        alone = (F.timeout(100) >> G.inline()).bounds()
        assert (alone.time, alone.calls, alone.unlimited) == (100, {"f": 1}, ())

    def test_items_are_any_number(self) -> None:
        chain = each(F.timeout(100)).timeout(500) >> G.replica(2, to=[each(H)]).timeout(50)
        assert str(chain.bounds()) == dedent("""\
            at most 550 ms
            f: any number of calls
            g: at most 1 call
            h: any number of calls, without hedges 0""")

    def test_it_is_a_value(self) -> None:
        assert F.retry(1).bounds() == F.retry(1).bounds()
        assert hash(F.retry(1).bounds()) == hash(F.retry(1).bounds())
        assert isinstance(F.bounds(), Bounds)

    def test_of_a_long_chain(self) -> None:
        chain: AnyChain = F.timeout(1)
        for _ in range(5_000):
            chain = chain >> G.timeout(1)
        assert chain.bounds().time == pytest.approx(5_001)


# --- everything that can happen -----------------------------------------------------------------------------------

Chance = Callable[[], bool]
"""Whether the next call succeeds, a test is true, or there is more to do. A call takes all the time it has."""
Ran = tuple[bool, float]


class Model:
    """Runs a small chain in which each task is as slow as its timeout, with given answers."""

    def __init__(self, chance: Chance, *, hedges: bool) -> None:
        self.chance = chance
        self.hedges = hedges
        self.calls: Counter[str] = Counter()

    def run(self, node: Node) -> Ran:
        if isinstance(node, Scope) and isinstance(node.policy, Timeout):
            assert isinstance(node.inner, TaskNode)
            self.calls[node.inner.name] += 1
            return self.chance(), node.policy.seconds
        if isinstance(node, Scope):
            assert isinstance(node.policy, Retry)
            return self.retry(node.policy, node.inner)
        if isinstance(node, Seq):
            return self.one_by_one(node.steps, stop_at=False)
        if isinstance(node, OrElse):
            return self.one_by_one((node.primary, node.fallback), stop_at=True)  # type: ignore[arg-type]
        return self.race(node) if isinstance(node, RaceNode) else self.joined(node)

    def joined(self, node: Node) -> Ran:
        if isinstance(node, FanOutNode):
            return self.fan_out(node)
        if isinstance(node, Expand):
            many = 1 + sum(self.chance() for _ in range(node.total - 1))
            return self.one_by_one((node.inner,) * many, stop_at=False)
        assert isinstance(node, Choose)
        taken = next((i for i, _ in enumerate(node.tests) if self.chance()), len(node.tests))
        return self.run(node.branches[taken]) if taken < len(node.branches) else (False, 0.0)

    def fan_out(self, node: FanOutNode) -> Ran:
        """Over when so many as are needed have succeeded, or so many have failed that these can't any more."""
        width = len(node.branches)
        need = node.need or width
        ran = sorted((self.run(branch) for branch in node.branches), key=lambda one: one[1])
        succeeded = failed = 0
        for ok, time in ran:
            succeeded, failed = succeeded + ok, failed + (not ok)
            if succeeded == need or failed > width - need:
                return succeeded == need, time
        raise AssertionError

    def one_by_one(self, nodes: tuple[Node, ...], *, stop_at: bool) -> Ran:
        total = 0.0
        ok = True
        for node in nodes:
            ok, time = self.run(node)
            total += time
            if ok is stop_at:
                break
        return ok, total

    def retry(self, policy: Retry, inner: Node) -> Ran:
        ok, total = self.run(inner)
        for i in range(policy.retries):
            if ok:
                break
            total += policy.delay(i, None)
            ok, time = self.run(inner)
            total += time
        return ok, total

    def race(self, node: RaceNode) -> Ran:
        """Starts come by the delay, and by every failure; the first success ends it."""
        count = node.count if self.hedges or not node.hedge else 1
        assert isinstance(node.after, float)
        ends: list[tuple[float, bool]] = []
        started, now, due = 0, 0.0, 0.0
        while True:
            if started < count and (not ends or due <= ends[0][0]):
                now = due
            elif ends:
                now, ok = heapq.heappop(ends)
                if ok or (started == count and not ends):
                    return ok, now
                if started == count:
                    continue
            ok, time = self.run(node.branches[started % len(node.branches)])
            heapq.heappush(ends, (now + time, ok))
            started, due = started + 1, now + node.after


def worst(node: Node, *, hedges: bool) -> tuple[float, dict[str, int]]:
    """The longest time and the most calls over all answers that there can be."""
    longest, most = 0.0, Counter[str]()
    for chance in futures():
        model = Model(chance, hedges=hedges)
        longest = max(longest, model.run(node)[1])
        most |= model.calls
    return longest, dict(most)


def futures() -> Iterator[Chance]:
    """Every sequence of answers, the one after the other, each as long as somebody asks."""
    answers: list[bool] = []
    while True:
        asked = iter(answers[:])
        drawn: list[bool] = []

        def chance(asked: Iterator[bool] = asked, drawn: list[bool] = drawn) -> bool:
            drawn.append(next(asked, False))
            return drawn[-1]

        yield chance
        answers = drawn
        while answers and answers[-1]:
            answers.pop()
        if not answers:
            return
        answers[-1] = True


limited = st.sampled_from([F, G, H]).flatmap(lambda t: st.integers(1, 5).map(lambda ms: t.timeout(100 * ms)))
backoffs = st.sampled_from([None, FIXED, Backoff(base=50, factor=3, cap=120, jitter="none")])
delays = st.sampled_from([0, 50, 150, 1000, None])


def wider(inner: st.SearchStrategy[AnyChain]) -> st.SearchStrategy[AnyChain]:
    return st.one_of(
        st.builds(lambda a, b: a >> b, inner, inner),
        st.builds(lambda a, b: a | b, inner, inner),
        st.builds(lambda a, b: a & b, inner, inner),
        st.builds(race, inner, inner),
        st.builds(lambda a, b, n: fan_out(a, b, need=n), inner, inner, st.integers(1, 2)),
        st.builds(lambda a, b: choose(when(int, a), otherwise=b), inner, inner),
        st.builds(lambda a: choose(when(is_good, a)), inner),
        st.builds(lambda a: expand(a, total=2, on_limit="stop"), inner),
        st.builds(lambda a, n, wait: a.retry(n, backoff=wait), inner, st.integers(1, 2), backoffs),
        st.builds(lambda a, n, after: a.replica(n, after=after), inner, st.integers(2, 3), delays),
        st.builds(lambda a, b, after: a.replica(after=after, to=[b]), inner, inner, delays),
    )


@settings(deadline=None)
@given(st.recursive(limited, wider, max_leaves=4))
def test_nothing_that_can_happen_costs_more_and_something_costs_as_much(chain: AnyChain) -> None:
    found = chain.bounds()
    assume(sum(found.calls.values()) <= 9)
    root = compile_plan(chain.node).root
    names = {task.name: task.call.name for task in chain.plan().tasks}
    for hedges, time, calls in (
        (True, found.time, found.calls),
        (False, found.time_without_hedges, found.calls_without_hedges),
    ):
        longest, most = worst(root, hedges=hedges)
        assert time >= longest * 1000 - 1e-6
        if not any(isinstance(n, RaceNode) and n.count > 2 and n.after for n in walk(root)):
            assert time == pytest.approx(longest * 1000)  # else it may be a little more than what can happen
        if len(set(names.values())) == len(names):
            assert {name: times for name, times in calls.items() if times} == most
