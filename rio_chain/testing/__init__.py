"""For the tests of those who use rio_chain."""

from rio_chain.executors.deadlock import Deadlock
from rio_chain.executors.virtual import VirtualExecutor
from rio_chain.testing.clock import sleep
from rio_chain.testing.leaks import Leaked, leak_guard
from rio_chain.testing.run import run_virtual

__all__ = ["Deadlock", "Leaked", "VirtualExecutor", "leak_guard", "run_virtual", "sleep"]
