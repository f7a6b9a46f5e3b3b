"""``rio-chain lint``: what is written in an order that does not do what it seems to."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from rio_chain._core.units import escape_nonprintable
from rio_chain.cli._target import found_at

EPILOG = """\
examples:
  rio-chain lint shop.pages:page shop.pages:basket
  rio-chain lint shop.pages src/other.py              every chain of a module, and of a file

The exit status is 1 when something is found, so that a step of CI fails, and 2 when a chain could
not be looked at.
"""


def add(commands: Any) -> None:
    """What can be written after it."""
    lint = commands.add_parser(
        "lint",
        help="policies in an order that does not do what it seems to; exit status 1 where there are some",
        description="Name the policies that stand in an order which does not do what it seems to, each with\n"
        "the code that does. Nothing of the chains runs.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    lint.add_argument("chains", metavar="CHAIN", nargs="+", help="module:chain, or module for all of its chains")
    lint.set_defaults(do=do)


def do(options: argparse.Namespace) -> int:
    """Say what there is to say, and how much that is."""
    chains = [found for target in options.chains for found in found_at(target)]
    findings = [(name, finding) for name, chain in chains for finding in chain.lint()]
    for name, finding in findings:
        print(f"{escape_nonprintable(name)}: {finding}")
    number = len(findings)
    found = "nothing found" if not number else "1 finding" if number == 1 else f"{number} findings"
    print(f"{found} in {len(chains)} chain{'s' * (len(chains) > 1)}", file=sys.stderr)
    return 1 if findings else 0
