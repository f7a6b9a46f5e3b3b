"""A cluster of separate processes, started as the guide says."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

TESTS = Path(__file__).parents[2]
DASK = [sys.executable, "-c", "import sys; from dask.__main__ import main; sys.exit(main())"]


def started(*args: str, before: Sequence[str] = (), env: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """The process of ``dask ARGS``."""
    command = [*before, *DASK, *args, "--dashboard-address", "127.0.0.1:0"]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=TESTS, env={**os.environ, **(env or {})})


def address_of(scheduler: subprocess.Popen[str]) -> str:
    """Where it listens, as it says itself."""
    assert scheduler.stderr is not None
    lines = iter(scheduler.stderr.readline, "")
    return next(found[0] for line in lines if (found := re.search(r"tcp://[\d.]+:\d+", line)))


def end(*processes: subprocess.Popen[str]) -> None:
    """As with Ctrl-C. A process that does not end is killed, with those that it has started."""
    for one in processes:
        one.send_signal(signal.SIGINT)
    for one in processes:
        try:
            one.wait(10)
        except subprocess.TimeoutExpired:
            one.kill()
            one.wait()
        assert one.stderr is not None
        one.stderr.close()
