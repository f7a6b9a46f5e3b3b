"""Deadlines that come in headers, and what a body asks: both checkers infer them, and nothing here runs."""

import email.message
from typing import assert_type

import starlette.datastructures

from rio_chain import Deadline, current_attempt

assert_type(Deadline.from_headers({"x-deadline-ms": "300"}), Deadline | None)
assert_type(Deadline.from_headers({}, cap=5_000, name="x-budget"), Deadline | None)
assert_type(Deadline.from_headers([(b"host", b"a")], default=1_000), Deadline)
assert_type(Deadline.from_headers(starlette.datastructures.Headers(), default=1_000, cap=5_000), Deadline)
assert_type(Deadline.from_headers(email.message.Message(), default=1_000), Deadline)
assert_type(Deadline.current().headers(), dict[str, str])
assert_type(current_attempt().cancelled, bool)
assert_type(current_attempt().key, str)
assert_type(current_attempt().replica, int)
