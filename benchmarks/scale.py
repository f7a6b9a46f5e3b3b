"""Cost against number: the line, the compiler, ``each``, requests in flight. ``python -m benchmarks.scale``.

Up to a million in the line and items with ``--full``, else a hundred thousand. The exponent is the slope of the
logarithms, cost of one against number: 0 is a constant, 1 would make the whole quadratic.
"""

from __future__ import annotations

import argparse
import time

from benchmarks.growth import compiling, in_flight, itemized, queue

PARTS = {
    "queue": (queue.report, 100_000, 1_000_000),
    "compile": (compiling.report, 10_000, 100_000),
    "each": (itemized.report, 10_000, 1_000_000),
    "flight": (in_flight.report, 10_000, 30_000),
}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="benchmarks.scale", description=__doc__)
    parser.add_argument("--full", action="store_true", help="up to a million")
    parser.add_argument("--only", choices=PARTS)
    asked = parser.parse_args()
    for name, (report, usual, full) in PARTS.items():
        if asked.only in (None, name):
            began = time.perf_counter()
            report(full if asked.full else usual)
            print(f"  ({name}: {time.perf_counter() - began:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
