"""`python docs_build/look.py SITE NOTEBOOKS`: opens every page in a real browser, wide and narrow, light and dark.

Fails if a page asks for anything from elsewhere, complains in the console, is wider than its window, or has no diagram
where there should be one. Without a browser it says so and passes: `offline.py` has looked at what pages would load.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from browser import Tab, find, tab

WINDOWS = [(1280, False), (400, True)]  # width, dark: each page once as either
DRAWN = re.compile(r"tutorials/|\w+\.html$")  # the notebooks, in the site and alone, and the first page of the site
DIAGRAMS = "document.querySelectorAll('.output svg, .jp-OutputArea svg').length"
TOO_WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A server that prints nothing, and has the icon that a browser asks for unbidden."""

    def do_GET(self) -> None:
        """Answer."""
        if self.path == "/favicon.ico":
            self.send_response(204)
            self.end_headers()
        else:
            super().do_GET()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder on this machine."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def pages(folder: Path) -> list[str]:
    """The pages of a folder."""
    found = (path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*.html")))
    return [page for page in found if page != "404.html"]


def problems(page: Tab, here: str, *, drawn: bool) -> list[str]:
    """What is wrong with the page that is open."""
    elsewhere = [url for url in page.requests() if not url.startswith((here, "data:", "blob:"))]
    found = [f"asks for {url}" for url in elsewhere] + [f"complains: {text}" for text in page.complaints()]
    if (wider := page.value(TOO_WIDE)) > 0:
        found.append(f"is {wider} pixels wider than its window")
    if drawn and not page.value(DIAGRAMS):
        found.append("has no diagram")
    return found


def main() -> int:
    """Look at all pages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--shots", type=Path, help="save what it looked like")
    parser.add_argument("--only", default="", help="pages with this in their name")
    given = parser.parse_args()
    program = find()
    if program is None:
        print("SKIPPED: there is no Chromium on this machine, so no page was opened in a browser.")
        return 0
    looked = bad = 0
    with tab(program) as page:
        for folder in given.folders:
            with served(folder) as here:
                for name in pages(folder):
                    if given.only not in name:
                        continue
                    for width, dark in WINDOWS:
                        page.open(f"{here}/{name.removesuffix('index.html')}", width=width, dark=dark)
                        about = f"{folder.name}/{name} {width} {'dark' if dark else 'light'}"
                        looked += 1
                        for found in problems(page, here, drawn=bool(DRAWN.match(name))):
                            bad += 1
                            print(f"{about}: {found}", flush=True)
                        if given.shots:
                            page.picture(given.shots / (about.replace("/", "_").replace(" ", "-") + ".png"))
    print(f"{looked} looks at pages, {bad} problems")
    return 1 if bad or not looked else 0


if __name__ == "__main__":
    sys.exit(main())
