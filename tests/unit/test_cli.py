"""The command line: which chain is meant, what it is given, what is printed, and the exit status."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from rio_chain import cli

ROOT = Path(__file__).parents[2]
SHOP = """
    import math

    from rio_chain import Task, each

    calls = []

    def fetch_user(user_id: int, lang: str = "en") -> dict:
        calls.append(user_id)
        return {"id": user_id, "lang": lang}

    def fail(_: object) -> None:
        raise LookupError("no such user\\x1b[2J")

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    async def wait(_: object) -> None:
        import asyncio
        await asyncio.sleep(30)

    user = Task(fetch_user).timeout(100).retry(3)
    page = user >> (lambda user: user["lang"]) >> Task(str.upper).named("upper")
    broken = user >> Task(fail).retry(1, backoff=None)
    odd = Task(fail).or_else(0).retry(3)
    many = each(Task(abs), limit=2)
    strange = Task(lambda: {("a", "b"): math.nan, "of": each})
    unusual = Task(lambda: each)
    patient = Task(wait)
    interrupted = Task(interrupt)
    request = page(1)
    number = 3

    class namespace:
        chain = page
"""


@pytest.fixture(autouse=True)
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a module of chains, in which the commands are given."""
    files = {
        "shop_a.py": SHOP,
        "raises_a.py": "def inner():\n    raise RuntimeError('at import')\n\ninner()\n",
        "wrong_a.py": "from rio_chain import Task\npage = Task(len).timeout(-1)\n",
        "needs_a.py": "import no_such_library\n",
        "syntax_a.py": "def (:\n",
        "empty_a.py": "",
        "lib/queue.py": SHOP,
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(textwrap.dedent(text))
    monkeypatch.chdir(tmp_path)
    path, modules = [*sys.path], {*sys.modules}
    yield tmp_path
    sys.path[:] = path
    for name in {*sys.modules} - modules:
        if f"{name}.py" in files or name == "_queue":
            del sys.modules[name]


class Said:
    """What a command said, and its exit status."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *line: str) -> tuple[int, str, str]:
        try:
            status = cli.main(line)
        except SystemExit as ended:  # how argparse refuses, and ends after `--help`
            status = int(ended.code or 0)
        return (status, *self._capsys.readouterr())


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    return Said(capsys)


# --- show ---------------------------------------------------------------------------------------------------------


def test_show_prints_the_tree_and_runs_nothing(said: Said) -> None:
    status, out, err = said("show", "shop_a:user")
    assert (status, err) == (0, "")
    assert out.splitlines()[1:] == ["  timeout 100 ms", "    task fetch_user (sync)"]
    assert sys.modules["shop_a"].calls == []


def test_show_prints_a_flowchart(said: Said) -> None:
    status, out, _ = said("show", "shop_a:page", "--mermaid")
    assert status == 0
    assert out.startswith("flowchart LR\n")


def test_show_writes_a_picture(said: Said, shop: Path) -> None:
    assert said("show", "shop_a:page", "--svg", "page.svg") == (0, "", "")
    written = (shop / "page.svg").read_text(encoding="utf-8")
    assert written.startswith("<svg ")
    assert said("show", "shop_a:page", "--svg", "-")[1].rstrip("\n") == written.rstrip("\n")


def test_a_picture_that_cannot_be_written_is_reported(said: Said) -> None:
    status, out, err = said("show", "shop_a:page", "--svg", "no/such/folder.svg")
    assert (status, out) == (2, "")
    assert err.startswith("rio-chain show: no/such/folder.svg can't be written: ")


# --- which chain --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["shop_a:page", "shop_a.py:page", "./shop_a.py:page", "shop_a:namespace.chain"])
def test_a_chain_is_found_in_a_module_and_in_a_file(said: Said, target: str) -> None:
    assert said("show", target)[0] == 0


def test_a_file_may_be_called_as_a_library_is(said: Said) -> None:
    import queue  # noqa: PLC0415 - what is imported already is not to be replaced

    assert said("show", "lib/queue.py:page")[0] == 0
    assert sys.modules["queue"] is queue


CHAINS = "the chains in shop_a: user, page, broken, odd, many, strange, unusual, patient, interrupted"


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("nope:page", "no module named nope"),
        ("shop_a.page", "no module named shop_a.page; for the chain `page` of a module write `shop_a:page`"),
        ("nope.py:page", "no such file: nope.py"),
        ("shop_a:pag", f"shop_a has no `pag`; {CHAINS}"),
        ("shop_a", f"name the chain, as in `shop_a:user`; {CHAINS}"),
        ("shop_a:", f"name the chain, as in `shop_a:user`; {CHAINS}"),
        ("shop_a.py", f"name the chain, as in `shop_a.py:user`; {CHAINS.replace('shop_a', 'shop_a.py')}"),
        ("empty_a:page", "empty_a has no `page`; there is no chain in empty_a"),
        ("empty_a", "name the chain, as in `module:chain`; there is no chain in empty_a"),
        ("shop_a:fetch_user", "is a function or class, not a chain; write `Task(fetch_user)` to make one"),
        ("shop_a:request", "shop_a:request is a Request, a chain with its arguments; name the chain itself"),
        ("shop_a:number", "shop_a:number is not a chain; got 3"),
        ("shop_a:number.real", "shop_a:number.real is not a chain; got 3"),
        (":page", "'' is neither a module nor a Python file; write module:chain, or path/file.py:chain"),
        ("..:page", "'..' is neither a module nor a Python file"),
        ("shop a:page", "'shop a' is neither a module nor a Python file"),
        ("shop_a:pa\x1b[2Jge", r"shop_a has no `pa\x1b[2Jge`"),
    ],
)
@pytest.mark.parametrize("command", ["show", "run", "bounds"])
def test_what_is_no_chain_is_reported_in_one_line(said: Said, command: str, target: str, text: str) -> None:
    status, out, err = said(command, target)
    assert (status, out) == (2, "")
    assert text in err
    assert err.startswith(f"rio-chain {command}: ")
    assert err.count("\n") == 1
    assert err.rstrip("\n").isprintable()


@pytest.mark.parametrize(
    ("module", "last"),
    [
        ("raises_a", "RuntimeError: at import"),
        ("wrong_a", "rio_chain.errors.ChainDefinitionError: `ms` must be a finite number"),
        ("needs_a", "ModuleNotFoundError: No module named 'no_such_library'"),
        ("syntax_a", "SyntaxError: invalid syntax"),
    ],
)
@pytest.mark.parametrize("suffix", ["", ".py"])
def test_a_module_that_raises_shows_its_own_traceback_and_not_ours(
    said: Said, module: str, last: str, suffix: str
) -> None:
    status, out, err = said("show", f"{module}{suffix}:page")
    assert (status, out) == (2, "")
    assert err.splitlines()[-1].startswith(last)
    assert f"{module}.py" in err
    assert str(ROOT / "rio_chain" / "cli") not in err
    assert "importlib" not in err


# --- run ----------------------------------------------------------------------------------------------------------


def test_run_prints_what_became_of_each_task(said: Said) -> None:
    status, out, err = said("run", "shop_a:page", "--input", "42")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert [line.split()[:2] for line in lines[1:3]] == [["fetch_user", "succeeded"], ["upper", "succeeded"]]
    assert lines[3].endswith(" ms: 'EN'")


def test_a_run_that_fails_has_exit_status_1(said: Said) -> None:
    status, out, _ = said("run", "shop_a:broken", "--input", "42")
    assert status == 1
    assert r"LookupError: no such user\x1b[2J" in out.splitlines()[-1]


@pytest.mark.parametrize("executor", ["asyncio", "trio", "thread"])
def test_run_takes_an_executor(said: Said, executor: str) -> None:
    assert said("run", "shop_a:page", "--input", "42", "--executor", executor)[0] == 0


def test_run_takes_a_deadline(said: Said) -> None:
    status, out, _ = said("run", "shop_a:patient", "--input", "1", "--deadline", "5")
    assert status == 1
    assert "DeadlineExceeded" in out


@pytest.mark.parametrize(
    ("given", "got"),
    [
        (["--input", "42"], {"id": 42, "lang": "en"}),
        (["--input", "null"], {"id": None, "lang": "en"}),
        (["--input", '["a"]'], {"id": ["a"], "lang": "en"}),
        (["--args", '[42, "de"]'], {"id": 42, "lang": "de"}),
        (["--args", "[42]", "--kwargs", '{"lang": "fr"}'], {"id": 42, "lang": "fr"}),
        (["--kwargs", '{"lang": "fr", "user_id": 1}'], {"id": 1, "lang": "fr"}),
    ],
)
def test_arguments_are_json(said: Said, given: list[str], got: object) -> None:
    status, out, _ = said("run", "shop_a:user", "--json", *given)
    assert status == 0
    assert json.loads(out)["value"] == got


def test_a_dash_reads_standard_input(said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"a": 1}\n'))
    assert json.loads(said("run", "shop_a:user", "--json", "--input", "-")[1])["value"]["id"] == {"a": 1}


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (["--input", '{"a": 3,, }'], "--input is not JSON at column 9: Expecting property name"),
        (["--input", "[1,\n 2,\n x]"], "--input is not JSON at line 3, column 2: Expecting value"),
        (["--input", "hello"], "a string is written --input '\"hello\"'"),
        (["--input", ""], "--input is not JSON at column 1: Expecting value"),
        (["--input", "[" * 200_000], "--input is nested too deeply"),
        (["--args", "3"], "--args takes a JSON list, as in --args '[42, \"de\"]'; got a number"),
        (["--args", "null"], "got null"),
        (["--args", "true"], "got a boolean"),
        (["--kwargs", "[]"], "--kwargs takes a JSON object, as in --kwargs '{\"full\": true}'; got a list"),
        ([], "this chain begins with `fetch_user(user_id, lang='en')`, which can't be called with these arguments"),
        (["--kwargs", '{"user": 3}'], "which can't be called with these arguments"),
        (["--input", "1", "--deadline", "-4"], "`deadline` must be a finite number of milliseconds"),
        (["--input", "1", "--deadline", "soon"], "argument --deadline: invalid float value: 'soon'"),
        (["--input", "1", "--executor", "ray"], "invalid choice: 'ray'"),
        (
            ["--input", "1", "--address", "tcp://x:1"],
            "--address is the address of a Dask scheduler; it needs --executor dask",
        ),
        (["--input", "1", "--args", "[1]"], "argument --args: not allowed with argument --input"),
    ],
)
def test_a_run_that_cannot_begin_has_exit_status_2(said: Said, given: list[str], text: str) -> None:
    status, out, err = said("run", "shop_a:user", *given)
    assert (status, out) == (2, "")
    assert text in err


@pytest.mark.parametrize(
    ("text", "line", "mark"),
    [
        ('{"a": 3,, }', '  {"a": 3,, }', "          ^"),
        ("\x1b[1,", r"  \x1b[1,", "  ^"),
        ("[1, \x1b 2]", r"  [1, \x1b 2]", "      ^"),
        (f"[{'1, ' * 500}x{', 1' * 500}]", None, None),
    ],
)
def test_a_mark_points_at_the_mistake(said: Said, text: str, line: str | None, mark: str | None) -> None:
    _, _, err = said("run", "shop_a:user", "--input", text)
    _, piece, below = err.splitlines()
    assert len(piece) <= 120
    assert piece[below.index("^")] not in "^ "
    if line is None:
        assert piece[below.index("^")] == "x"
    else:
        assert (piece, below) == (line, mark)


def test_json_tells_all_there_is(said: Said) -> None:
    status, out, _ = said("run", "shop_a:broken", "--input", "42", "--json")
    answer = json.loads(out)
    assert status == 1
    assert answer["status"] == "failed"
    assert answer["error"] == {"type": "LookupError", "text": "no such user\x1b[2J"}
    assert "value" not in answer
    user, failed = answer["tasks"]
    assert (user["name"], user["status"], user["attempts"], user["errors"]) == ("fetch_user", "succeeded", 1, [])
    assert (failed["status"], failed["attempts"], len(failed["errors"])) == ("failed", 2, 2)
    assert user["elapsed_ms"] <= answer["elapsed_ms"]


def test_json_counts_items(said: Said) -> None:
    answer = json.loads(said("run", "shop_a:many", "--input", "[1, -2, 3]", "--json")[1])
    assert answer["value"] == [1, 2, 3]
    assert answer["tasks"][0]["items"] == {"succeeded": 3}


@pytest.mark.parametrize(("chain", "shown"), [("unusual", "<function each at"), ("strange", "{('a', 'b'): nan, ")])
def test_what_json_cannot_hold_is_there_as_its_repr(said: Said, chain: str, shown: str) -> None:
    status, out, _ = said("run", f"shop_a:{chain}", "--json")
    assert status == 0
    assert json.loads(out)["value"].startswith(shown)


def test_live_shows_the_tasks_on_stderr_and_what_came_out_on_stdout(said: Said) -> None:
    status, out, err = said("run", "shop_a:page", "--input", "42", "--live")
    assert status == 0
    assert out.count("\n") == 1
    assert out.endswith(" ms: 'EN'\n")
    assert [line.partition(",")[0] for line in err.splitlines()[:2]] == ["fetch_user: succeeded", "upper: succeeded"]


def test_ctrl_c_has_exit_status_130(said: Said) -> None:
    assert said("run", "shop_a:interrupted", "--input", "1") == (130, "", "\nstopped\n")


# --- bounds and lint ----------------------------------------------------------------------------------------------


def test_bounds_says_what_it_can_cost(said: Said) -> None:
    status, out, _ = said("bounds", "shop_a:user")
    assert status == 0
    assert out.splitlines()[1] == "fetch_user: at most 4 calls"


def test_lint_finds_nothing_with_exit_status_0(said: Said) -> None:
    assert said("lint", "shop_a:page", "shop_a:user") == (0, "", "nothing found in 2 chains\n")


def test_lint_has_exit_status_1_where_there_is_something(said: Said) -> None:
    status, out, err = said("lint", "shop_a:page", "shop_a:odd")
    assert (status, err) == (1, "1 finding in 2 chains\n")
    assert out == (
        "shop_a:odd: retry-never-runs at fail: the fallback always answers, so the retry around it never runs\n"
        "  better: Task(fail).retry(3).or_else(0)\n"
    )


@pytest.mark.parametrize("target", ["shop_a", "shop_a.py"])
def test_lint_looks_at_all_chains_of_a_module(said: Said, target: str) -> None:
    status, out, err = said("lint", target)
    assert (status, err) == (1, "1 finding in 9 chains\n")
    assert out.startswith(f"{target}:odd: ")


@pytest.mark.parametrize("targets", [["shop_a:page", "nope"], ["empty_a"], ["raises_a"]])
def test_lint_of_what_cannot_be_looked_at_has_exit_status_2(said: Said, targets: list[str]) -> None:
    status, out, err = said("lint", *targets)
    assert (status, out) == (2, "")
    assert err


# --- as a command -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["show", "run", "bounds", "lint"])
def test_help_teaches_by_examples(said: Said, command: str) -> None:
    status, out, _ = said(command, "--help")
    assert status == 0
    assert f"examples:\n  rio-chain {command} shop.pages:page" in out
    assert max(map(len, out.splitlines())) <= 100


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from rio_chain import cli\n"
        "try: cli.main(['run', '--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'asyncio', 'trio', 'rich', 'IPython', 'httpx2', 'rio_chain.inspect.live', 'rio_chain.inspect'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "[]"


def command(*line: str, **options: object) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
    run = [sys.executable, "-m", "rio_chain", *line]
    return subprocess.run(run, capture_output=True, text=True, check=False, env=env, timeout=40, **options)


def test_it_is_a_command_with_an_exit_status() -> None:
    done = command("run", "shop_a:broken", "--input", "42")
    assert (done.returncode, done.stderr) == (1, "")
    done = command("show", "shop_a:nothing")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("rio-chain show: shop_a has no `nothing`; ")


def test_a_reader_that_has_seen_enough_ends_it_quietly() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        env = os.environ | {"PYTHONPATH": str(ROOT)}
        run = [sys.executable, "-m", "rio_chain", "show", "shop_a:page"]
        done = subprocess.run(run, stdout=writing, stderr=subprocess.PIPE, check=False, env=env, timeout=40)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")
