"""A crawler: every page asks for more pages, until none is left that was not seen.

    python examples/crawl.py [--executor asyncio|trio|thread] [--depth N] [--total N]

The site is a local one. Its links lead round in circles, out of the site, and to pages that are not there.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urldefrag, urljoin

import httpx2
from attrs import frozen
from local_server import LocalServer, Reply
from returns.result import Failure, Result, Success

from rio_chain import Chain, Outcome, Task, current_attempt, expand

EXECUTORS = ("asyncio", "trio", "thread")
SITE = {
    "/": ["/tea/", "/bread/", "/about#team", "https://example.com/"],
    "/about": ["/", "#top", "/jobs"],  # there are no jobs
    "/tea/": ["/", "green", "black", "/bread/"],
    "/tea/green": ["/tea/", "black", "green/sencha"],
    "/tea/black": ["/tea/", "green", "assam"],  # nor is there assam
    "/tea/green/sencha": ["/tea/green", "/", "/busy"],
    "/bread/": ["/", "rye", "/tea/"],
    "/bread/rye": ["/bread/", "rye?slice=1"],
    "/bread/rye?slice=1": ["rye?slice=2"],  # and so on, for ever: a depth or a total ends it
    "/busy": ["/"],
}


def site(path: str, attempt: int) -> Reply:
    """What the site answers: ``/busy`` is too busy for the first attempt."""
    links = SITE.get(path)
    if links is None and "?slice=" in path:
        links = [f"rye?slice={int(path.partition('=')[2]) + 1}"]
    if links is None or (path == "/busy" and attempt == 1):
        return Reply("<h1>no</h1>", 404 if links is None else 503, kind="text/html")
    body = "".join(f'<a href="{link}">more</a>' for link in links)
    title = path.partition("?")[0].strip("/").rpartition("/")[2].title() or "Home"
    return Reply(f"<h1>{title}</h1>{body}", after=5, kind="text/html")


# --- the crawler ------------------------------------------------------------------------------------------------


@frozen
class Page:
    """One page that was found."""

    url: str
    title: str
    links: list[str]


def same_page(url: str) -> str:
    """What a page is known by: ``/about#team`` and ``/about`` are one."""
    return urldefrag(url).url


def crawler(client: httpx2.AsyncClient, root: str, depth: int, total: int) -> Chain[[str], list[Result[Page, Any]]]:
    """All pages that can be reached from one without leaving ``root``; in the order of their levels."""

    async def fetch_page(url: str) -> Page:
        answer = await client.get(url, headers={"x-attempt": str(current_attempt())})
        text = answer.raise_for_status().text
        title = re.search("<h1>(.*?)</h1>", text)
        links = [urljoin(url, link) for link in re.findall('href="(.*?)"', text)]
        return Page(url, title[1] if title else "", links)

    def inside(page: Page) -> Iterator[str]:
        return (link for link in page.links if link.startswith(root))

    def worth_another_try(error: Exception) -> bool:
        return not isinstance(error, httpx2.HTTPStatusError) or error.response.is_server_error

    fetch = Task(fetch_page).timeout(2_000).retry(2, on=worth_another_try)
    return expand(
        fetch, limit=5, depth=depth, total=total, more=inside, key=same_page, on_error="keep", on_limit="stop"
    )


def connect() -> httpx2.AsyncClient:
    """Open connections; a plain function, as reading certificates would hold the loop."""
    return httpx2.AsyncClient(trust_env=False, timeout=10)


def crawl(executor: str, depth: int = 4, total: int = 100) -> tuple[str, Outcome[list[Result[Page, Any]]]]:
    """Crawl the local site; its address, and what was found."""
    with LocalServer(site) as server:
        client = Task(connect)().run(executor=executor).unwrap()
        try:
            chain = crawler(client, server.url, depth, total)
            return server.url, chain(f"{server.url}/").run(executor=executor)
        finally:
            Task(client.aclose)().run(executor=executor)


def report(root: str, outcome: Outcome[list[Result[Page, Any]]]) -> Iterator[str]:
    """One line for each page that was found, or was not."""
    for found in outcome.unwrap():
        match found:
            case Success(page):
                yield f"{page.url.removeprefix(root)}  {page.title}, links: {len(page.links)}"
            case Failure(httpx2.HTTPStatusError() as error):
                yield f"{str(error.request.url).removeprefix(root)}  dead: {error.response.status_code}"
            case Failure(error):
                yield f"?  {type(error).__name__}"
    fetched = outcome["fetch_page"]
    yield f"{fetched.counts['succeeded']} pages, {fetched.counts.get('failed', 0)} dead links, {fetched.attempts} calls"


def main(argv: Sequence[str] | None = None) -> int:
    """The command; the exit code is 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(description="A small crawler over a local site.")
    parser.add_argument("--executor", choices=EXECUTORS, default="asyncio")
    parser.add_argument("--depth", type=int, default=4, help="levels below the first page (default: %(default)s)")
    parser.add_argument("--total", type=int, default=100, help="pages in all (default: %(default)s)")
    options = parser.parse_args(argv)
    try:
        print(*report(*crawl(options.executor, options.depth, options.total)), sep="\n")
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
