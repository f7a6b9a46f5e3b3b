"""The context that a call takes along into another process."""

from contextvars import ContextVar, copy_context
from functools import partial

from rio_chain._core.lane_wrapper import LANE_WRAPPER, enter_context_of, packed_wrapper

NAME: ContextVar[str] = ContextVar("name", default="none")


def named(name, fn, value):  # type: ignore[no-untyped-def]
    token = NAME.set(name)
    try:
        return fn(value)
    finally:
        NAME.reset(token)


def test_a_context_there_has_the_variables_that_the_wrapper_sets() -> None:
    LANE_WRAPPER.set(lambda: partial(named, "page"))
    packed = packed_wrapper()
    LANE_WRAPPER.set(None)

    def there() -> str:
        enter_context_of(packed)
        return NAME.get()

    assert copy_context().run(there) == "page"
    assert NAME.get() == "none"


def test_without_a_wrapper_nothing_is_sent() -> None:
    assert packed_wrapper() == b""
    enter_context_of(b"")


def test_a_process_that_cannot_load_the_wrapper_goes_on_without_it() -> None:
    enter_context_of(b"cno_such_module\nname\n.")
    enter_context_of(b"no pickle")
