"""The examples do what they say, on every executor alike, and end cleanly."""

import importlib
import itertools
import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

EXECUTORS = ("asyncio", "trio", "thread")
EXAMPLES = Path(__file__).parents[2] / "examples"
PAGE = {
    "data": {
        "user": {
            "id": 1,
            "name": "Grace",
            "town": "Oslo",
            "favourite": "bread",
            "orders": [
                {"id": 101, "items": [{"article": "olives", "euros": 30}, {"article": "coffee", "euros": 35}]},
                {"id": 102, "items": None},
                {"id": 103, "items": [{"article": "plums", "euros": 4}, {"article": "bread", "euros": 9}]},
            ],
        },
        "recommended": ["tea", "bread"],
        "stock": {"article": "bread", "version": 8, "count": 20},
    },
    "errors": ["no items of order 102"],
}
CRAWLED = """\
/  Home, links: 4
/tea/  Tea, links: 4
/bread/  Bread, links: 3
/about#team  About, links: 3
/tea/green  Green, links: 3
/tea/black  Black, links: 3
/bread/rye  Rye, links: 2
/jobs  dead: 404
/tea/green/sencha  Sencha, links: 3
/tea/assam  dead: 404
/bread/rye?slice=1  Rye, links: 1
/busy  Busy, links: 1
/bread/rye?slice=2  Rye, links: 1
11 pages, 2 dead links, 14 calls
""".splitlines()


@pytest.fixture(autouse=True)
def beside_the_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    """They import each other as scripts in one folder do."""
    monkeypatch.syspath_prepend(EXAMPLES)


@pytest.fixture
def page() -> ModuleType:
    return importlib.import_module("page")


@pytest.fixture
def crawl() -> ModuleType:
    return importlib.import_module("crawl")


def statuses(outcome: Any, *names: str) -> list[tuple[str, int]]:
    return [(outcome[name].status, outcome[name].attempts) for name in names]


# --- the page ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("executor", EXECUTORS)
def test_the_page_is_the_same_on_every_executor(
    page: ModuleType, executor: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with page.Backends(page.SEED) as backends:
        outcome = page.one(backends, executor)
    assert outcome.unwrap() == PAGE
    names = ("fetch_user", "fetch_orders", "fetch_items", "fetch_recommendations", "render")
    assert statuses(outcome, *names) == [
        ("succeeded", 1),
        ("succeeded", 2),
        ("succeeded", 7),
        ("failed", 1),
        ("succeeded", 1),
    ]
    assert outcome["fetch_items"].counts == {"succeeded": 2, "failed": 1}
    assert [item.attempts for item in outcome["fetch_items"].items] == [1, 3, 3]
    printed = capsys.readouterr().out
    for line in ("until 2 of 3 have succeeded", "using user=fetch_user, orders=fetch_orders"):
        assert line in printed
    for line in ("fetch_items[1] finished: failed", "fetch_orders failed: HTTPStatusError", "render finished"):
        assert printed.count(line) == 1


def test_a_stale_replica_is_outvoted_whichever_two_answer(page: ModuleType) -> None:
    backends = page.Backends(page.SEED)
    replies = [backends.stock(replica, "/stock/bread", attempt=5) for replica in range(3)]
    assert [reply.status for reply in replies] == [200, 200, 200]
    found = [page.Stock(**json.loads(reply.body)) for reply in replies]
    assert [stock.version for stock in found] == [8, 7, 8]
    assert {page.newest(two) for two in itertools.permutations(found, 2)} == {page.Stock("bread", 8, 20)}


def test_many_pages_are_the_same_on_every_executor(page: ModuleType) -> None:
    pages = []
    for executor in EXECUTORS:
        with page.Backends(1) as backends:
            outcomes = page.many(backends, executor, 6)
        pages.append([outcome.unwrap() for outcome in outcomes])
    assert pages[0] == pages[1] == pages[2]
    assert [found["data"]["user"]["id"] for found in pages[0]] == [1, 2, 3, 4, 5, 6]
    assert page.census(outcomes).startswith("6 more pages: ")


def test_a_page_that_can_not_be_had_is_said_to_fail(
    page: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(page.Backends, "accounts", lambda *_: importlib.import_module("local_server").Reply("{}", 404))
    assert page.main(["--seed", "1"]) == 0
    assert "no page: Client error '404" in capsys.readouterr().out


# --- the crawler ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("executor", EXECUTORS)
def test_the_crawler_finds_the_same_on_every_executor(crawl: ModuleType, executor: str) -> None:
    assert list(crawl.report(*crawl.crawl(executor))) == CRAWLED


def test_the_crawler_stops_at_its_limit(crawl: ModuleType) -> None:
    root, outcome = crawl.crawl("asyncio", depth=1)
    assert [line.split()[0] for line in crawl.report(root, outcome)][:-1] == ["/", "/tea/", "/bread/", "/about#team"]
    _, outcome = crawl.crawl("asyncio", depth=1_000, total=40)
    assert len(outcome.unwrap()) == 40


# --- as commands ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("script", "last"), [("page", "3 more pages: "), ("crawl", CRAWLED[-1])])
def test_it_is_a_command_that_leaves_nothing_behind(script: str, last: str) -> None:
    line = ["--executor", "trio"] + (["--requests", "3"] if script == "page" else [])
    printed = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / f"{script}.py", *line], capture_output=True, text=True, check=True
    )
    assert printed.stderr == ""
    assert printed.stdout.splitlines()[-1].startswith(last)


INTERRUPTED = """
import itertools, signal, sys
sys.path.insert(0, {examples!r})
import local_server, {script}

{script}.main(["--executor", {executor!r}])  # imports all there is: an interrupt within an import leaves half of it

calls, get = itertools.count(), local_server._Handler.do_GET

def do_GET(handler):
    if next(calls) == 60:
        print("busy", flush=True)
    get(handler)

local_server._Handler.do_GET = do_GET
signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background ignores it
sys.exit({script}.main(["--executor", {executor!r}, *sys.argv[1:]]))
"""


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize(
    ("script", "options"), [("page", ["--requests", "5000"]), ("crawl", ["--depth", "100000", "--total", "10000"])]
)
def test_ctrl_c_stops_it_cleanly(script: str, options: list[str], executor: str) -> None:
    code = INTERRUPTED.format(examples=str(EXAMPLES), script=script, executor=executor)
    with subprocess.Popen(
        # a call that was abandoned may keep its connection to the end, of which only -W error would speak
        [sys.executable, "-u", "-c", code, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            while process.stdout.readline() != "busy\n":
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=20)
        finally:
            process.kill()
    assert errors.strip() == "stopped"
    assert process.returncode == 130


def test_no_server_is_left(page: ModuleType) -> None:
    before = set(threading.enumerate())

    def new() -> set[threading.Thread]:
        return set(threading.enumerate()) - before  # an idle thread of another test may end meanwhile

    with page.Backends(1):
        assert len(new()) == 5
    deadline = time.monotonic() + 5
    while new() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert not new()
