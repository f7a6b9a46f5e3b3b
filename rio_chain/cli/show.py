"""``rio-chain show``: a chain as a tree, as a Mermaid flowchart."""

from __future__ import annotations

import argparse
from typing import Any

from rio_chain.cli.target import HELP, chain_at

EPILOG = """\
examples:
  rio-chain show shop.pages:page                      the tasks, and the policies around them
  rio-chain show shop.pages:page --mermaid            for Markdown, between ```mermaid and ```
"""


def add(commands: Any) -> None:
    """What can be written after it."""
    show = commands.add_parser(
        "show",
        help="draw a chain; nothing of it runs",
        description="Draw a chain. Its module is imported; nothing of the chain runs.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    show.add_argument("chain", metavar="CHAIN", help=HELP)
    show.add_argument("--mermaid", action="store_true", help="the text of a Mermaid flowchart instead of the tree")
    show.set_defaults(do=do)


def do(options: argparse.Namespace) -> int:
    """Draw it."""
    chain = chain_at(options.chain)
    print(chain.mermaid() if options.mermaid else chain.explain())
    return 0
