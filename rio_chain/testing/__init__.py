"""For the tests of those who use rio_chain."""

from rio_chain.testing.leaks import Leaked, leak_guard

__all__ = ["Leaked", "leak_guard"]
