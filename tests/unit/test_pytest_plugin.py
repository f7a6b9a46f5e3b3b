"""The pytest plugin: what its fixtures give, and that nothing changes for tests that do not use them.

Each test starts pytest anew, with a distribution beside it that names the plugin as ours does when it is installed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

TESTS = """
import threading

import pytest

from rio_chain import Backoff, Balancer, Task


def test_virtual_time(virtual_time):
    from rio_chain.testing import Script
    task = Task(Script().then_raises(OSError).then("ada", after=3_600_000))
    chain = task.retry(1, backoff=Backoff(base=1000, jitter="none")).timeout(1e7)
    outcome = chain(42).run(executor=virtual_time)
    assert outcome.unwrap() == "ada"
    assert virtual_time.now == outcome.elapsed == 3_601_000


def test_each_test_has_its_own_clock(virtual_time):
    assert virtual_time.now == 0
    with Balancer(virtual_time) as balancer:
        assert balancer.run(Task(len)("four")).unwrap() == 4


@pytest.mark.parametrize("virtual_time", [1, 2], indirect=True)
def test_seeds(virtual_time):
    assert "seed=1" in repr(virtual_time) or "seed=2" in repr(virtual_time)


def test_script(script, virtual_time):
    users = script(all_used=True).delays(5).then("ada")
    assert Task(users)(1).run(executor=virtual_time).unwrap() == "ada"
    assert [call.args for call in users.calls] == [(1,)]
    script().then("nobody asked that this is used")
    prefix = script(all_used=True).then(1)
    for longer in (prefix.then(2), prefix.then(3)):
        for _ in range(2):
            Task(longer)(0).run(executor=virtual_time)


def test_unused(script):
    script(all_used=True).then("ada").then_raises(OSError)


def test_clean(leak_guard):
    with Balancer("thread", workers=2) as balancer:
        balancer.run(Task(len)("four")).unwrap()


def test_leaky(leak_guard):
    threading.Thread(target=threading.Event().wait, args=(20,), daemon=True, name="left over").start()
"""

SHARED = """
import pytest

from rio_chain import Breaker, CircuitOpen, Limit, Task
from rio_chain.testing import VirtualExecutor

calls = []


def fetch(x):
    calls.append(x)
    raise OSError


breaker = Breaker(failures=1)
page = Task(fetch).breaker(breaker)


def used(executor):
    return type(page(1).run(executor=executor).result.failure())


@pytest.mark.parametrize("nth", range(3))
def test_a_breaker_that_another_test_has_opened_is_closed(virtual_time, nth):
    assert [used(virtual_time), used(virtual_time)] == [OSError, CircuitOpen]
    assert len(calls) == nth + 1
    assert breaker.state == "closed"


@pytest.mark.parametrize("nth", range(3))
def test_with_backends_as_well(script, nth):
    chain = page.with_backends({"fetch": script().then_raises(OSError).forever()})
    assert [type(chain(1).run().result.failure()) for _ in range(2)] == [OSError, CircuitOpen]


def test_what_the_test_makes_itself_is_used_as_it_is(virtual_time):
    own = Breaker(failures=1)
    Task(fetch).breaker(own)(1).run(executor=virtual_time)
    assert own.state == "open"


@pytest.mark.parametrize("virtual_time", [{"fresh": False, "seed": 7}], indirect=True)
def test_it_is_shared_where_that_is_asked_for(virtual_time):
    assert "seed=7" in repr(virtual_time)
    used(virtual_time)
    assert breaker.state == "open"


def test_nor_is_it_open_then(virtual_time):
    assert used(virtual_time) is OSError
    assert used(VirtualExecutor()) is CircuitOpen
"""

LIGHT = """
import sys


def test_nothing_of_rio_chain_is_imported():
    assert [name for name in sys.modules if name.split(".")[0] == "rio_chain"] == []


def test_a_fixture_of_ones_own_wins(script):
    assert script == "mine"


import pytest


@pytest.fixture
def script():
    return "mine"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project with nothing in it, and our plugin installed beside it."""
    info = tmp_path / "installed" / "rio_chain_under_test-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: rio-chain-under-test\nVersion: 1\n")
    found = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]
    lines = [f"{name} = {module}" for name, module in found.items()]
    (info / "entry_points.txt").write_text("\n".join(["[pytest11]", *lines, ""]))
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return tmp_path


def run_pytest(folder: Path, *args: str) -> str:
    """With our plugin by its name among what is installed; not those of others, which take seconds to load."""
    path = os.pathsep.join([str(ROOT), str(folder / "installed")])
    env = {**os.environ, "PYTHONPATH": path, "COLUMNS": "200"}
    others = {entry.name for entry in entry_points(group="pytest11")} - {"rio_chain"}
    without = [word for name in sorted(others - set(args)) for word in ("-p", f"no:{name}")]
    command = [sys.executable, "-m", "pytest", "-q", "-rA", *without, *args, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, env=env, cwd=folder, check=False).stdout


def test_its_fixtures_do_what_they_say(folder: Path) -> None:
    (folder / "test_fixtures.py").write_text(TESTS)
    out = run_pytest(folder)
    assert "8 passed, 2 errors" in out, out
    assert "2 of 2 steps were not called: .then('ada').then_raises(OSError)" in out
    assert "thread left over" in out


def test_its_fixtures_begin_with_fresh_policies(folder: Path) -> None:
    (folder / "test_shared.py").write_text(SHARED)
    out = run_pytest(folder)
    assert "9 passed" in out, out


def test_without_its_fixtures_nothing_changes(folder: Path) -> None:
    (folder / "test_light.py").write_text(LIGHT)
    assert "2 passed" in run_pytest(folder)


def test_it_can_be_switched_off(folder: Path) -> None:
    (folder / "test_off.py").write_text("def test_off(virtual_time): ...\n")
    assert "fixture 'virtual_time' not found" in run_pytest(folder, "-p", "no:rio_chain")


def test_it_is_at_peace_with_xdist_and_trio(folder: Path) -> None:
    (folder / "test_both.py").write_text(
        "import pytest, trio\n"
        "@pytest.mark.trio\n"
        "async def test_both(script, leak_guard):\n"
        "    from rio_chain import Task\n"
        "    users = script(all_used=True).then('ada', after=5)\n"
        "    assert (await Task(users)(1)).unwrap() == 'ada'\n"
    )
    assert "1 passed" in run_pytest(folder, "-p", "trio", "-p", "xdist", "-n", "1")
