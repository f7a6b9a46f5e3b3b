"""Steps that must not fail: they are done again, and what interrupted them is not swallowed."""

from __future__ import annotations

import pytest

from rio_chain._core.unhandled_errors import surely


class Step:
    """Raises these errors in turn, then answers."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def test_where_there_is_no_memory_it_is_done_again() -> None:
    step = Step(MemoryError(), MemoryError())
    assert (surely(step), step.calls) == ("done", 3)


def test_what_interrupted_it_is_raised_when_it_is_done() -> None:
    limit = TimeoutError("soft time limit")
    step = Step(limit, MemoryError())
    with pytest.raises(TimeoutError) as caught:
        surely(step)
    assert (caught.value, step.calls) == (limit, 3)


@pytest.mark.parametrize("error", [RecursionError(), KeyboardInterrupt(), SystemExit()])
def test_what_would_come_again_or_ends_the_program_is_raised_at_once(error: BaseException) -> None:
    step = Step(error)
    with pytest.raises(type(error)):
        surely(step)
    assert step.calls == 1


def test_an_error_that_stays_is_raised() -> None:
    step = Step(*[ValueError(k) for k in range(9)])
    with pytest.raises(ValueError, match="3"):
        surely(step)
    assert step.calls == 4
