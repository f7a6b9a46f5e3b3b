"""The first page tells the truth: both programs do the same, in as many lines as it says; the picture is today's."""

from __future__ import annotations

import ast
import asyncio
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import define

from rio_chain.testing import run_virtual

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
INDEX = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
FUNCTIONS, CHAIN, BY_HAND = re.findall(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)[:3]
OF_INDEX = re.findall(r"^```py(?:thon)?\n(.*?)^```$", INDEX, re.DOTALL | re.MULTILINE)
CASES: dict[str, dict[str, list[Any]]] = {
    # what each call of a backend does: an error, or the milliseconds that it takes; afterwards it answers at once
    "all answer": {},
    "two attempts fail": {"fetch_user": [OSError, OSError]},
    "the user never answers": {"fetch_user": [150] * 9},
    "the orders always fail": {"fetch_orders": [OSError] * 9, "fetch_shops": [15]},
    "the second call overtakes": {"fetch_shops": [70, 5]},
    "the first call fails": {"fetch_shops": [OSError, 5]},
    "both calls fail": {"fetch_shops": [OSError, OSError]},
    "both calls are slow": {"fetch_shops": [200, 200]},
    "slow answers are in time": {"fetch_user": [95], "fetch_orders": [OSError], "fetch_shops": [15]},
}


@define
class Backends:
    """The functions of the page, which note their calls and fail or are late as the case says."""

    names: dict[str, Any]
    plan: dict[str, list[Any]]
    calls: dict[str, int]

    def step(self, name: str) -> Any:
        nth = self.calls[name] = self.calls.get(name, 0) + 1
        steps = self.plan.get(name, [])
        step = steps[nth - 1] if nth <= len(steps) else 0
        if isinstance(step, type):
            raise step(name)
        return step

    def put_in(self) -> None:
        for name in ("fetch_user", "fetch_shops"):
            self.names[name] = self.asynchronous(name, self.names[name])
        real = self.names["fetch_orders"]

        def fetch_orders(user_id: int) -> Any:
            self.step("fetch_orders")
            return real(user_id)

        self.names["fetch_orders"] = fetch_orders

    def asynchronous(self, name: str, real: Callable[[Any], Any]) -> Callable[[Any], Any]:
        async def backend(x: Any) -> Any:
            await asyncio.sleep(self.step(name) / 1000)
            return await real(x)

        backend.__name__ = name
        return backend


@pytest.fixture(autouse=True)
def blocking_functions_take_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """As they do for rio_chain in virtual time: the clock of the loop would go on while a thread of asyncio runs."""

    async def to_thread(fn: Callable[[Any], Any], x: Any) -> Any:
        return fn(x)

    monkeypatch.setattr(asyncio, "to_thread", to_thread)


def backends(case: str) -> Backends:
    made = Backends({"__name__": "readme"}, CASES[case], {})
    exec(FUNCTIONS, made.names)  # noqa: S102 - our own page
    made.put_in()
    exec(CHAIN, made.names)  # noqa: S102
    exec(BY_HAND, made.names)  # noqa: S102
    return made


def with_rio_chain(case: str) -> tuple[Any, dict[str, int]]:
    made = backends(case)
    outcome = run_virtual(made.names["page"](42), "asyncio")
    return outcome.result, made.calls


def by_hand(case: str) -> tuple[Any, dict[str, int], dict[str, int]]:
    made = backends(case)

    async def main() -> Any:
        return await made.names["page_by_hand"](42)

    got, counted = run_virtual(main, "asyncio")
    return got, made.calls, counted


@pytest.mark.parametrize("case", CASES)
def test_both_programs_do_the_same(case: str) -> None:
    began = time.monotonic()
    result, calls = with_rio_chain(case)
    got, calls_by_hand, counted = by_hand(case)
    assert calls == calls_by_hand == counted
    if isinstance(got, Exception):
        assert isinstance(result.failure(), type(got)), "a TaskTimedOut is a TimeoutError"
        assert isinstance(got, TimeoutError) == isinstance(result.failure(), TimeoutError)
    else:
        assert result.unwrap() == got
    assert time.monotonic() - began < 5, "in virtual time"


def test_the_cases_are_those_that_the_page_speaks_of() -> None:
    assert with_rio_chain("all answer")[0].unwrap() == "2 orders; shops nearby: a bakery in Lisbon"
    assert with_rio_chain("both calls fail")[0].unwrap() == "2 orders; shops nearby: unknown"
    assert with_rio_chain("the second call overtakes")[1]["fetch_shops"] == 2
    assert with_rio_chain("two attempts fail")[1]["fetch_user"] == 3
    assert with_rio_chain("the orders always fail")[1]["fetch_orders"] == 3


def lines(code: str) -> int:
    """Lines with code in them."""
    return sum(bool(line.strip()) and not line.strip().startswith("#") for line in code.splitlines())


PAGES = pytest.mark.parametrize(
    ("page", "chain", "by_hand"),
    [(README, CHAIN, BY_HAND), (INDEX, OF_INDEX[1], OF_INDEX[-1])],
    ids=["README", "index"],
)


@PAGES
def test_the_lines_are_counted(page: str, chain: str, by_hand: str) -> None:
    assert f"With rio_chain that takes {lines(chain)} lines:" in " ".join(page.split())
    assert re.search(rf"by hand, with tenacity and a TaskGroup, takes {lines(by_hand)}\b", page)


def test_the_documentation_begins_with_the_same_code() -> None:
    assert [ast.unparse(ast.parse(code)) for code in (*OF_INDEX[:2], OF_INDEX[-1])] == [
        ast.unparse(ast.parse(code)) for code in (FUNCTIONS, CHAIN, BY_HAND)
    ]


def test_the_picture_is_what_the_library_draws_today() -> None:
    names: dict[str, Any] = {"__name__": "readme"}
    exec(FUNCTIONS, names)  # noqa: S102
    exec(CHAIN, names)  # noqa: S102
    picture = ROOT / "docs" / "assets" / "chain.svg"
    wanted = "write it anew: Path('docs/assets/chain.svg').write_text(str(page.svg()), encoding='utf-8')"
    assert picture.read_text(encoding="utf-8") == str(names["page"].svg()), wanted
    assert "(docs/assets/chain.svg)" in README
    assert "<!-- draw: page.svg() -->" in INDEX


@pytest.mark.parametrize("page", [README, INDEX], ids=["README", "index"])
def test_the_first_screen_says_how_to_install_it_and_how_far_it_is(page: str) -> None:
    first = page[: page.index("```")]
    assert "**Install:** `pip install" in first
    assert "**Status:**" in first
    assert "Why not a retry library and a TaskGroup?" in first
    assert "is small" not in page


def test_the_web_example_ages() -> None:
    web = README[README.index("## In a web application") :]
    assert re.search(r"balancer = Balancer\(.*aging=\d+", web)
    assert "priority=" in web
