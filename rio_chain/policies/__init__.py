"""One file per policy: frozen data and pure decisions. Nothing here waits, and nothing here keeps state of a run."""

from rio_chain.policies.retry import DEFAULT_BACKOFF, Backoff, Retry
from rio_chain.policies.timeout import Timeout

Policy = Timeout | Retry

__all__ = ["DEFAULT_BACKOFF", "Backoff", "Policy", "Retry", "Timeout"]
