"""What worker processes of the tests run: named on the command line, and told by the environment which database."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from extras.queue.jobs_of_tests import made_queue

queue = made_queue(os.environ["JOBS_DSN"], lease=float(os.environ["JOBS_LEASE"]))
if "JOBS_EVERY" in os.environ:
    from extras.queue.jobs_of_tests import note

    queue.every(float(os.environ["JOBS_EVERY"]), note("tick", 0), name="ticks", overlap="parallel", missed="all")
