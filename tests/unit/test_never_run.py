"""With ``python -X dev`` a Request that is never run is reported."""

from __future__ import annotations

import subprocess
import sys
from textwrap import dedent

import pytest


def said(code: str, *options: str) -> str:
    program = "import asyncio, copy, pickle, trio\nfrom rio_chain import Balancer, Task\n" + dedent(code)
    done = subprocess.run([sys.executable, *options, "-c", program], capture_output=True, text=True, check=True)
    return "\n".join(line for line in done.stderr.splitlines() if "was never run" in line)


def test_one_that_is_never_run_is_reported_with_its_line() -> None:
    text = said("page = Task(len).named('size')\npage('four')\n", "-X", "dev")
    assert text == "<string>:4: RuntimeWarning: the Request of size was never run; call .run(), or await it"


def test_without_that_option_nothing_is_reported() -> None:
    assert said("Task(len)('four')\n") == ""


RUNS = """
    page = Task(len) >> Task(lambda size: Task(str)(size))
    assert page("four").run().value == "4"
    page("four").arun().close()
    with page("four").stream() as events:
        list(events)
    with Balancer() as balancer:
        balancer.run(page("four"))
        balancer.post(page("four")).wait()
        list(balancer.map(page, ["a", "b"]))

    async def main():
        await page("four")
        await page("four").arun()
        async with Balancer() as balancer:
            await balancer.arun(page("four"))

    asyncio.run(main())
    trio.run(main)
    page("four").run(executor="virtual")
"""


def test_each_way_to_run_one_counts() -> None:
    assert said(RUNS, "-X", "dev").count("never run") == 1, "the coroutine that was closed"


REFUSED = """
    from rio_chain import BalancerClosed, UsageError

    closed = Balancer("thread")
    with closed:
        closed.run(Task(len)("four"))
    arun = lambda request: asyncio.run(closed.arun(request))
    for use in (closed.run, closed.post, arun, lambda request: list(closed.stream(request))):
        try:
            use(Task(len)("four"))
        except BalancerClosed:
            pass
        else:
            raise AssertionError(use)

    async def blocks():
        try:
            Task(len)("four").run(executor="wrong")
        except ValueError:
            pass

    asyncio.run(blocks())

    from rio_chain import DeadlineHeaderError
    from rio_chain.contrib.asgi import handle

    async def receive():
        await asyncio.sleep(10)

    async def refused():
        for headers in ({"x-left": "soon"}, {"x-left": "5"}):
            try:
                await handle(receive, closed, Task(len)("four"), headers=headers, deadline_header="x-left")
            except (BalancerClosed, DeadlineHeaderError):
                pass
            else:
                raise AssertionError(headers)

    asyncio.run(refused())
"""


def test_one_that_is_refused_when_it_is_handed_over_has_an_error_of_its_own() -> None:
    assert said(REFUSED, "-X", "dev") == ""


@pytest.mark.parametrize("look", ["repr(page('four'))", "page('four').plan", "page('four').args", "page('four').svg()"])
def test_to_look_at_one_does_not_run_it(look: str) -> None:
    assert said(f"page = Task(len)\n{look}\n", "-X", "dev").count("never run") == 1


def test_one_that_is_kept_is_not_reported_and_one_that_is_pickled_may_run_elsewhere() -> None:
    code = "import os\nrequest = Task(len)('four')\npickle.dumps(Task(len)('four'))\nos._exit(0)\n"
    assert said(code, "-X", "dev") == ""
