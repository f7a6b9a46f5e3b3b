"""``python -m benchmarks``."""

from benchmarks.guarded import main

main()
