"""``balancer.watch()``: a balancer as a live table, or as a line every second without a terminal or notebook.

A view is made from two snapshots. The loop around it sleeps in the caller's own thread. The balancer, its loop and its
workers only answer ``stats()``.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import closing, suppress

from attrs import frozen

from rio_chain._core.units import escape_nonprintable
from rio_chain.balancer._stats import Histogram, Stats, WatchedBalancer
from rio_chain.executors import in_notebook
from rio_chain.inspect.live._rich_terminal import Terminal, Unfit
from rio_chain.inspect.live._screen import LineOutput, Notebook, Screen
from rio_chain.inspect.live._table import Cell, Sheet

REFRESH = 0.25
"""Seconds between two updates of a table."""
LINES = 1.0
"""Seconds between two lines."""
WINDOW = 5.0
"""The seconds that rates and recent quantiles cover."""


@frozen
class BalancerView:
    """Two snapshots of a balancer, some seconds apart, as a View."""

    watched: WatchedBalancer
    before: Stats
    now: Stats
    seconds: float

    def sheet(self, rows: int) -> Sheet:
        """As ``View.sheet``."""
        found = [*self._counts(), *self._quantiles()]
        head = "", f"last {self.seconds:.1f} s" if self.seconds > 0 else "", "in all"
        left = f"and {len(found) - rows} more" if len(found) > rows else ""
        return Sheet(Cell(self.watched.title()), head, [tuple(map(Cell, row)) for row in found[:rows]], left)

    def news(self) -> Iterator[str]:
        """As ``View.news``: one line, with the recent quantiles."""
        cells = [f"{name} {total}" + (f" ({rate})" if rate else "") for name, rate, total in self._counts()]
        cells += [f"{name} {recent}" for name, recent, _ in self._quantiles() if recent]
        yield escape_nonprintable(f"{self.watched.title()}: {', '.join(cells)}")

    def _counts(self) -> list[tuple[str, str, str]]:
        """For each count its name, its rate between the snapshots, and its value now or since the start."""
        watched, before, now = self.watched, self.before, self.now
        return [
            ("running", "", f"{now.running}/{watched.workers}"),
            ("queued", "", f"{now.queued}/{watched.buffer}"),
            ("abandoned", "", f"{now.abandoned}/{watched.max_abandoned}"),
            ("rejected", self._rate(now.rejected - before.rejected), str(now.rejected)),
            ("done", self._rate(now.done - before.done), str(now.done)),
        ]

    def _quantiles(self) -> Iterator[tuple[str, str, str]]:
        """For each quantile its name, its bound between the snapshots, and its bound since the start."""
        both = ("wait", self.before.waits, self.now.waits), ("run", self.before.runs, self.now.runs)
        for what, before, now in both:
            recent = Histogram(tuple(new - old for new, old in zip(now.buckets, before.buckets, strict=True)))
            for name, share in (("p50", 0.5), ("p99", 0.99)):
                yield f"{what} {name}", _bound(recent, share), _bound(now, share)

    def _rate(self, count: int) -> str:
        return f"{count / self.seconds:.1f}/s" if self.seconds > 0 else ""


def _bound(histogram: Histogram, share: float) -> str:
    return f"<= {histogram.quantile(share):.6g} ms" if histogram.count else ""


def watch(watched: WatchedBalancer, limit: float) -> None:
    """Show the balancer for ``limit`` seconds, until it is closed and idle, or until Ctrl-C."""
    with suppress(KeyboardInterrupt):
        screen, every = _screen()
        with closing(screen):
            for view in looks(watched, limit, every):
                screen.show(view)


def looks(watched: WatchedBalancer, limit: float, every: float) -> Iterator[BalancerView]:
    """Views of snapshots that are up to ``WINDOW`` seconds apart. The last one is made at the end."""
    began = time.monotonic()
    past: deque[tuple[float, Stats]] = deque()
    while True:
        closed, at, now = watched.closed(), time.monotonic(), watched.stats()
        past.append((at, now))
        while at - past[0][0] > WINDOW:
            past.popleft()
        yield BalancerView(watched, past[0][1], now, at - past[0][0])
        left = began + limit - time.monotonic()
        if left <= 0 or (closed and not now.running and not now.queued):
            return
        time.sleep(min(every, left))


def _screen() -> tuple[Screen, float]:
    """The screen, and the seconds between updates. It writes to stdout, as this output is what the caller wants."""
    if in_notebook():
        return Notebook(), REFRESH
    if sys.stdout.isatty():
        try:
            return Terminal(sys.stdout), REFRESH
        except Unfit:
            pass
        except ImportError as error:
            raise ImportError("`balancer.watch()` draws with rich: `pip install 'rio-chain[watch]'`") from error
    return LineOutput(sys.stdout), LINES
