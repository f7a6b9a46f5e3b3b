"""In a notebook's own kernel: `run()` and top-level `await`, an interrupt, the live view, what is completed.

It needs what `.[docs]` brings, so CI runs it in a step of its own, and never skips it there.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("JUPYTER_PLATFORM_DIRS", "1")
manager = pytest.importorskip("jupyter_client.manager")
pytest.importorskip("ipykernel")

ROOT = Path(__file__).parents[2]
EXECUTORS = ("asyncio", "trio", "thread")
PATIENCE = 50
SETUP = """
import asyncio, time, warnings
import sniffio, trio
from rio_chain import Balancer, Task
from rio_chain.testing import leak_guard

warnings.simplefilter("error", RuntimeWarning)
cleaned = []

def size(word: str, *, twice: bool = False) -> int:
    return len(word) * (2 if twice else 1)

def library(_: int) -> str:
    try:
        return sniffio.current_async_library()
    except sniffio.AsyncLibraryNotFoundError:
        return "none"

async def hello() -> None:
    print("a thread's first print opens a descriptor of the kernel's")

async def forever(_: int) -> None:
    print("begun", flush=True)
    try:
        while True:
            await (asyncio if sniffio.current_async_library() == "asyncio" else trio).sleep(0.02)
    finally:
        cleaned.append(True)

def slow(_: int) -> None:
    time.sleep(0.03)

chain = Task(size).named("measured") >> str
poll = Task(forever)
page = Task(size).retry(1)
"""


class Kernel:
    """One kernel, and what a cell gives there."""

    def __init__(self, home: Path) -> None:
        env = os.environ | {
            "PYTHONPATH": str(ROOT),
            "IPYTHONDIR": str(home / "ipython"),
            "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
            "JUPYTER_PLATFORM_DIRS": "1",
        }
        self.manager, self.client = manager.start_new_kernel(kernel_name="python3", env=env)

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)

    def cell(self, code: str, *, when: Callable[[dict[str, Any]], object] = lambda _: None) -> list[dict[str, Any]]:
        """The messages of a cell; ``when`` is called with each, as it comes. An error fails the test."""
        messages = []

        def took(message: dict[str, Any]) -> None:
            messages.append(message)
            when(message)

        reply = self.client.execute_interactive(code, timeout=PATIENCE, allow_stdin=False, output_hook=took)
        assert reply["content"]["status"] == "ok", "\n".join(reply["content"].get("traceback", ()))
        return messages

    def value(self, code: str) -> str:
        """What the last line of a cell gives, as text."""
        [result] = [m["content"]["data"] for m in self.cell(code) if m["msg_type"] == "execute_result"]
        return result["text/plain"]

    def interrupted(self, code: str) -> list[dict[str, Any]]:
        """The messages of a cell which is interrupted when it prints that it has begun."""
        begun = []

        def when(message: dict[str, Any]) -> None:
            if message["msg_type"] == "stream" and "begun" in message["content"]["text"] and not begun:
                begun.append(message)
                time.sleep(0.02)
                self.manager.interrupt_kernel()

        messages = self.cell(code, when=when)
        assert begun
        return messages


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    kernel = Kernel(tmp_path_factory.mktemp("kernel"))
    try:
        kernel.cell(SETUP)
        yield kernel
    finally:
        kernel.close()


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_blocking_run_works_in_a_cell_and_warns_of_nothing(kernel: Kernel, executor: str) -> None:
    """Although the kernel's own loop is running."""
    assert kernel.value(f"chain('four').run(executor={executor!r}).unwrap()") == "'4'"


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_blocking_balancer_works_in_a_cell(kernel: Kernel, executor: str) -> None:
    code = (
        f"with leak_guard(), Balancer({executor!r}) as balancer:\n    got = balancer.run(chain('four')).unwrap()\ngot"
    )
    assert kernel.value(code) == "'4'"


def test_a_request_is_awaited_in_a_cell(kernel: Kernel) -> None:
    assert kernel.value("(await chain('four')).unwrap()") == "'4'"
    assert kernel.value("(await Task(library).inline()(1)).unwrap()") == "'asyncio'"


def test_a_request_is_awaited_on_trio_where_cells_are_run_by_trio(kernel: Kernel) -> None:
    try:
        kernel.cell("%autoawait trio")
        assert kernel.value("(await Task(library).inline()(1)).unwrap()") == "'trio'"
    finally:
        kernel.cell("%autoawait asyncio")


@pytest.mark.parametrize("executor", ["asyncio", "trio"])
def test_a_balancer_of_any_executor_is_awaited_in_a_cell(kernel: Kernel, executor: str) -> None:
    code = f"""
async with Balancer({executor!r}) as balancer:
    got = (await balancer.arun(Task(library).inline()(1))).unwrap()
got"""
    assert kernel.value(code) == repr(executor)


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("executor", EXECUTORS)
def test_an_interrupt_of_a_blocking_run_cancels_it_and_leaves_nothing(
    kernel: Kernel, executor: str, live: bool
) -> None:
    code = f"""
cleaned.clear()
Task(hello)().run(executor={executor!r})
with leak_guard():
    try:
        poll(1).run(executor={executor!r}, live={live})
    except KeyboardInterrupt:
        print("interrupted", cleaned)"""
    output = [m["content"]["text"] for m in kernel.interrupted(code) if m["msg_type"] == "stream"]
    assert "interrupted [True]\n" in "".join(output)


def test_an_interrupt_of_an_await_cancels_it_and_leaves_nothing(kernel: Kernel) -> None:
    """ipykernel hears it when its loop next wakes up, whatever is awaited; so the body here sleeps in pieces."""
    code = """
cleaned.clear()
async with leak_guard():
    try:
        await poll(1)
    except BaseException as error:
        print("interrupted", type(error).__name__, cleaned)"""
    output = [m["content"]["text"] for m in kernel.interrupted(code) if m["msg_type"] == "stream"]
    assert "[True]\n" in "".join(output)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_live_run_changes_one_output_in_place(kernel: Kernel, executor: str) -> None:
    messages = kernel.cell(
        f"outcome = (Task(slow).retry(1) >> slow >> Task(slow).named('last'))(1).run(executor={executor!r}, live=True)"
    )
    shown = [m for m in messages if m["msg_type"] in ("display_data", "update_display_data")]
    assert [m["msg_type"] for m in shown][:2] == ["display_data", "update_display_data"]
    assert len({m["content"]["transient"]["display_id"] for m in shown}) == 1
    last = shown[-1]["content"]["data"]
    assert "last  succeeded  1" in " ".join(last["text/plain"].split("\n"))
    assert "<script" not in last["text/html"]


def test_progress_changes_one_output_in_place(kernel: Kernel) -> None:
    messages = kernel.cell(
        "with Balancer(workers=2) as balancer:\n    n = len(list(balancer.map(Task(slow), range(12), progress=True)))"
    )
    shown = [m for m in messages if m["msg_type"] in ("display_data", "update_display_data")]
    assert shown[0]["msg_type"] == "display_data"
    assert {m["msg_type"] for m in shown[1:]} == {"update_display_data"}
    assert "12/12 done" in shown[-1]["content"]["data"]["text/plain"]
    assert 'value="1.0000"' in shown[-1]["content"]["data"]["text/html"]


# --- what is offered ----------------------------------------------------------------------------------------------


def asked(kernel: Kernel, ask: Callable[[str], str], code: str) -> dict[str, Any]:
    message = ask(code)
    while (reply := kernel.client.get_shell_msg(timeout=PATIENCE))["parent_header"].get("msg_id") != message:
        pass
    return reply["content"]


def test_help_shows_how_the_first_function_is_called(kernel: Kernel) -> None:
    output = re.sub("\x1b\\[[0-9;]*m", "", asked(kernel, kernel.client.inspect, "page")["data"]["text/plain"])
    assert "page(word: str, *, twice: bool = False)" in output
    assert "Task(size).retry(1)" in output  # the chain itself


def test_tab_offers_what_there_is(kernel: Kernel) -> None:
    kernel.cell("outcome = chain('four').run()")
    assert asked(kernel, kernel.client.complete, "outcome['")["matches"] == ["measured"]
    offered = asked(kernel, kernel.client.complete, "page.")["matches"]
    assert {"retry", "timeout", "explain"} <= set(offered)
    assert [name for name in offered if name.startswith("_")] == []
