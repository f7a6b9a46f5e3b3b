"""The command ``rio-chain``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence


def whole(text: str) -> int:
    """A whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, got {number}")
    return number


def parser() -> argparse.ArgumentParser:
    """What can be written after ``rio-chain``."""
    top = argparse.ArgumentParser(prog="rio-chain", description="Chains of backend calls, written once.")
    commands = top.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="run one chain over three misbehaving HTTP servers on every executor")
    demo.add_argument("--executor", choices=("asyncio", "trio", "thread"), help="only this one (default: all three)")
    demo.add_argument("--seed", type=int, default=437, help="decides every fault (default: %(default)s)")
    demo.add_argument("--requests", type=whole, default=1, metavar="N", help="more than 1 go through a Balancer")
    demo.add_argument("--kill", action="store_true", help="kill one server half-way (with --requests N)")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code is 130 after Ctrl-C."""
    options = parser().parse_args(argv)
    if options.kill and options.requests == 1:
        parser().error("--kill needs --requests N with N > 1")
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")  # a terminal that can't show a name still shows the rest
    from rio_chain.demo.main import EXECUTORS, Options, demo  # noqa: PLC0415 - `--help` must not load any executor

    executors = EXECUTORS if options.executor is None else (options.executor,)
    try:
        return demo(Options(executors, options.seed, options.requests, options.kill))
    except ImportError as error:
        print(f"rio-chain: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
