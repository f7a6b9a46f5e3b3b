"""A journal: what a run has done is recorded, so that it can go on in another process.

_journal        Journal
_session        one run: what is recalled, and what is recorded
_writer         the thread that writes, and its transactions
_store          the interface of what keeps the records
_sqlite_store   in an SQLite file
_postgres_store in a PostgreSQL database
_codec          values as text, and digests
_log_codec      the log of a run as text
_owner          which process has a lease
"""

from __future__ import annotations

from rio_chain.journal._codec import JSON, Pickle, Serializer
from rio_chain.journal._journal import Journal, RunInfo

__all__ = ["JSON", "Journal", "Pickle", "RunInfo", "Serializer"]
