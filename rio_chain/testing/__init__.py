"""For the tests of those who use rio_chain."""

from rio_chain.executors.virtual._deadlock import Deadlock
from rio_chain.executors.virtual._executor import VirtualExecutor
from rio_chain.simulation._latency_models import LatencyModel
from rio_chain.simulation._script import Script, ScriptEnded
from rio_chain.simulation._script_calls import ScriptCall
from rio_chain.testing.backoff import no_backoff
from rio_chain.testing.clock import sleep
from rio_chain.testing.leaks import Leaked, leak_guard
from rio_chain.testing.run import run_virtual
from rio_chain.testing.timeline import assert_timeline, timeline

__all__ = [
    "Deadlock",
    "LatencyModel",
    "Leaked",
    "Script",
    "ScriptCall",
    "ScriptEnded",
    "VirtualExecutor",
    "assert_timeline",
    "leak_guard",
    "no_backoff",
    "run_virtual",
    "sleep",
    "timeline",
]
