"""What SECURITY.md promises, as far as a test can hold it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rio_chain import (
    Backoff,
    Balancer,
    Breaker,
    BridgeFailed,
    Budget,
    Cache,
    CallbackFailed,
    Chain,
    ChainDefinitionError,
    Chaos,
    Event,
    Limit,
    LimitExceeded,
    NotAccepted,
    Outcome,
    Quantile,
    SingleFlight,
    Task,
    best,
    choose,
    each,
    expand,
    fan_out,
    first,
    quorum,
    race,
    reduce,
    star,
    when,
)

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "rio_chain"
FILES = {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}
OURS = {name: tree for name, tree in TREES.items() if not name.startswith("demo/")}

EXECUTORS = ("asyncio", "trio", "thread")
HOSTILE = 'x"]; click n0 "javascript:alert(1)"\n</script><b>\x1b[31m`\u202e&amp;{{%%'
SECRET = "s3cr3t-t0ken"  # noqa: S105


def calls(name: str) -> Iterator[tuple[str, ast.Call]]:
    """Where a function is called by that name, or as an attribute of a module."""
    for file, tree in OURS.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == name:
                yield file, node


def importers(module: str) -> set[str]:
    return {
        file
        for file, tree in OURS.items()
        for node in ast.walk(tree)
        if (isinstance(node, ast.Import) and any(alias.name.split(".")[0] == module for alias in node.names))
        or (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == module)
    }


# --- what it does not do ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["eval", "exec", "compile", "__import__", "os.system", "os.popen", "open", "print"])
def test_nothing_is_evaluated_opened_or_printed(name: str) -> None:
    assert [file for file, _ in calls(name) if not file.startswith("cli/")] == []


def test_no_module_is_imported_by_a_name_that_comes_from_data() -> None:
    names = {file: ast.unparse(node.args[0]) for file, node in calls("importlib.import_module")}
    assert names == {
        "executors/_running_loop.py": "_MODULES[name]",  # which has been looked up in a list
        "_core/pickling.py": "'cloudpickle'",
        "inspect/live/_screen.py": "'IPython.display'",
        "simulation/_confidence_intervals.py": "'scipy.stats'",
        "simulation/_extra.py": "name",  # numpy and scipy
        "inspect/live/_rich_terminal.py": "module",
        "cli/_target.py": "place",  # which the user's own command line says
    }
    rich = ("console", "live", "progress_bar", "table", "text")
    assert {ast.unparse(node.args[0]) for _, node in calls("_rich")} == {f"'rich.{name}'" for name in rich}


QUEUE_LOGS = {"cli/_work.py", "contrib/_queue_schedules.py", "contrib/_queue_worker.py"}
"""A worker process reports here: nobody waits for its runs."""


@pytest.mark.parametrize(
    ("module", "files"),
    [
        ("pickle", {"_core/pickling.py"}),
        ("subprocess", {"executors/lanes/_process.py"}),
        ("socket", {"executors/virtual/_real_io_guard.py"}),  # which forbids it in virtual time
        ("html", {"inspect/_html.py"}),  # what is drawn takes `escape` from there
        (
            "logging",
            {"observers.py", "contrib/asgi.py"} | QUEUE_LOGS,
        ),  # a failed run; a refused header
        ("http", {"contrib/_statuses.py"}),  # the names of statuses, and no client
        ("urllib", {"contrib/_queue_connections.py"}),  # writes an address, and opens nothing
        *((module, set[str]()) for module in ("marshal", "shelve", "ssl")),
        *((module, set[str]()) for module in ("httpx2", "tempfile", "shutil", "multiprocessing")),
        ("sqlite3", {"journal/_sqlite_store.py"}),
    ],
)
def test_who_may_pickle_start_processes_escape_log_or_connect(module: str, files: set[str]) -> None:
    assert importers(module) == files


def test_two_environment_variables_are_read() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for name, path in FILES.items() if name in OURS)
    assert set(re.findall(r"environ\.\w+\S*", text)) == {'environ.get("RIO_EXECUTOR")', 'environ.get("RIO_DISPLAY",'}
    assert not re.search(r"environ\b(?!\.get\()", text)
    assert "getenv" not in text


AUDITED = """
import sys, threading
from rio_chain import Balancer, Task
async def later(x): return x
chain = Task(later).timeout(5_000).retry(2) >> (Task(abs) & Task(later)) >> Task(lambda x: x)
def run():
    for executor in ("asyncio", "trio", "thread"):
        chain(-1).run(executor=executor).unwrap()
        with Balancer(executor, workers=2) as balancer:
            balancer.run(chain(-1)).unwrap(), balancer.post(chain(-1)).wait(), list(balancer.map(chain, [1, 2]))
        repr(chain), chain.explain(), chain.mermaid(), chain.lint(), chain.bounds(), chain(1).run().summary()
        str(chain.svg()), chain._repr_mimebundle_(), chain(1).run()._repr_mimebundle_()
run()  # imports what it needs
seen = []
bad = ("open", "import", "exec", "compile", "os.", "subprocess.", "pickle.", "socket.connect", "socket.bind", "shutil.")
sys.addaudithook(lambda event, args: seen.append((event, str(args))) if event.startswith(bad) else None)
run()
print(seen)
"""


def test_a_run_opens_nothing_and_imports_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", AUDITED], capture_output=True, text=True, cwd=ROOT, check=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


# --- what is made harmless ----------------------------------------------------------------------------------------


def task(x: Any, **_: Any) -> Any:
    return x


def bridge(x: Any) -> Any:
    return x


def pair(a: Any, _: Any) -> Any:
    return a


class Bad(Exception):
    """With a message, and a name, that nobody should have to print."""

    def __str__(self) -> str:
        return HOSTILE


def fails(x: Any) -> Any:
    raise Bad(x)


def accepts_none(_: Any) -> bool:
    return False


for thing in (task, bridge, pair, fails, Bad):
    thing.__name__ = thing.__qualname__ = HOSTILE
    thing.__module__ = HOSTILE


def hostile_chains() -> dict[str, Chain[..., Any]]:
    one, other = Task(task), Task(bridge)
    return {
        "named": one.named(HOSTILE).timeout(5) >> bridge >> other,
        "retry": one.retry(2, on=(Bad, OSError), accept=accepts_none),
        "retry by class": one.retry(2, on={Bad: Backoff(base=10), OSError: None}),
        "breaker": one.breaker(Breaker(3, name=HOSTILE, on=Bad)),
        "limit": one.limit(Limit(1, key=task)),
        "cache": one.cache(Cache(60, key=task)),
        "flights": one.single_flight(SingleFlight(key=task)),
        "chaos": one.chaos(Chaos(0.5, error=Bad)),
        "budget": one.retry(1).budget(Budget(0.2)),
        "accept": one.accept(bridge),
        "replica": one.replica(2, pick=best(task, within=10), after=Quantile(0.9)),
        "race": race(one, other, pick=quorum(2, by=task)),
        "first": race(one, other, pick=first(accept=bridge)),
        "each": each(one, on_error="keep") >> reduce(pair, initial=HOSTILE),
        "expand": expand(one, more=task, key=task),
        "choose": one >> choose(when(Bad, one), when(bridge, other), otherwise=one),
        "constant": one.or_else(HOSTILE, on=Bad),
        "handler": one.or_else(bridge),
        "star": one >> star(pair),
        "keys": fan_out(**{HOSTILE: one, "b": other.named("b " + HOSTILE)}),
        "using": one.named(HOSTILE) >> Task(task).using(**{HOSTILE: one.named(HOSTILE)}),
        "odd": one.retry(3).or_else(HOSTILE).retry(2).timeout(5).timeout(7),
    }


def is_inert(text: str) -> bool:
    return re.fullmatch(r"[ -~\n]*", text) is not None


@pytest.mark.parametrize("name", hostile_chains())
def test_a_hostile_name_is_inert_wherever_a_chain_is_shown(name: str) -> None:
    chain = hostile_chains()[name]
    texts = [repr(chain), str(chain), chain.explain(), chain.mermaid(), repr(chain.bounds()), repr(chain(1))]
    texts += [str(finding) for finding in chain.lint()] + [chain.plan().title]
    assert [text for text in texts if not is_inert(text)] == []
    assert "</script>" not in chain.mermaid()
    assert "javascript:" not in chain.mermaid()


@pytest.mark.parametrize(
    "policy",
    [
        Breaker(3, name=HOSTILE, on=Bad),
        Limit(1, key=task),
        Cache(60, key=task),
        SingleFlight(key=task),
        Chaos(0.5, error=Bad),
        best(task, within=10),
        quorum(2, by=task),
        first(accept=task),
    ],
    ids=lambda policy: type(policy).__name__,
)
def test_a_hostile_name_is_inert_in_a_policy(policy: object) -> None:
    assert is_inert(repr(policy))
    assert is_inert(str(policy))


def shown_of(outcome: Outcome[Any]) -> list[str]:
    return [repr(outcome), str(outcome), *map(repr, outcome), *map(str, outcome)]


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_hostile_error_is_inert_in_what_a_run_gives(executor: str) -> None:
    request = Task(fails).retry(1, backoff=None)(1)
    outcome = request.run(executor=executor)
    events = [repr(event) for event in request.stream(executor=executor)]
    assert [text for text in [*shown_of(outcome), outcome.summary(), *events] if not is_inert(text)] == []
    assert len(outcome.summary().splitlines()) == 3


# --- what can be seen ---------------------------------------------------------------------------------------------


def runs() -> dict[str, Chain[..., Any]]:
    answers = Task(lambda x: x).named("answers")
    raises = Task(_raises).named("raises")
    return {
        "success": answers >> answers.named("again"),
        "failure": answers >> raises >> answers.named("later"),
        "retried": raises.retry(2, backoff=None),
        "settled": fan_out(a=answers, b=raises.or_else(0)),
        "late": answers.timeout(5_000).retry(1),
        "each": Task(list) >> each(answers, on_error="keep"),
        "cached": answers.cache(Cache(60_000)),
    }


def _raises(x: Any) -> Any:
    raise ValueError(x)


@pytest.mark.parametrize("name", runs())
@pytest.mark.parametrize("executor", EXECUTORS)
def test_neither_arguments_nor_results_nor_messages_are_in_a_repr(name: str, executor: str) -> None:
    chain = runs()[name]
    request = chain(SECRET)
    with Balancer(executor, workers=1) as balancer:
        ticket = balancer.post(request)
        shown = [repr(ticket)]
        outcome = ticket.wait()
        shown += [repr(ticket), repr(balancer), repr(balancer.stats())]
    stream = request.stream(executor=executor)
    shown += [repr(stream)]
    events: list[Event] = list(stream)
    shown += [repr(stream), *map(repr, events), *map(str, events)]
    shown += [repr(request), *shown_of(outcome), *(repr(item) for found in outcome for item in found.items)]
    shown += [repr(chain), str(chain), chain.explain(), chain.mermaid(), repr(chain.bounds()), repr(chain.plan())]
    assert [text for text in shown if SECRET in text] == []


def test_a_value_that_was_not_accepted_is_not_in_the_error() -> None:
    error = Task(bridge).accept(accepts_none)(SECRET).run().result.failure()
    assert isinstance(error, NotAccepted)
    assert error.value == SECRET
    assert SECRET not in repr(error) + str(error)


def test_a_shared_policy_shows_no_key() -> None:
    policies = Cache(60_000), SingleFlight(), Limit(1, key=bridge)
    chain = Task(bridge).cache(policies[0]).single_flight(policies[1]).limit(policies[2])
    assert chain(SECRET).run().unwrap() == SECRET
    assert SECRET not in repr(policies) + "".join(map(str, policies))


def test_what_does_show_is_what_the_page_says() -> None:
    assert SECRET in Task(bridge)(SECRET).run().summary()
    failed = Task(_raises)(SECRET).run()
    assert failed.summary().endswith(f"ValueError: {SECRET}")
    bridged = (Task(bridge) >> _raises >> Task(bridge))(SECRET).run().result.failure()
    assert isinstance(bridged, BridgeFailed)
    assert SECRET in str(bridged)
    called = Task(bridge).accept(_raises)(SECRET).run().result.failure()
    assert isinstance(called, CallbackFailed)
    assert SECRET in str(called)
    limited = Task(bridge).limit(Limit(rate=1, per=1e9, burst=1, wait=0, key=bridge))
    assert limited(SECRET).run().unwrap() == SECRET
    refused = limited(SECRET).run().result.failure()
    assert isinstance(refused, LimitExceeded)
    assert SECRET in str(refused)
    with pytest.raises(ChainDefinitionError, match=SECRET):
        Task(bridge).timeout(SECRET)  # type: ignore[arg-type]
    assert SECRET in repr(Task(bridge).or_else(SECRET))


def test_a_long_value_is_shortened() -> None:
    assert len(Task(bridge)("x" * 10_000).run().summary()) < 500
