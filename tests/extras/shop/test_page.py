"""The page of the shop in a real browser: it is used as a person uses it, wide and narrow, light and dark."""

from __future__ import annotations

import time
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

for package in ("uvicorn", "strawberry", "aiohttp", "aiosqlite", "opentelemetry.sdk"):
    pytest.importorskip(package, reason="needs the packages of .[test-extras]")

from extras.shop.shop_process import ROOT, running  # noqa: E402

WINDOWS = [(1400, False), (390, True)]


def browser_module() -> Any:
    spec = spec_from_file_location("browser", ROOT / "docs_build" / "browser.py")
    assert spec is not None
    assert spec.loader is not None
    found = module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


BROWSER = browser_module()
pytestmark = pytest.mark.skipif(BROWSER.find() is None, reason="there is no Chromium on this machine")


class Page:
    """The page in a tab."""

    def __init__(self, tab: Any, url: str) -> None:
        self.tab = tab
        self.url = url

    def open(self, width: int, dark: bool) -> None:
        self.tab.open(self.url, width=width, dark=dark)

    def click(self, selector: str) -> None:
        self.tab.value(f"document.querySelector({selector!r}).click()")

    def fill(self, selector: str, value: object) -> None:
        self.tab.value(f"document.querySelector({selector!r}).value = {str(value)!r}")

    def text(self, selector: str) -> str:
        return self.tab.value(f"document.querySelector({selector!r}).innerText")

    def count(self, selector: str) -> int:
        return self.tab.value(f"document.querySelectorAll({selector!r}).length")

    def until(self, expression: str) -> None:
        end = time.monotonic() + 20
        while not self.tab.value(expression):
            assert time.monotonic() < end, (expression, self.tab.complaints())
            time.sleep(0.02)

    def set_faults(self, **faults: float) -> None:
        for name, value in faults.items():
            self.fill(f"[name={name}]", value)
        self.tab.value("document.querySelector('#said').innerText = ''")
        self.click("#faults button")
        self.until("document.querySelector('#said').innerText === 'set'")

    def ask(self, number: int) -> None:
        self.fill("#number", number)
        self.click("#run")
        self.until("!document.querySelector('#run').disabled")


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with running("uvicorn") as shop, BROWSER.tab(BROWSER.find()) as tab:
        yield Page(tab, f"http://127.0.0.1:{shop.port}/")


@pytest.mark.parametrize(("width", "dark"), WINDOWS)
def test_a_run_is_shown_while_it_goes_on_and_afterwards(page: Page, width: int, dark: bool, tmp_path: Path) -> None:
    page.open(width, dark)
    page.until("document.querySelectorAll('#plan svg').length === 1")
    assert "fetch_stock" in page.text("#plan")
    page.set_faults(latency=5, errors=0, stalls=0)
    before = page.count("#runs details")
    page.ask(7)
    assert '"name": "tea"' in page.text("#answer")
    events = page.text("#events")
    assert "attempt 1 begins" in events
    assert events.rstrip().endswith("succeeded")
    page.until(f"document.querySelectorAll('#runs details').length >= {min(before + 1, 8)}")
    assert page.count("#runs details:first-child svg") == 1, "the timeline"
    assert "succeeded page" in page.text("#runs details:first-child summary")
    spans = page.text("#traces .trace:first-child").split("\n")
    assert spans[0] == "page"
    assert "fetch_price attempt" in spans
    assert page.tab.value("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert page.tab.complaints() == []
    assert all(url.startswith(page.url) for url in page.tab.requests()), "nothing is from elsewhere"
    page.tab.picture(tmp_path / "page.png")


def test_a_run_that_fails_says_why(page: Page) -> None:
    page.open(1400, dark=False)
    page.set_faults(latency=5, errors=100, stalls=0)
    page.ask(8)
    page.until("document.querySelector('#runs details summary').innerText.startsWith('failed')")
    assert "no page: " in page.text("#answer")
    assert "attempt 3 failed: BackendDown" in page.text("#events") or "CircuitOpen" in page.text("#events")
    page.set_faults(latency=5, errors=0, stalls=0)


def test_of_400_at_once_some_are_refused_and_all_are_answered(page: Page) -> None:
    """32 run and 200 wait: a browser alone, with 6 connections, never fills the queue."""
    page.open(1400, dark=False)
    page.set_faults(latency=5, errors=0, stalls=0)
    page.until("fetch('/products/1').then(answer => answer.ok)")  # no breaker is open any more
    page.click("#many")
    page.until("document.querySelector('#said').innerText.includes(' x ')")
    answers = dict(reversed(answer.split(" x ")) for answer in page.text("#said").split(", "))
    assert sum(map(int, answers.values())) == 400
    assert int(answers["503"]) >= 400 - 32 - 200, "on a busy machine, some more wait for too long"
    assert int(answers["200"]) >= 32


def test_the_state_of_each_breaker_is_shown(page: Page) -> None:
    page.open(1400, dark=False)
    page.set_faults(latency=5, errors=0, stalls=0)
    page.until("document.querySelector('#backends').innerText.includes('closed')")
    page.set_faults(latency=5, errors=100, stalls=0)
    page.ask(8)
    page.ask(8)
    page.until("document.querySelector('#backends').innerText.includes('open')")
    page.set_faults(latency=5, errors=0, stalls=0)


def test_a_share_above_1_is_refused_with_the_reason(page: Page) -> None:
    page.open(1400, dark=False)
    page.fill("[name=errors]", 4000)
    page.tab.value("document.querySelector('#faults').noValidate = true")
    page.click("#faults button")
    page.until("document.querySelector('#said').innerText.startsWith('errors is a share from 0 to 1')")
    page.set_faults(latency=5, errors=0, stalls=0)


def test_a_run_whose_client_left_is_among_the_last_runs(page: Page) -> None:
    page.open(1400, dark=False)
    page.set_faults(latency=5, errors=0, stalls=0)
    page.until("fetch('/products/1').then(answer => answer.ok)")  # no breaker is open any more
    page.set_faults(latency=200, errors=0, stalls=0)
    page.tab.value("const left = new AbortController(); fetch('/products/7', {signal: left.signal}).catch(() => 0);"
                   "setTimeout(() => left.abort(), 60)")  # fmt: skip
    page.until("fetch('/runs').then(runs => runs.json()).then(runs => runs[0]?.error?.startsWith('cancelled'))")
    page.set_faults(latency=5, errors=0, stalls=0)


def test_the_edge_of_a_wide_picture_shows_that_there_is_more(page: Page) -> None:
    page.open(390, dark=False)
    page.until("document.querySelectorAll('#plan svg').length === 1")
    assert page.tab.value("document.querySelector('#plan').scrollWidth > document.querySelector('#plan').clientWidth")
    page.until("getComputedStyle(document.querySelector('#plan')).maskImage.startsWith('linear-gradient')")
    page.tab.value("document.querySelector('#plan').scrollLeft = 1e6")
    page.until("getComputedStyle(document.querySelector('#plan')).maskImage === 'none'")
