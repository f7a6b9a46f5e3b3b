"""numpy and scipy come with the extra `simulate`: nothing but the statistics of a simulation needs them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BEGIN = """
import sys
from rio_chain import Balancer, Quantile, Task, advise, compare, simulate
from rio_chain.simulation import Distribution, Estimate, LatencyModel, Script, poisson
from rio_chain.testing import run_virtual

async def fetch(user_id: int) -> int:
    return user_id

BACKENDS = {"fetch": LatencyModel.constant(5)}
page = Task(fetch).timeout(1000).retry(2).replica(2, after=Quantile(0.9))
"""
WITHOUT = "import sys\nsys.modules['numpy'] = sys.modules['scipy'] = None\n"
PLAIN = """
for executor in ("asyncio", "trio", "thread"):
    assert page(3).run(executor=executor).unwrap() == 3
    with Balancer(executor) as balancer:
        assert balancer.run(page(4)).unwrap() == 4
        assert [got.unwrap() for got in balancer.map(page, [1, 2])] == [1, 2]
        assert balancer.stats().runs.quantile(0.5) > 0
    balancer.watch()
assert page(3).run(live=True).unwrap() == 3
assert page.explain() and page.bounds() and page.svg() and page(1).run().timeline() and page.lint() == page.lint()
scripted = page.with_backends({"fetch": Script().then(7)})
assert run_virtual(scripted(1)).unwrap() == 7
assert run_virtual(page.with_backends({"fetch": LatencyModel.lognormal(20, p99=90).returning(8)})(1)).unwrap() == 8
assert repr(Distribution([1.0, 2.0, 3.0])) == "<Distribution of 3: p50 2 ms, p99 3 ms>"
assert repr(Estimate(2.0, 1.0, 3.0)) == "2 (1 .. 3)"
assert list(poisson(10).instants(2, seed=0))
"""


def run(program: str) -> str:
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_without_numpy_everything_but_the_statistics_works() -> None:
    assert "done 3" in run(WITHOUT + BEGIN + PLAIN)


def test_with_numpy_nothing_else_imports_it() -> None:
    run(BEGIN + PLAIN + "\nassert 'numpy' not in sys.modules and 'scipy' not in sys.modules")


def test_a_result_that_is_read_without_them_names_the_extra_too() -> None:
    """As one that was pickled on a machine with numpy."""
    program = """
simulation, comparison = simulate(page, BACKENDS, requests=50), compare(page, page, backends=BACKENDS, requests=50)
sys.modules["scipy"] = None
for read in (lambda: simulation.succeeded, lambda: comparison.differences, lambda: simulation.latency.p50):
    try:
        read()
    except ImportError as error:
        print(error)
"""
    said = run(BEGIN + program).splitlines()
    assert [line.split()[0] for line in said] == [
        "`Simulation.succeeded`",
        "`Comparison.differences`",
        "`Distribution.quantile`",
    ]
    assert all("`pip install 'rio-chain[simulate]'`" in line for line in said)


@pytest.mark.parametrize("missing", ["numpy", "scipy"])
@pytest.mark.parametrize(
    ("call", "name"),
    [
        ("simulate(page, BACKENDS, requests=50)", "simulate"),
        ("compare(page, page, backends=BACKENDS)", "compare"),
        ("advise(page, BACKENDS)", "advise"),
        ("Distribution([1.0]).p99", "Distribution.quantile"),
        ("Distribution([1.0]).mean", "Distribution.mean"),
    ],
)
def test_without_one_of_them_a_call_that_needs_it_names_the_extra(missing: str, call: str, name: str) -> None:
    blocked = f"import sys\nsys.modules[{missing!r}] = None\n"
    caught = f"\ntry:\n    {call}\nexcept ImportError as error:\n    print(error)"
    said = run(blocked + BEGIN + caught)
    assert said == f"`{name}` needs numpy and scipy: `pip install 'rio-chain[simulate]'`\n"
