"""Which strand the current thread drives."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Generator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rio_chain.executors._strand import ThreadStrand


class _ThisThread(threading.local):
    strand: ThreadStrand | None = None


this_thread = _ThisThread()


def driven_strand() -> ThreadStrand | None:
    """The strand that this thread drives, or None."""
    return this_thread.strand


def current_strand() -> ThreadStrand:
    """The strand that this thread drives. Raises if there is none."""
    strand = this_thread.strand
    if strand is None:
        raise RuntimeError("this thread drives no strand")
    return strand


@contextlib.contextmanager
def no_current_strand() -> Generator[None]:
    """Hide the strand of this thread, for code that drives other strands meanwhile."""
    strand, this_thread.strand = this_thread.strand, None
    try:
        yield
    finally:
        this_thread.strand = strand


def driven_within(strand: ThreadStrand) -> None:
    """Begin a strand at once, inside of the strand that calls this, which continues after that."""
    outer = this_thread.strand
    try:
        strand.drive()
    finally:
        this_thread.strand = outer
