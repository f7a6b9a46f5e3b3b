"""Which values of a plan that was cut may stay on the workers."""

import pytest

from rio_chain import (
    Batch,
    Breaker,
    Cache,
    Chain,
    Limit,
    Task,
    best,
    choose,
    each,
    fan_out,
    quorum,
    race,
    settle,
    when,
)
from rio_chain.chain._pieces import cut
from rio_chain.engine._instructions import PIECE
from rio_chain.engine._program import program_of

a, b, c, d = (Task(len).named(name) for name in "abcd")


def held(chain: Chain[..., object]) -> list[str]:
    """The names of the first tasks of the pieces whose values may stay."""
    plan = cut(chain.plan())
    ops = program_of(plan, direct=True, places=True).ops
    return [plan.tasks[op.low].name for op in ops if op[0] == PIECE and op.holds]


@pytest.mark.parametrize(
    ("chain", "names"),
    [
        (a >> b, []),  # the value of the run
        (a >> (b & c), ["a"]),
        (a >> (b & c) >> d, ["a", "b", "c"]),
        ((a & b) >> c, ["a", "b"]),
        ((a & b) >> (c & d), ["a", "b"]),
        (fan_out(x=a, y=b) >> c, ["a", "b"]),
        (settle(a, b) >> c, []),
        (fan_out(a, b, need=1) >> c, []),
        (a >> (b & (c & d)), ["a"]),
        ((a & (b & c)) >> d, ["a", "b", "c"]),
        ((a >> (b & c)).timeout(100), ["a"]),
        (a >> (b & c).retry(1), ["a"]),
        ((a & b).breaker(Breaker(2)) >> c, []),  # a policy of the user's may look at the value
        ((a & b).cache(Cache(1)) >> c, []),
        (a.limit(Limit(2)) >> b, ["a"]),
        (a >> b.limit(Limit(2, key=len)), []),
        (a >> each(b), []),
        ((a & b) >> each(c), []),
        (each(a >> (b & c)), ["a"]),
        (each(a.replica(2) >> b), ["a"]),
        (a >> b.batch(Batch()), []),
        ((a & b).accept(bool) >> c, ["a", "b"]),
        ((a & b).retry(1, accept=bool) >> c, ["a", "b"]),
        (a >> race(b, c), ["a"]),
        (race(a, b, pick=best(len, within=1)) >> c, ["a", "b"]),
        (race(a, b, pick=quorum(2)) >> c, []),  # the client compares the values
        (race(a, b, pick=quorum(2, by=len)) >> c, ["a", "b"]),
        (a >> choose(when(str, b & c), otherwise=d) >> d, ["a", "b", "c", "d#1"]),
        (a >> ((b & c) | d) >> d, ["a", "b", "c", "d#1"]),
        ((a & b) | c, []),
    ],
)
def test_a_value_may_stay_where_the_client_does_not_look_at_it(chain: Chain[..., object], names: list[str]) -> None:
    assert held(chain) == names
