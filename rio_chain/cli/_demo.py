"""``rio-chain demo``."""

from __future__ import annotations

import argparse
from typing import Any

from rio_chain.executors import NAMES


def whole(text: str) -> int:
    """A whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, got {number}")
    return number


def add(commands: Any) -> None:
    """Add its options to the parser."""
    demo = commands.add_parser("demo", help="run one chain over three misbehaving HTTP servers on every executor")
    here = [name for name in NAMES if name != "dask"]  # its servers count in this process
    demo.add_argument("--executor", choices=here, help="only this one (default: all three)")
    demo.add_argument("--seed", type=int, default=437, help="decides every fault (default: %(default)s)")
    demo.add_argument("--requests", type=whole, default=1, metavar="N", help="more than 1 go through a Balancer")
    demo.add_argument("--kill", action="store_true", help="kill one server half-way (with --requests N)")
    demo.set_defaults(do=do, parser=demo)


def do(options: argparse.Namespace) -> int:
    """Run the demo."""
    if options.kill and options.requests == 1:
        options.parser.error("--kill needs --requests N with N > 1")
    from rio_chain.demo.main import EXECUTORS, Options, demo  # noqa: PLC0415 - `--help` must not load any executor

    executors = EXECUTORS if options.executor is None else (options.executor,)
    return demo(Options(executors, options.seed, options.requests, options.kill))
