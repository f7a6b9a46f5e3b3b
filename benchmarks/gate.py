"""A few ratios, measured in seconds, against ``baseline.json``: ``python -m benchmarks.gate``, a step of CI.

A lost fast path is seen, noise is not: short samples of ours and of the by-hand code take turns, in processor time, and
the quickest quarter of each is compared; a machine busy with other things disturbs these least. What looks too slow is
measured again, and the best of the tries counts. ``--update`` writes a new baseline, the median of five tries.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from pathlib import Path

from benchmarks.gated import Pair, Timed, pairs

BASELINE = Path(__file__).with_name("baseline.json")
SLACK = 1.4
TRIES = 3
SAMPLES = 40
SECONDS = 0.004
"""The least that one sample takes."""


def number(timed: Timed) -> int:
    """How many take long enough."""
    timed(1)
    many = 1
    while timed(many) < SECONDS:
        many *= 2
    return many


def quick(samples: list[float]) -> float:
    """The mean of the quickest quarter."""
    best = sorted(samples)[: len(samples) // 4]
    return sum(best) / len(best)


def ratio(pair: Pair) -> float:
    """Ours to by hand, each for one."""
    sides = [(timed, number(timed), list[float]()) for timed in (pair.ours, pair.by_hand)]
    gc.collect()
    for turn in range(SAMPLES):
        for timed, many, samples in sides if turn % 2 else reversed(sides):
            samples.append(timed(many) / many)
    (_, _, ours), (_, _, by_hand) = sides
    return quick(ours) / quick(by_hand)


def held(pair: Pair, baseline: float, tries: int = TRIES) -> float:
    """The ratio, measured again while it is over its baseline by more than the slack."""
    best = float("inf")
    for _ in range(tries):
        best = min(best, ratio(pair))
        if best <= SLACK * baseline:
            break
    return best


def table(found: dict[str, float], baseline: dict[str, float]) -> str:
    lines = [f"  {'ours, to code written by hand':44}{'baseline':>10}{'allowed':>10}{'now':>10}"]
    for name, now in found.items():
        most = SLACK * baseline[name]
        verdict = "ok" if now <= most else f"TOO SLOW, {now / baseline[name]:.2f}x its baseline"
        lines.append(f"  {name:44}{baseline[name]:10.2f}{most:10.2f}{now:10.2f}  {verdict}")
    return "\n".join(lines)


def check(baseline: dict[str, float]) -> int:
    """Exit code 1 if a ratio is too high, 2 if the baseline is of other rows."""
    began = time.perf_counter()
    with pairs() as watched:
        if {pair.name for pair in watched} != set(baseline):
            print(f"{BASELINE.name} is of other rows than those measured; run `python -m benchmarks.gate --update`")
            return 2
        found = {pair.name: held(pair, baseline[pair.name]) for pair in watched}
    print(table(found, baseline))
    slow = sum(now > SLACK * baseline[name] for name, now in found.items())
    print(f"{len(found)} ratios, {slow} too high; {time.perf_counter() - began:.0f} s")
    return int(slow > 0)


def update(times: int = 5) -> None:
    """Keep the median of several tries."""
    with pairs() as watched:
        found = {pair.name: round(sorted(ratio(pair) for _ in range(times))[times // 2], 3) for pair in watched}
    BASELINE.write_text(json.dumps(found, indent=2) + "\n")
    print(table(found, found))


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.gate", description=__doc__)
    parser.add_argument("--update", action="store_true", help="write the baseline from this machine")
    if parser.parse_args().update:
        update()
        return 0
    return check(json.loads(BASELINE.read_text()))


if __name__ == "__main__":
    sys.exit(main())
