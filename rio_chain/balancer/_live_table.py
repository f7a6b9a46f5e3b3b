"""watch(): a balancer as a live table in a terminal; where there is none, as a line every second.

What is shown is made of two snapshots by pure functions. The loop around them sleeps in the caller's own thread: the
balancer, its loop and its workers do nothing for it but answer ``stats()``.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from attrs import frozen

from rio_chain._core.units import escape_nonprintable
from rio_chain.balancer._stats import Histogram, Stats

REFRESH = 0.25
"""Seconds between two looks in a terminal."""
LINES = 1.0
"""Seconds between two lines elsewhere."""
WINDOW = 5.0
"""Seconds that rates and the recent quantiles speak of."""

TableRow = tuple[str, str, str]


@frozen
class WatchedBalancer:
    """What is watched: a balancer's bounds, and how to look at it."""

    workers: int
    buffer: int
    max_abandoned: int
    title: Callable[[], str]
    closed: Callable[[], bool]
    stats: Callable[[], Stats]


# --- pure -------------------------------------------------------------------------------------------------------


def counts(watched: WatchedBalancer, before: Stats, now: Stats, seconds: float) -> list[TableRow]:
    """A name, the rate in the last ``seconds``, and what there is now or was since the beginning."""
    return [
        ("running", "", f"{now.running}/{watched.workers}"),
        ("queued", "", f"{now.queued}/{watched.buffer}"),
        ("abandoned", "", f"{now.abandoned}/{watched.max_abandoned}"),
        ("rejected", _rate(now.rejected - before.rejected, seconds), str(now.rejected)),
        ("done", _rate(now.done - before.done, seconds), str(now.done)),
    ]


def quantiles(before: Stats, now: Stats) -> list[TableRow]:
    """A name, the bound between the two snapshots, and the one since the beginning."""
    return [*_quantiles("wait", before.waits, now.waits), *_quantiles("run", before.runs, now.runs)]


def line(watched: WatchedBalancer, before: Stats, now: Stats, seconds: float) -> str:
    """The same as one line of plain text, of quantiles the recent ones."""
    rated = counts(watched, before, now, seconds)
    cells = [f"{name} {total}" + (f" ({rate})" if rate else "") for name, rate, total in rated]
    cells += [f"{name} {last}" for name, last, _ in quantiles(before, now) if last]
    return escape_nonprintable(f"{watched.title()}: {', '.join(cells)}")


def _rate(count: int, seconds: float) -> str:
    return f"{count / seconds:.1f}/s" if seconds > 0 else ""


def _quantiles(what: str, before: Histogram, now: Histogram) -> Iterator[TableRow]:
    recent = Histogram(tuple(new - old for new, old in zip(now.buckets, before.buckets, strict=True)))
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        yield f"{what} {name}", _bound(recent, share), _bound(now, share)


def _bound(histogram: Histogram, share: float) -> str:
    return f"<= {histogram.quantile(share):.6g} ms" if histogram.count else ""


def table(watched: WatchedBalancer, before: Stats, now: Stats, seconds: float) -> Any:
    """All of it as a table of rich. Cells are ``Text``, in which no markup is looked for."""
    rich_table, text = _rich("rich.table"), _rich("rich.text")
    made = rich_table.Table(title=text.Text(escape_nonprintable(watched.title())), title_justify="left")
    made.add_column()
    made.add_column(f"last {seconds:.1f} s" if seconds > 0 else "", justify="right", min_width=14)
    made.add_column("in all", justify="right", min_width=14)
    for row in [*counts(watched, before, now, seconds), *quantiles(before, now)]:
        made.add_row(*(text.Text(escape_nonprintable(cell)) for cell in row))
    return made


# --- watching ---------------------------------------------------------------------------------------------------


def watch(watched: WatchedBalancer, limit: float) -> None:
    """Show it for ``limit`` seconds, until it is closed and idle, or until Ctrl-C."""
    with contextlib.suppress(KeyboardInterrupt):
        if sys.stdout.isatty():
            _watch_live(watched, limit)
        else:
            for before, now, seconds in looks(watched, limit, LINES):
                sys.stdout.write(line(watched, before, now, seconds) + "\n")
                sys.stdout.flush()


def _watch_live(watched: WatchedBalancer, limit: float) -> None:
    live = _rich("rich.live").Live(auto_refresh=False)  # else it starts a thread
    with live:
        for before, now, seconds in looks(watched, limit, REFRESH):
            live.update(table(watched, before, now, seconds), refresh=True)


def looks(watched: WatchedBalancer, limit: float, every: float) -> Iterator[tuple[Stats, Stats, float]]:
    """Snapshots with the one ``WINDOW`` seconds before, and how many seconds lie between; the last one at the end."""
    began = time.monotonic()
    past: deque[tuple[float, Stats]] = deque()
    while True:
        closed, at, now = watched.closed(), time.monotonic(), watched.stats()
        past.append((at, now))
        while at - past[0][0] > WINDOW:
            past.popleft()
        yield past[0][1], now, at - past[0][0]
        left = began + limit - time.monotonic()
        if left <= 0 or (closed and not now.running and not now.queued):
            return
        time.sleep(min(every, left))


def _rich(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError("`balancer.watch()` draws with rich: `pip install rio-chain[watch]`") from error
