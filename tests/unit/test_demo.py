"""The demo: faults that don't depend on arrival, servers that close cleanly, and the same outcome on every executor."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import httpx2
import pytest
from returns.pipeline import is_successful

from rio_chain import Task, cli
from rio_chain.demo import faults, main, report, servers
from rio_chain.demo.client import Wire, http_library
from rio_chain.demo.faults import Node, fault

SEED = next(
    seed
    for seed in range(1000)
    if fault(seed, 1, "users", 1) == "none"
    and [fault(seed, 1, "orders", n) for n in (1, 2)] == ["flaky", "none"]
    and [fault(seed, 1, "shops", n) for n in (1, 2)] == ["wrong", "none"]
)
PATHS: dict[Node, str] = {"orders": "/orders/3", "shops": "/shops/Oslo"}


@pytest.fixture(autouse=True)
def nothing_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow answer costs the chain's whole limit in real time."""
    monkeypatch.setitem(faults.RATES, "users", 0.0)


@pytest.fixture
def running() -> Iterator[servers.Servers]:
    with servers.Servers() as three:
        yield three


def demo_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "demo" in thread.name or "request_thread" in thread.name]


# --- faults and servers -----------------------------------------------------------------------------------------


def test_a_fault_follows_from_seed_request_node_and_attempt() -> None:
    keys = [(request, attempt) for request in range(50) for attempt in (1, 2, 3)]
    forth = {key: fault(1, key[0], "orders", key[1]) for key in keys}
    back = {key: fault(1, key[0], "orders", key[1]) for key in reversed(keys)}
    assert forth == back
    assert forth != {key: fault(2, key[0], "orders", key[1]) for key in keys}


@pytest.mark.parametrize("node", ["orders", "shops"])
def test_faults_are_as_frequent_as_asked_for(node: Node) -> None:
    drawn = [fault(5, request, node, 1) for request in range(2000)]
    assert set(drawn) == {"none", faults.KINDS[node]}
    assert drawn.count(faults.KINDS[node]) / 2000 == pytest.approx(faults.RATES[node], abs=0.05)


@pytest.mark.parametrize("node", ["orders", "shops"])
def test_answers_do_not_depend_on_the_order_of_calls(running: servers.Servers, node: Node) -> None:
    keys = [(request, attempt) for request in range(1, 11) for attempt in (1, 2)]
    url = getattr(running, node).url + PATHS[node]

    def ask(order: list[tuple[int, int]]) -> dict[tuple[int, int], tuple[int, str]]:
        with httpx2.Client(trust_env=False) as client:
            found = {key: client.get(url, params={"seed": 9, "request": key[0], "attempt": key[1]}) for key in order}
        return {key: (answer.status_code, answer.text) for key, answer in found.items()}

    first = ask(keys)
    assert first == ask(sorted(keys, key=lambda key: (key[0] * 7 % 10, -key[1])))
    assert len(set(first.values())) == 2


def test_a_slow_answer_comes_all_the_same(running: servers.Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(faults.RATES, "users", 1.0)
    monkeypatch.setattr(servers, "HELD", 0.03)
    began = time.perf_counter()
    query = {"seed": 1, "request": 1, "attempt": 1}
    answer = httpx2.get(running.users.url + "/users/3", params=query, trust_env=False)
    assert answer.json() == servers.users(3)
    assert time.perf_counter() - began >= 0.03


def test_closed_servers_leave_no_thread_and_refuse_connections() -> None:
    with servers.Servers() as three, httpx2.Client(trust_env=False) as client:
        url = three.shops.url + "/shops/Oslo?seed=1&request=1&attempt=1"
        assert client.get(url).status_code == 200
        three.shops.close()
        three.shops.close()  # again does nothing
        with pytest.raises(httpx2.ConnectError):
            client.get(url)
    deadline = time.monotonic() + 5
    while demo_threads() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert demo_threads() == []


# --- one chain, every executor ----------------------------------------------------------------------------------


@pytest.mark.parametrize("executor", main.EXECUTORS)
def test_one_request_survives_the_faults(executor: str) -> None:
    outcome = main.one(executor, SEED)
    assert [(task.name, task.status, task.attempts) for task in outcome] == [
        ("fetch_user", "succeeded", 1),
        ("fetch_orders", "succeeded", 2),
        ("fetch_shops", "succeeded", 2),
    ]
    assert outcome.unwrap() == "Grace from Oslo has 2 orders for 37 euros; shops nearby: bookshop, florist, tailor"


def test_many_requests_give_the_same_on_every_executor() -> None:
    runs = {name: main.many(name, main.Options(seed=3, requests=12)) for name in main.EXECUTORS}
    assert [len(outcomes) for outcomes in runs.values()] == [12, 12, 12]
    assert report.differences(runs) == []


@pytest.mark.parametrize("executor", main.EXECUTORS)
def test_a_killed_server_makes_failures_and_no_hang(executor: str) -> None:
    outcomes = main.many(executor, main.Options(seed=3, requests=40, kill=True))
    assert len(outcomes) == 40
    failures = [o.result.failure() for o in outcomes if not is_successful(o.result)]
    assert failures
    assert {type(error).__name__ for error in failures} <= {"ConnectError", "RemoteProtocolError", "ReadError"}
    assert outcomes[-1]["fetch_orders"].status == "failed"


def test_the_whole_demo_prints_what_a_stranger_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.demo(main.Options(seed=SEED)) == 0
    text = capsys.readouterr().out
    for word in ("fetch_orders", "HTTP 503", "answer refused", "Success", "Same outcomes on asyncio, trio, thread"):
        assert word in text


def test_many_requests_print_figures(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.demo(main.Options(executors=["asyncio"], seed=SEED, requests=5)) == 0
    text = capsys.readouterr().out
    assert "5 outcomes" in text
    assert "p99" in text
    assert "0 lost" in text


# --- the report -------------------------------------------------------------------------------------------------


def test_a_difference_is_reported() -> None:
    one, other = main.one("asyncio", SEED), main.one("asyncio", SEED + 1)
    assert report.differences({"a": [one], "b": [one]}) == []
    assert len(report.differences({"a": [one], "b": [other]})) == 2
    assert "differ" in report.verdict({"a": [one], "b": [other]})


def test_a_failure_is_compared_without_the_neighbours_that_it_stopped() -> None:
    free = threading.Event()

    def broken(_: int) -> str:
        raise LookupError

    def stuck(_: int) -> str:
        return str(free.wait(5))

    beside = [Task(function).named("beside") for function in (str, stuck)]
    outcomes = [(Task(broken) & task).then(str)(1).run() for task in beside]
    free.set()
    assert {report.essence(outcome) for outcome in outcomes} == {("LookupError", ("broken", "failed", 1))}


# --- the command ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", [["demo", "--requests", "0"], ["demo", "--kill"], ["demo", "--executor", "dask"], []])
def test_a_wrong_command_line_is_refused(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        cli.main(line)
    assert refused.value.code == 2
    assert "usage: rio-chain" in capsys.readouterr().err


def test_without_the_extra_its_name_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "httpx2", None)
    with pytest.raises(ImportError, match=r"pip install 'rio-chain\[demo\]'"):
        http_library()
    assert cli.main(["demo"]) == 2
    assert "rio-chain[demo]" in capsys.readouterr().err


def test_a_call_that_outlasts_the_closing_of_its_client_closes_it() -> None:
    begun, go, at_the_end = threading.Event(), threading.Event(), []

    def slow(request: httpx2.Request) -> httpx2.Response:
        begun.set()
        go.wait(5)
        at_the_end.append(client.is_closed)
        return httpx2.Response(200, request=request)

    client = httpx2.Client(transport=httpx2.MockTransport(slow))
    wire = Wire(client)
    call = threading.Thread(target=wire.get, args=("http://orders.test", {}))
    call.start()
    assert begun.wait(5)
    wire.close()
    go.set()
    call.join(5)
    assert (at_the_end, client.is_closed) == ([False], True)


def test_the_package_is_a_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rio_chain", "demo", "--help"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("usage: rio-chain demo")


WARNINGS = ["-W", "error", "-W", "ignore:unclosed:ResourceWarning"]
"""The HTTP library may leave a connection open whose making was cancelled."""


@pytest.mark.parametrize("executor", main.EXECUTORS)
def test_ctrl_c_stops_it_cleanly(executor: str) -> None:
    code = "\n".join(
        [
            "import signal, sys",
            "from rio_chain.cli import main",
            "from rio_chain.demo.main import one",
            f"one({executor!r}, {SEED})",  # imports all there is: an interrupt within an import leaves its file open
            "signal.signal(signal.SIGINT, signal.default_int_handler)",  # a test run in the background ignores it
            "sys.exit(main(sys.argv[1:]))",
        ]
    )
    line = ["demo", "--requests", "5000", "--executor", executor]
    with subprocess.Popen(
        [sys.executable, "-u", *WARNINGS, "-c", code, *line],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            while process.stdout.readline() != f"{executor}\n":  # the next thing it does is to run
                assert process.poll() is None
            time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=20)
        finally:
            process.kill()
    assert errors.strip() == "stopped"
    assert process.returncode == 130
