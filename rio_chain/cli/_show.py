"""``rio-chain show``: a chain as a tree, as a picture, as a Mermaid flowchart."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rio_chain._core.units import escape_nonprintable
from rio_chain.cli._target import HELP, Refused, chain_at

EPILOG = """\
examples:
  rio-chain show shop.pages:page                  the tasks, and the policies around them
  rio-chain show shop.pages:page --svg page.svg   a picture, for a browser; `-` is standard output
  rio-chain show shop.pages:page --mermaid        for Markdown, between ```mermaid and ```
"""


def add(commands: Any) -> None:
    """Add its options to the parser."""
    show = commands.add_parser(
        "show",
        help="draw a chain; nothing of it runs",
        description="Draw a chain. Its module is imported; nothing of the chain runs.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    show.add_argument("chain", metavar="CHAIN", help=HELP)
    how = show.add_mutually_exclusive_group()
    how.add_argument("--svg", metavar="FILE", help="draw it as a picture, into this file")
    how.add_argument("--mermaid", action="store_true", help="the text of a Mermaid flowchart instead of the tree")
    show.set_defaults(do=do)


def do(options: argparse.Namespace) -> int:
    """Draw the chain."""
    chain = chain_at(options.chain)
    if options.svg is None:
        print(chain.mermaid() if options.mermaid else chain.explain())
    elif options.svg == "-":
        print(chain.svg())
    else:
        written(Path(options.svg), str(chain.svg()))
    return 0


def written(path: Path, text: str) -> None:
    """Write a file, or refuse with the reason."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Refused(f"{escape_nonprintable(str(path))} can't be written: {error.strerror}") from None
