"""The shape of the code, read from the syntax trees: what may import what, and what may touch the world."""

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1] / "rio_chain"
FILES = sorted(ROOT.rglob("*.py"))


def map_of_the_package() -> list[str]:
    """The modules in the order of the map that ``rio_chain/__init__.py`` opens with, the bottom first."""
    text = ast.get_docstring(ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))) or ""
    rows = re.findall(r"^    ((?:[a-z_]+/?(?:, )?)+)  +\S", text, re.MULTILINE)
    return [name.rstrip("/") for row in rows for name in row.split(", ")]


# What is later in the map may import what is earlier. The demo and the command use the package as users do.
MAP = map_of_the_package()
COMMANDS = ["demo", "cli", "__main__"]
LAYERS = [*(name for name in MAP if name not in COMMANDS), "__init__", *COMMANDS]

ONE_FILE = {
    "asyncio": "executors/_asyncio.py",
    "trio": "executors/_trio.py",
    "distributed": "executors/dask/_cluster.py",
}
EXTRAS = {  # their files are imported inside functions
    ("cronsim", "schedule/_ticks.py"),
    ("dask", "executors/dask/_cluster.py"),
    ("distributed", "executors/dask/_cluster.py"),
    ("numpy", "simulation/_confidence_intervals.py"),
    ("opentelemetry", "contrib/_otel_metrics.py"),
    ("opentelemetry", "contrib/_otel_run_spans.py"),
    ("opentelemetry", "contrib/_otel_spans.py"),
    ("prometheus_client", "contrib/_prometheus_metrics.py"),
    ("procrastinate", "contrib/_queue_connections.py"),
    ("procrastinate", "contrib/_queue_worker.py"),
    ("psycopg", "contrib/_queue_connections.py"),
    ("psycopg", "contrib/_queue_store.py"),
    ("psycopg", "journal/_postgres_store.py"),
}
CORE_DEPENDENCIES = {"attrs", "returns", "sniffio", "trio"}  # sniffio comes with trio


class Import(NamedTuple):
    file: str
    module: str
    typing_only: bool

    @property
    def target(self) -> str:
        return layer_of(self.module)


def layer_of(module: str) -> str:
    """``rio_chain.executors._trio`` -> ``executors``, ``rio_chain`` -> ``__init__``."""
    return [*module.split("."), "__init__"][1]


def layer_of_file(file: str) -> str:
    return file.removesuffix(".py").split("/")[0]


def module_of_file(file: str) -> str:
    """``executors/_trio.py`` -> ``rio_chain.executors._trio``, ``inspect/__init__.py`` -> ``rio_chain.inspect``."""
    parts = ("rio_chain", *file.removesuffix(".py").split("/"))
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


MODULES = {module_of_file(named(path)) for path in FILES}


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def imports_in(file: str, node: ast.AST, *, typing_only: bool = False) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(file, alias.name, typing_only) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"{file}:{child.lineno}: write imports absolute"
            # `from rio_chain import plan` names a module of ours, `from rio_chain import Task` the exports
            names = [f"{child.module}.{alias.name}" for alias in child.names]
            modules = dict.fromkeys(name if name in MODULES else child.module or "" for name in names)
            yield from (Import(file, module, typing_only) for module in modules)
        else:
            yield from imports_in(file, child, typing_only=typing_only or is_type_checking(child))


TREES = {named(path): ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
IMPORTS = [found for file, tree in TREES.items() for found in imports_in(file, tree)]
OURS = [found for found in IMPORTS if found.module.split(".")[0] == "rio_chain"]


def test_the_map_shows_every_module_once() -> None:
    modules = {layer_of_file(file) for file in TREES} - {"__init__", "__main__"}
    assert sorted(MAP) == sorted(modules)


@pytest.mark.parametrize("package", ["simulation", "demo"])
def test_the_map_of_a_package_shows_its_modules_once(package: str) -> None:
    text = ast.get_docstring(TREES[f"{package}/__init__.py"]) or ""
    rows = re.findall(r"^((?:\w+(?:\.py)?(?:, )?)+)  *\S", text.partition("\n\n")[2], re.MULTILINE)
    modules = {file.split("/")[1].removesuffix(".py") for file in TREES if file.startswith(f"{package}/")}
    shown = [name.removesuffix(".py") for row in rows for name in row.split(", ")]
    assert sorted(shown) == sorted(modules - {"__init__"})


def test_imports_go_down_only() -> None:
    """Also those inside functions. What must call up goes through ``hooks``, which ``rio_chain/__init__.py`` fills."""
    upward = [
        found
        for found in OURS
        if not found.typing_only
        and found.file != "__init__.py"
        and LAYERS.index(found.target) > LAYERS.index(layer_of_file(found.file))
    ]
    assert upward == []


def graph() -> dict[str, set[str]]:
    """Which modules each module imports, at its head or inside a function."""
    edges: dict[str, set[str]] = {module: set() for module in MODULES}
    for found in OURS:
        if not found.typing_only:
            edges[module_of_file(found.file)].add(found.module)
    return edges


def circles(edges: Mapping[str, set[str]]) -> list[set[str]]:
    """The sets of modules each of which leads to all others of its set."""
    reached: dict[str, set[str]] = {}
    for start in edges:
        seen, todo = set[str](), [*edges[start]]
        while todo:
            module = todo.pop()
            if module not in seen:
                seen.add(module)
                todo += edges[module]
        reached[start] = seen
    found = {
        frozenset(other for other in reached[one] if one in reached[other]) for one in edges if one in reached[one]
    }
    return [set(circle) for circle in found]


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Not even inside functions, and not even within a folder."""
    assert circles(graph()) == []


def test_a_circle_is_found() -> None:
    edges = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set[str](), "e": {"a", "e"}}
    assert sorted(map(sorted, circles(edges))) == [["a", "b", "c"], ["e"]]


def test_these_modules_call_up_through_hooks() -> None:
    files = {found.file for found in OURS if found.module == "rio_chain._core.hooks" and not found.typing_only}
    assert files - {"__init__.py"} == {
        # a Request runs itself; interpreter and balancer know its class, so it can't be a subclass above
        "chain/_request.py",
        "_core/deadline.py",  # that of the body which asks; a Deadline is data
        "_core/notebook_repr.py",  # a Plan, an Outcome or a Balancer draws itself, and the layers below make them
        "results/_outcome.py",  # and so does the timeline of a run
        "results/_outcome_pickle.py",  # how errors travel is known to the lanes
        "balancer/_balancer.py",
        "balancer/_observe_methods.py",  # it is watched
        "balancer/_mapping.py",  # a map shows its progress
    }


def test_the_package_itself_exports_only_what_is_below_it() -> None:
    targets = {found.target for found in OURS if found.file == "__init__.py"}
    assert targets <= set(LAYERS[: LAYERS.index("__init__")])


@pytest.mark.parametrize("library", ["asyncio", "trio", "distributed"])
def test_a_concurrency_library_is_imported_in_one_file(library: str) -> None:
    files = {found.file for found in IMPORTS if found.module.split(".")[0] == library}
    assert files == ({ONE_FILE[library]} if library in ONE_FILE else set())


def test_only_core_dependencies_are_imported() -> None:
    known = sys.stdlib_module_names | CORE_DEPENDENCIES | {"rio_chain"}
    others = {(found.module.split(".")[0], found.file) for found in IMPORTS if not found.typing_only}
    assert {(module, file) for module, file in others if module not in known} == EXTRAS


def test_threads_are_started_in_one_file() -> None:
    starters = {"Thread", "Timer", "start_new_thread", "ThreadPoolExecutor"}
    files = {
        file
        for file, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in starters
    }
    assert files == {"executors/_start_thread.py"}


def strings_in(node: ast.AST) -> set[str]:
    return {n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)}


def test_no_code_asks_which_executor_it_runs_on() -> None:
    """What differs between executors is behind the Runtime Protocol, or in a dict; never an ``if`` on its name."""
    names = {"asyncio", "trio", "thread", "threads", "virtual"}
    ladders = [
        f"{file}:{node.lineno}: {ast.unparse(node)}"
        for file, tree in TREES.items()
        for node in ast.walk(tree)
        if (isinstance(node, ast.Compare) and any(strings_in(side) & names for side in (node.left, *node.comparators)))
        or (isinstance(node, ast.MatchValue) and strings_in(node) & names)
    ]
    assert ladders == []


def test_no_file_is_longer_than_400_lines() -> None:
    long = {file.relative_to(ROOT).as_posix(): len(file.read_text(encoding="utf-8").splitlines()) for file in FILES}
    assert {file: lines for file, lines in long.items() if lines > 400} == {}
