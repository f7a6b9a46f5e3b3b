"""``rio-chain work``: run what is posted to a durable queue."""

from __future__ import annotations

import argparse
import logging
import signal
from typing import Any

from rio_chain.cli._target import Refused, object_at
from rio_chain.contrib.procrastinate import DurableQueue

EPILOG = """\
Ctrl-C or SIGTERM lets running requests end within the grace; what is left is put back for others.

examples:
  rio-chain work shop.jobs:queue
  rio-chain work shop.jobs:queue --workers 50 --executor thread
"""


def add(commands: Any) -> None:
    """Add its options to the parser."""
    work = commands.add_parser(
        "work",
        help="run what is posted to a durable queue",
        description="Run what is posted to a DurableQueue, and post the ticks of its schedules, until it is stopped.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    work.add_argument("queue", metavar="QUEUE", help="module:queue, or path/file.py:queue")
    work.add_argument("--workers", type=int, default=10, metavar="N", help="how many requests run at once (default 10)")
    work.add_argument("--executor", metavar="NAME", help="asyncio (default), trio or thread")
    work.add_argument("--grace", type=float, default=30_000, metavar="MS", help="for running requests (default 30000)")
    work.add_argument("--create", action="store_true", help="make the tables first, where they are missing")
    work.set_defaults(do=do)


def do(options: argparse.Namespace) -> int:
    """Work until it is stopped."""
    queue = object_at(options.queue, "queue")
    if not isinstance(queue, DurableQueue):
        raise Refused(f"{options.queue} is not a DurableQueue")
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    logging.getLogger("procrastinate").setLevel(logging.CRITICAL)  # what matters of it is in the log of rio_chain.queue
    if options.create:
        queue.create()

    def stop(_: int, __: object) -> None:
        queue.stop()

    signal.signal(signal.SIGTERM, stop)
    queue.run_worker(workers=options.workers, executor=options.executor, grace=options.grace)
    return 0
