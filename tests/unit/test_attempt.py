"""Attempt: an int with the replica and the key, also outside of a run and in a copy."""

from __future__ import annotations

import copy
import pickle
from typing import Any

from forking import elsewhere, forks, holding, in_child

from rio_chain import Task, current_attempt
from rio_chain.engine import _attempt

pytestmark = forks


def of_a_run() -> Any:
    return Task(current_attempt)().run().unwrap()


def test_outside_of_a_run_the_key_is_new_each_time() -> None:
    assert current_attempt().key != current_attempt().key
    assert not current_attempt().cancelled


def test_a_copy_says_the_same() -> None:
    attempt = of_a_run()
    for again in (pickle.loads(pickle.dumps(attempt)), copy.copy(attempt), copy.deepcopy(attempt)):  # noqa: S301
        assert (again, again.replica, again.key, again.cancelled) == (1, 0, attempt.key, False)


def test_a_forked_child_makes_keys_while_another_thread_did() -> None:
    with elsewhere(holding(_attempt._lock)):
        in_child(of_a_run)
