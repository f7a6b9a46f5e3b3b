"""Which values of a plan that was cut may stay on the workers."""

import pytest

from rio_chain import Breaker, Chain, Task, choose, each, fan_out, race, settle, when
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
        ((a & b) >> (c & d), []),  # what is joined in the client is a value there
        (fan_out(x=a, y=b) >> c, ["a", "b"]),
        (settle(a, b) >> c, []),
        (fan_out(a, b, need=1) >> c, []),
        (a >> (b & (c & d)), []),  # one branch begins in the client
        ((a & (b & c)) >> d, []),  # one of the branches is joined in the client
        ((a >> (b & c)).timeout(100), ["a"]),
        (a >> (b & c).retry(1), []),  # the retry of the client has to have the value
        ((a & b).breaker(Breaker(2)) >> c, []),
        (a >> each(b), []),
        (a >> race(b, c), []),
        (each(a >> (b & c)), ["a"]),
        (choose(when(str, a & b), otherwise=c) >> d, []),
        ((a & b) | c, []),
    ],
)
def test_a_value_may_stay_where_only_pieces_get_it(chain: Chain[..., object], names: list[str]) -> None:
    assert held(chain) == names
