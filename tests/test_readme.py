"""The README is true: its commands have the form that a newcomer needs, and its code runs."""

import asyncio
import io
import re
import shlex
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
SHELLS = {"sh", "bash", "console", "shell"}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(*languages: str) -> list[str]:
    return [body for language, body in FENCE.findall(TEXT) if language in languages]


@pytest.fixture(scope="module")
def readme() -> dict[str, Any]:
    """The names that the README's code defines, all blocks run in order."""
    names: dict[str, Any] = {"__name__": "readme"}
    out = io.StringIO()
    with redirect_stdout(out):
        for number, block in enumerate(blocks("python"), start=1):
            exec(compile(block, f"README.md, block {number}", "exec"), names)  # noqa: S102 - our own file
    names["printed"] = out.getvalue()
    return names


def test_the_first_two_commands_are_one_line_each() -> None:
    commands = blocks(*SHELLS)
    assert len(commands) == 2
    assert all(len(command.strip().splitlines()) == 1 for command in commands)


def test_the_commands_need_python_alone() -> None:
    programs = [shlex.split(part)[0] for command in blocks("sh") for part in command.split("&&")]
    assert programs[0] == "python3"
    assert all(program.startswith(".venv/bin/") for program in programs[1:])


def test_the_commands_install_extras_that_exist() -> None:
    demo, test = blocks("sh")
    assert "'.[demo]'" in demo
    assert "rio-chain demo" in demo
    assert "'.[test]'" in test
    assert "pytest" in test


def test_the_code_needs_no_way_around_its_types() -> None:
    """``docs_build/typed_examples.py`` runs mypy and pyright over it, in CI."""
    code = "\n".join(blocks("python"))
    assert re.findall(r"\bAny\b|\bcast\(|# *type: *ignore|# *pyright:|# *mypy:", code) == []


def test_links_lead_to_files() -> None:
    links = re.findall(r"\]\(([^)]+)\)", TEXT)
    assert links
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []


def test_the_chain_gives_what_the_comments_say(readme: dict[str, Any]) -> None:
    promised = re.search(r"print\(outcome\.unwrap\(\)\) +# (.+)", TEXT)
    assert promised is not None
    assert readme["printed"].startswith(promised[1] + "\n")
    assert readme["several"] == [promised[1]] * 3


def test_the_request_runs_on_the_loop_that_is_there(readme: dict[str, Any]) -> None:
    for main in (readme["handler"], readme["application"]):
        assert asyncio.run(main()).startswith("2 orders")
    assert trio.run(readme["handler"]).startswith("2 orders")


def test_a_failure_is_matched(readme: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    assert readme["answer"](42)[0] == 200

    def broken(_: int) -> str:
        raise ValueError("no such user")

    monkeypatch.setitem(readme, "page", readme["Task"](broken))
    assert readme["answer"](42) == (502, "ValueError: no such user")


def test_the_web_application_answers(readme: dict[str, Any]) -> None:
    def backend(request: httpx2.Request) -> httpx2.Response:
        found = request.url.path == "/users/7"
        return httpx2.Response(200, json={"id": 7}) if found else httpx2.Response(404)

    async def visit() -> list[tuple[int, Any]]:
        # the block's own client would ask the network
        readme["client"] = httpx2.AsyncClient(base_url="http://backend", transport=httpx2.MockTransport(backend))
        web = httpx2.ASGITransport(app=readme["app"])
        life = readme["app"].router.lifespan_context(readme["app"])
        async with httpx2.AsyncClient(base_url="http://app", transport=web) as user:
            async with life:
                answers = [await user.get("/users/7"), await user.get("/users/8")]
            closed = await user.get("/users/7")
        assert (closed.status_code, "retry-after" in closed.headers) == (503, True)
        return [(answer.status_code, answer.json()) for answer in answers]

    good, bad = asyncio.run(visit())
    assert good == (200, {"id": 7})
    assert bad == (502, {"detail": "A backend failed."})


def test_operators_bind_as_the_readme_says(readme: dict[str, Any]) -> None:
    user, a, b, c = (readme["Task"](fn) for fn in (len, str, repr, ascii))
    assert (user >> a & b) == ((user >> a) & b)
    assert (a & b | c & user) == ((a & b) | (c & user))


def test_the_documentation_names_every_error_and_policy() -> None:
    import rio_chain  # noqa: PLC0415 - the rest of this file is about the README

    pages = "\n".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").rglob("*.md"))
    assert [name for name in rio_chain.__all__ if name not in pages] == []


def test_notebooks_are_stored_without_outputs() -> None:
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    assert notebooks
    for notebook in notebooks:
        text = notebook.read_text(encoding="utf-8")
        assert '"outputs": []' in text
        assert '"output_type"' not in text
