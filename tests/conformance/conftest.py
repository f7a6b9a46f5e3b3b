"""Runs every conformance body in every mode, and sees to it that none is left out."""

from __future__ import annotations

import inspect
import threading
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conformance.harness import MODES, World

HERE = Path(__file__).parent
RAN = pytest.StashKey[dict[str, set[str]]]()
CHOSEN = pytest.StashKey[dict[str, set[str]]]()
LEFT_OUT = pytest.StashKey[dict[str, set[str]]]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "real_time: conformance body that needs real clocks, as threads are at work")
    for key in (RAN, CHOSEN, LEFT_OUT):
        config.stash[key] = defaultdict(set)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "world" in metafunc.fixturenames:
        metafunc.parametrize("world", MODES, indirect=True)


@pytest.fixture
def world(request: pytest.FixtureRequest) -> World:
    return World(request.param, real_time=request.node.get_closest_marker("real_time") is not None)


@pytest.fixture
def reported(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """The errors that went to ``threading.excepthook``."""
    found: list[BaseException] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: found.append(args.exc_value))
    return found


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if HERE not in pyfuncitem.path.parents or not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    given: dict[str, Any] = {name: pyfuncitem.funcargs[name] for name in names}
    world = given["world"]
    body, mode = body_and_mode(pyfuncitem)
    try:
        world.drive(partial(pyfuncitem.obj, **given))
    except pytest.skip.Exception:  # it says why
        pyfuncitem.config.stash[RAN][body].add(mode)
        raise
    pyfuncitem.config.stash[RAN][body].add(mode)
    return True


# --- none is left out ---------------------------------------------------------------------------------------------


def body_and_mode(item: pytest.Function) -> tuple[str, str]:
    """A body with its parameters, and the mode."""
    mode = item.callspec.params["world"]
    params = f"-{item.callspec.id}-".replace(f"-{mode}-", "-", 1).strip(
        "-"
    )  # the repr of a Deadline changes, its id does not
    return f"{item.path.relative_to(HERE)}::{item.originalname}[{params}]", mode


def ours(items: list[pytest.Item]) -> list[pytest.Function]:
    here = [item for item in items if HERE in item.path.parents and isinstance(item, pytest.Function)]
    return [item for item in here if "world" in item.fixturenames]


def pytest_deselected(items: list[pytest.Item]) -> None:
    for item in ours(items):
        body, mode = body_and_mode(item)
        item.config.stash[LEFT_OUT][body].add(mode)


def pytest_collection_finish(session: pytest.Session) -> None:
    for item in ours(session.items):
        body, mode = body_and_mode(item)
        session.config.stash[CHOSEN][body].add(mode)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Every body was collected in every mode, and ran in those that were not deselected."""
    stash, option = session.config.stash, session.config.option
    if session.testsfailed or session.shouldstop or option.collectonly or hasattr(session.config, "workerinput"):
        return  # it is red already, or only a part of it ran here
    by_name = any("::" in arg for arg in session.config.args)
    problems = (
        []
        if by_name
        else [
            f"{body}: not collected in {sorted(missing)}"
            for body, modes in stash[CHOSEN].items()
            if (missing := set(MODES) - modes - stash[LEFT_OUT][body])
        ]
    )
    problems += [
        f"{item.nodeid}: takes no `world`, so it knows of no mode"
        for item in session.items
        if HERE in item.path.parents and item not in ours([item])
    ]
    problems += [
        f"{body}: did not run in {sorted(missing)}"
        for body, modes in stash[CHOSEN].items()
        if (missing := modes - stash[RAN][body])
    ]
    if problems:
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.write_line("\nconformance bodies that did not run in every mode:\n  " + "\n  ".join(problems))
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
