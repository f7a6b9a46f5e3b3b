"""Measurements, as ratios to what people write by hand, taken in the same run.

    python -m benchmarks                 every table; --quick, --only peers, --json F.json, --go DIR
    python -m benchmarks.gate            a short run against benchmarks/baseline.json, for CI
    python -m benchmarks.scale           cost against number; --full goes to a million
    python -m benchmarks.chart F.json F.svg    draws what a guarded step costs with each library

The map: ``measure`` takes samples, ``table`` holds and prints them, ``by_hand/`` is what our chains are compared to,
``ours`` are the chains, ``rows/`` has one file per group of tables, ``peers/`` one per library, ``original/`` the Go
benchmark, ``growth/`` the parts of ``scale``.
"""
