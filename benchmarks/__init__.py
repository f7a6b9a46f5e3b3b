"""Measurements, as ratios to what people write by hand, taken in the same run.

    python -m benchmarks                 every table; --quick, --only peers, --json F.json, --go DIR
    python -m benchmarks.gate            a short run against benchmarks/baseline.json, for CI
    python -m benchmarks.scale           cost against number; --full goes to a million
    python -m benchmarks.chart F.json    draws docs/explanation/overhead.svg
    python -m benchmarks.page F.json     writes the tables into docs/explanation/performance.md

The map: ``measure`` takes samples, ``table`` holds and prints them, ``by_hand/`` is what our chains are compared to,
``ours`` are the chains, ``rows/`` has one file per group of tables, ``peers/`` one per library, ``original/`` the Go
benchmark, ``growth/`` the parts of ``scale``.
"""
