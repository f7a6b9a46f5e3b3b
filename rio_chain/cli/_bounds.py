"""``rio-chain bounds``: the most that a chain can cost."""

from __future__ import annotations

import argparse
from typing import Any

from rio_chain.cli._target import HELP, chain_at

EPILOG = """\
examples:
  rio-chain bounds shop.pages:page
"""


def add(commands: Any) -> None:
    """Add its options to the parser."""
    bounds = commands.add_parser(
        "bounds",
        help="how long a chain can take, and how often each task can be called",
        description="How long a chain can take at most, how often each of its tasks can be called,\n"
        "and which retries a timeout leaves no time for. Nothing of the chain runs.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    bounds.add_argument("chain", metavar="CHAIN", help=HELP)
    bounds.set_defaults(do=do)


def do(options: argparse.Namespace) -> int:
    """Print the bounds."""
    print(chain_at(options.chain).bounds())
    return 0
