"""``rio-chain lint``: finds policies whose order has another effect than it seems."""

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

The exit status is 1 if something is found, so that a step of CI fails, and 2 if a chain could not
be checked.
"""


def add(commands: Any) -> None:
    """Add its options to the parser."""
    lint = commands.add_parser(
        "lint",
        help="find policies whose order has another effect than it seems; exit status 1 if there are any",
        description="Find policies whose order has another effect than it seems, and show for each the\n"
        "code to write instead. Nothing of the chains runs.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    lint.add_argument("chains", metavar="CHAIN", nargs="+", help="module:chain, or module for all of its chains")
    lint.set_defaults(do=do)


def do(options: argparse.Namespace) -> int:
    """Print the findings, and their number."""
    chains = [found for target in options.chains for found in found_at(target)]
    findings = [(name, finding) for name, chain in chains for finding in chain.lint()]
    for name, finding in findings:
        print(f"{escape_nonprintable(name)}: {finding}")
    number = len(findings)
    found = "nothing found" if not number else "1 finding" if number == 1 else f"{number} findings"
    print(f"{found} in {len(chains)} chain{'s' * (len(chains) > 1)}", file=sys.stderr)
    return 1 if findings else 0
