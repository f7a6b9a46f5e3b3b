"""Waits in the line in virtual time, against an ideal priority M/G/k queue: the model of ``tests/laws``."""

from __future__ import annotations

import random
import sys
from pathlib import Path

from benchmarks.settings import Missing, Settings
from benchmarks.table import Bar, Table

TESTS = Path(__file__).parents[2] / "tests"


def heavy(draw: random.Random) -> float:
    """Seconds, a mean of 1: most are short, some are long."""
    return draw.choice([0.25, 0.25, 0.5, 3.0]) * draw.uniform(0.5, 1.5)


def tables(settings: Settings) -> list[Table]:
    sys.path.insert(0, str(TESTS))
    try:
        from laws.queue_model import SECOND, Queueing, ideal, on_asyncio, on_trio, poisson  # noqa: PLC0415
    except ImportError as error:
        raise Missing(f"the model in tests/laws needs the extra `test`: {error}") from None
    many, bars = settings.either(2_000, 300), []
    for workers in (1, 4, 10):
        load = poisson(seed=workers, many=many, rate=0.95 * workers, service=heavy, priorities=[-1, 0, 0, 2, 5])
        expected = [wait / SECOND * 1000 for wait in ideal(load, workers).waits]
        for name, loop in (("asyncio", on_asyncio), ("trio", on_trio)):
            got = Queueing(load, workers=workers)
            loop(got.main)
            differ = sum(a != b for a, b in zip(got.waits, expected, strict=True))
            text = f"{name}, {workers} workers: waits that differ from the ideal, of {many:,}"
            bars.append(Bar(text, 0, differ, ""))
    return [Table("waiting time in the line, load 0.95, 4 priorities", [], bars=bars)]
