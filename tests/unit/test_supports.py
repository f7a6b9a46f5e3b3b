"""What of a chain is kept on which executor, and the pieces that are drawn."""

import pytest

from rio_chain import (
    Batch,
    Breaker,
    Budget,
    Cache,
    ChainDefinitionError,
    Chaos,
    Limit,
    Quantile,
    SingleFlight,
    Task,
    choose,
    each,
    expand,
    fan_out,
    race,
    settle,
    when,
)

a, b = Task(len).named("a"), Task(str).named("b")


@pytest.mark.parametrize(
    ("chain", "part", "how"),
    [
        (a.timeout(100), ".timeout(100) around a", "kept"),
        (a.retry(2), ".retry(2) around a", "kept"),
        (a & b, "fan_out of a", "kept"),
        (fan_out(a, b, need=1), "fan_out of a", "kept"),
        (race(a, b), "race of a", "kept"),
        (settle(a, b), "settle of a", "kept"),
        (each(a), "each of a", "kept"),
        (expand(a), "expand of a", "kept"),
        (choose(when(str, a), otherwise=b), "choose of a", "kept"),
        (a | b, "fallback of a", "kept"),
        (a | 7, "fallback of a", "kept"),
        (a.accept(bool), ".accept(bool) around a", "kept"),
        (a >> b >> Task(int).named("c").using(base=a), ".using(base) of c", "kept"),
        (a.chaos(Chaos(0.1, latency=20)), ".chaos(chaos) around a", "per worker"),
        (a.replica(2, after=50), "replica of a", "kept"),
        (a.replica(2, after=Quantile(0.9)), "replica of a", "in the client"),
        (a.limit(Limit(3)), ".limit(limit) around a", "in the client"),
        (a.limit(Limit(rate=3)), ".limit(limit) around a", "per worker"),
        (a.breaker(Breaker(3)), ".breaker(breaker) around a", "per worker"),
        (a.budget(Budget(0.2)), ".budget(budget) around a", "per worker"),
        (a.cache(Cache(10)), ".cache(cache) around a", "per worker"),
        (a.single_flight(SingleFlight()), ".single_flight(flights) around a", "per worker"),
        (a.batch(Batch()), ".batch(batch) around a", "in the client"),
        (a.lane("cpu"), "task a", "refused"),
    ],
)
def test_each_part_says_how_it_is_kept_on_dask(chain: Task[..., object], part: str, how: str) -> None:
    found = {one.name: one.how for one in chain.supports("dask").parts}
    assert found[part] == how
    assert bool(chain.supports("dask")) == (how != "refused")
    assert {one.how for one in chain.supports("asyncio").parts} == {"kept"}


def test_a_shared_policy_around_several_pieces_stays_in_the_client() -> None:
    (part, *_) = (a & b).breaker(Breaker(3)).supports("dask").parts
    assert (part.how, part.name) == ("in the client", ".breaker(breaker) around a")


def test_generators_are_refused_by_name() -> None:
    def items(n: int):  # type: ignore[no-untyped-def]
        yield n

    chain = Task(items).named("items") >> each(a)
    (refused,) = chain.supports("dask").refused
    assert refused.name == "task items"
    assert "return a list" in refused.why


def test_explain_draws_the_pieces() -> None:
    chain = (a.retry(1, backoff=None) >> (b.limit(Limit(2)) & b) >> len).timeout(500)
    assert str(chain.explain("dask")).splitlines() == [
        "timeout 500 ms",
        "  in order",
        "    piece 1: retry once, at once",
        "      task a (sync)",
        "    together, on the same input, giving a tuple",
        "      limit 2 at once",
        "        piece 2: task b#1 (sync)",
        "      piece 3: task b#2 (sync)",
        "    piece 4: bridge len",
    ]
    assert str(chain.explain("trio")) == str(chain.explain())


@pytest.mark.parametrize("name", ["ray", None, 3])
def test_an_executor_that_is_none_is_refused(name: object) -> None:
    with pytest.raises(ChainDefinitionError, match="`executor` must be one of"):
        a.supports(name)  # type: ignore[arg-type]
