"""``python -m benchmarks.soak --minutes 10 [--executor all] [--seed 1]``."""

from __future__ import annotations

import argparse
import math
import os
import secrets
import sys

from benchmarks.soak.gauge import one_arena
from benchmarks.soak.homes import EXECUTORS
from benchmarks.soak.rounds import Soak

LONGEST, LEAST = 60.0, 10
"""Seconds of a round at the most; rounds at the least."""


def minutes(text: str) -> float:
    """A number of minutes."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number of minutes above 0, such as 10 or 0.5; got {text!r}")
    return value


def soak(args: list[str] | None = None) -> Soak:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak",
        description="Random requests with random faults; exit status 0: as promised, 1: not, 2: something hangs.",
    )
    parser.add_argument("--minutes", type=minutes, required=True, help="how long, such as 10 or 0.5")
    parser.add_argument("--executor", choices=[*EXECUTORS, "all"], default="all", help="default: all, side by side")
    parser.add_argument("--seed", type=int, help="a whole number, for the same mix again; default: a random one")
    given = parser.parse_args(args)
    seconds = 60 * given.minutes
    rounds = max(LEAST, math.ceil(seconds / LONGEST))
    names = EXECUTORS if given.executor == "all" else (given.executor,)
    seed = secrets.randbelow(10**6) if given.seed is None else given.seed
    return Soak(names, seed, rounds, seconds / rounds)


def main() -> None:
    """Run it, and end the process whatever still runs in it."""
    work = soak()
    work.say(
        f"seed {work.seed}: {work.rounds} rounds of {work.seconds:.1f} s on {', '.join(work.executors)}; "
        "the same seed gives the same mix, not the same schedule"
    )
    one_arena()
    status = work.run()
    sys.stdout.flush()
    os._exit(status)  # what hangs must not keep the process


if __name__ == "__main__":
    main()
