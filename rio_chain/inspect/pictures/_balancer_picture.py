"""A balancer as a picture: the queue, the workers, and how requests have ended."""

from __future__ import annotations

from rio_chain.balancer import Histogram, Stats
from rio_chain.inspect.pictures._badges import Badge
from rio_chain.inspect.pictures._build_picture import framed
from rio_chain.inspect.pictures._layout import LeafShape, RowShape
from rio_chain.inspect.pictures._picture import Mark, Picture
from rio_chain.inspect.pictures._status_marks import duration


def balancer_picture(text: str, stats: Stats, *, workers: int, buffer: int) -> Picture:
    """The picture of a balancer as it is now. ``text``: its title."""
    queue = [f"{stats.queued} of {buffer} wait", *_times("waited", stats.waits)]
    slots = [f"{stats.running} of {workers} run", *_times("ran", stats.runs)]
    steps = [LeafShape("task", "queue", "requests that wait for a worker", places=_plain(queue))]
    slots += [f"{stats.abandoned} abandoned"] if stats.abandoned else []
    steps.append(LeafShape("task", "workers", "requests that run", places=_plain(slots)))
    ends = [Badge(f"{count} {words}", words, tone) for words, count, tone in _ends(stats) if count]
    steps.append(LeafShape("task", "ended", "how requests have ended", places=ends or _plain(["none yet"])))
    return framed(RowShape(steps), text, text, Mark("running" if stats.running else "waiting", text))


def _ends(stats: Stats) -> tuple[tuple[str, int, str], ...]:
    """The ends of requests: the words, the number of requests, and the tone of the badge."""
    return (
        ("succeeded", stats.succeeded, "succeeded"),
        ("failed", stats.failed, "failed"),
        ("timed out", stats.timed_out, "timed_out"),
        ("cancelled", stats.cancelled, "cancelled"),
        ("rejected", stats.rejected, "guard"),
    )


def _times(verb: str, times: Histogram) -> list[str]:
    if not times.count:
        return []
    return [f"half {verb} {duration(times.quantile(0.5))} or less", f"99 % {duration(times.quantile(0.99))} or less"]


def _plain(texts: list[str]) -> list[Badge]:
    return [Badge(text, text, "place") for text in texts]
