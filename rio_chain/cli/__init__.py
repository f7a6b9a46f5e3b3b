"""The command ``rio-chain``. There is one file per command, with its options and what it does."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from rio_chain._core.units import escape_nonprintable
from rio_chain.cli import _bounds, _demo, _lint, _run, _show, _work
from rio_chain.cli._target import Broken, Refused
from rio_chain.errors import RioError

EPILOG = """\
Name a chain by its module or file, and by its name there:

  rio-chain show shop.pages:page          the chain `page` of the module shop.pages
  rio-chain show examples/page.py:page    the chain `page` of a file

  rio-chain run shop.pages:page --input 42 --live
  rio-chain lint shop.pages               every chain of the module

Exit status: 0 for success, 1 if the run failed or lint found something, 2 if the command could not
be carried out, 130 after Ctrl-C. `rio-chain COMMAND --help` shows more.
"""


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    top = argparse.ArgumentParser(
        prog="rio-chain",
        description="Show a chain, run it, compute what it can cost, check it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in (_show, _run, _bounds, _lint, _work, _demo):
        module.add(commands)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command, and return the exit status."""
    options = parser().parse_args(argv)
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")  # a terminal that can't show a character still shows the rest
    try:
        status: int = options.do(options)
        sys.stdout.flush()
    except Broken as broken:
        sys.stderr.write(broken.text)
        return 2
    except (Refused, RioError, ImportError) as error:
        text = str(error) if isinstance(error, Refused) else escape_nonprintable(str(error))
        print(f"rio-chain {options.command}: {text}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader stopped reading, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13  # as if by SIGPIPE
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    return status
