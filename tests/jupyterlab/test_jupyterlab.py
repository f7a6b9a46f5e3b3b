"""Pictures in JupyterLab itself, in a headless Chromium: light and dark, wide and narrow, executed in its own kernel.

It needs `.[jupyterlab]` and a Chromium, and is skipped without them. CI runs it in a step of its own.
`RIO_CHAIN_SHOTS=folder` saves what it looked like.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

os.environ.setdefault("JUPYTER_PLATFORM_DIRS", "1")
pytest.importorskip("jupyterlab", reason="JupyterLab is not installed: pip install -e '.[jupyterlab]'")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "docs_build"))
from browser import find  # noqa: E402 - of docs_build, which is no package

CHROMIUM = find()
if CHROMIUM is None:
    pytest.skip("there is no Chromium on this machine", allow_module_level=True)

WIDE, NARROW = 1400, 420
PATIENCE = 40
BROWSER: dict[str, Any] = {"args": ["--no-sandbox"], "ignore_default_args": ["--hide-scrollbars"]}
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True},
    "notebook-extension/tracker": {"windowingMode": "none"},  # else cells out of sight have no outputs
}
SETUP = """
import asyncio
from rio_chain import Balancer, Task, each, settle
from rio_chain.simulation import LatencyModel, simulate

async def fetch_user(number): await asyncio.sleep(0.02); return number
async def fetch_orders(user): raise ConnectionError("the orders are down")
async def fetch_prices(user): await asyncio.sleep(0.01); return [3, 1, 4, 1, 5]
async def price(item): await asyncio.sleep(0.002 * item); return item / (item - 4)
def total(found): return found
async def slow(user): await asyncio.sleep(9)

user = Task(fetch_user).timeout(300).retry(2)
page = user >> (
    Task(fetch_orders).or_else([])
    & (Task(fetch_prices) >> each(Task(price), on_error="keep"))
    & Task(slow).timeout(30).or_else(None)
) >> Task(total)
def chosen(number): return page(number)
nested = user >> Task(lambda number: number + 1) >> Task(chosen)
wide = user
for step in range(14):
    wide = wide >> Task(lambda value: value + 1).named(f"a_step_with_a_name_{step}")
"""
CELLS = {
    "setup": SETUP,
    "chain": "page",
    "request": "page(42)",
    "run": "outcome = page(42).run()\noutcome",
    "timeline": "outcome.timeline()",
    "live": "page(42).run(live=True)",
    "wide": "wide",
    "wide run": "wide(1).run()",
    "nested": "nested(1).run()",
    "balancer": "balancer = Balancer(workers=2)\nbalancer",
    "ticket": "ticket = balancer.post(page(42))\nticket.wait()\nticket",
    "simulation": 'simulate(user, {"fetch_user": LatencyModel.lognormal(20, p99=90)}, requests=300)',
    "end": 'balancer.close()\nprint("the end")',
}
PICTURES = [
    "chain",
    "request",
    "run",
    "timeline",
    "live",
    "wide",
    "wide run",
    "nested",
    "balancer",
    "ticket",
    "simulation",
]
"""The cells with a drawing."""

OVERFLOW = """() => {  // what is wider than its window, unless it is in a box with a scroll bar that can be seen
  const bad = [];
  for (const one of document.querySelectorAll('.jp-Notebook details')) one.open = true;
  for (const [number, cell] of document.querySelectorAll('.jp-Notebook .jp-CodeCell').entries())
    for (const picture of cell.querySelectorAll('.jp-OutputArea-output svg, .jp-OutputArea-output table')) {
      const right = picture.getBoundingClientRect().right;
      let scrolls = false;
      for (let box = picture.parentElement; box && box !== cell; box = box.parentElement)
        scrolls ||= box.scrollWidth > box.clientWidth && box.offsetHeight > box.clientHeight &&
          /auto|scroll/.test(getComputedStyle(box).overflowX);
      if (right > innerWidth && !scrolls) bad.push([number, picture.tagName, Math.round(right)]);
    }
  return bad;
}"""
CONTRAST = """() => {  // the contrast of the texts of all drawings, as WCAG defines it, against what is behind them
  const numbers = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const parse = text => numbers(text).map((part, at) => /srgb/.test(text) && at < 3 ? 255 * part : part);
  const channel = value => (value /= 255) <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const over = (front, back) => [0, 1, 2].map(i => front[i] * front[3] + back[i] * (1 - front[3]));
  const ground = element => {
    for (let box = element; box; box = box.parentElement) {
      const colour = parse(getComputedStyle(box).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour.slice(0, 3);
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const drawing of document.querySelectorAll('.jp-OutputArea-output svg')) {
    const rects = [...drawing.querySelectorAll('rect')];
    const shapes = rects.map(one => [one.getBoundingClientRect(), getComputedStyle(one)]);
    for (const text of drawing.querySelectorAll('text')) {
      const box = text.getBoundingClientRect();
      const x = (box.left + box.right) / 2, y = (box.top + box.bottom) / 2;
      if (!box.width) continue;
      let back = ground(drawing.parentElement);
      for (const [area, style] of shapes)
        if (area.left <= x && x <= area.right && area.top <= y && y <= area.bottom && style.fill.startsWith('rgb')) {
          const colour = parse(style.fill);
          const opacity = (colour[3] ?? 1) * style.fillOpacity * style.opacity;
          back = over([...colour.slice(0, 3), opacity], back);
        }
      const style = getComputedStyle(text), colour = parse(style.fill);
      const front = over([...colour.slice(0, 3), (colour[3] ?? 1) * style.fillOpacity * style.opacity], back);
      const [a, b] = [light(front), light(back)].sort((x, y) => y - x);
      found.push([text.textContent, Math.round(100 * (a + 0.05) / (b + 0.05)) / 100]);
    }
  }
  return found;
}"""


def notebook() -> dict[str, Any]:
    cells = [
        {"cell_type": "code", "id": f"cell-{i}", "metadata": {}, "source": text, "outputs": [], "execution_count": None}
        for i, text in enumerate(CELLS.values())
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


class Lab:
    """A running JupyterLab, and a browser that looks at it."""

    def __init__(self, url: str, settings: Path, page: Any) -> None:
        self.url, self.settings, self.page = url, settings, page
        self.errors: list[str] = []
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _said(self, message: Any) -> None:
        if message.type == "error":
            self.errors.append(f"{message.text} ({message.location.get('url')})")

    def look(self, *, width: int, dark: bool) -> None:
        """Open the notebook in a window of this width, in the light or the dark theme."""
        theme = "JupyterLab Dark" if dark else "JupyterLab Light"
        for name, setting in {**SETTINGS, "apputils-extension/themes": {"theme": theme}}.items():
            file = self.settings / "@jupyterlab" / f"{name}.jupyterlab-settings"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(setting), encoding="utf-8")
        self.page.set_viewport_size({"width": width, "height": 900})
        self.page.goto(f"{self.url}/doc/tree/pictures.ipynb?reset")
        self.page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=1000 * PATIENCE)
        self.page.wait_for_function(f"document.body.dataset.jpThemeName === {theme!r}", timeout=1000 * PATIENCE)
        self.page.wait_for_function("window.jupyterapp !== undefined", timeout=1000 * PATIENCE)

    def run_all(self) -> None:
        self.page.wait_for_function(
            "jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'",
            timeout=1000 * PATIENCE,
        )
        self.page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")
        self.page.wait_for_function(
            "[...document.querySelectorAll('.jp-OutputArea-output')].some(one => one.textContent.trim() === 'the end')",
            timeout=1000 * PATIENCE,
        )
        self.page.evaluate("jupyterapp.commands.execute('docmanager:save')")

    def cell(self, name: str) -> Any:
        return self.page.locator(".jp-Notebook .jp-CodeCell").nth(list(CELLS).index(name))

    def shot(self, name: str) -> None:
        if "RIO_CHAIN_SHOTS" not in os.environ:
            return
        folder = Path(os.environ["RIO_CHAIN_SHOTS"])
        folder.mkdir(parents=True, exist_ok=True)
        for cell in PICTURES:
            self.cell(cell).scroll_into_view_if_needed()
            self.cell(cell).screenshot(path=str(folder / f"{cell}-{name}.png".replace(" ", "-")))


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    (folder / "work").mkdir()
    (folder / "work" / "pictures.ipynb").write_text(json.dumps(notebook()), encoding="utf-8")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    settings = folder / "settings"
    env = {
        **os.environ,
        "JUPYTERLAB_SETTINGS_DIR": str(settings),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_DATA_DIR": str(folder / "data"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "IPYTHONDIR": str(folder / "ipython"),
        "PYTHONPATH": str(ROOT),
    }
    options = [
        *("--no-browser", f"--port={port}", "--ip=127.0.0.1", f"--ServerApp.root_dir={folder / 'work'}"),
        *("--IdentityProvider.token=", "--LabApp.expose_app_in_browser=True", "--allow-root"),
    ]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen([sys.executable, "-m", "jupyterlab", *options], env=env, stdout=log, stderr=log) as server,
    ):
        try:
            answers(url, server, folder / "log")
            with playwright.sync_playwright() as play:
                browser = play.chromium.launch(executable_path=CHROMIUM, **BROWSER)
                yield Lab(f"{url}", settings, browser.new_page())
                browser.close()
        finally:
            server.terminate()


def answers(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until JupyterLab answers."""
    late = time.monotonic() + PATIENCE
    while time.monotonic() < late and server.poll() is None:
        try:
            with urlopen(f"{url}/api/status", timeout=5):  # noqa: S310 - our own server
                return
        except OSError:
            time.sleep(0.05)
    pytest.fail(f"JupyterLab did not start: {log.read_text(encoding='utf-8')[-2000:]}")


@pytest.mark.timeout(150)
def test_pictures_in_jupyterlab(lab: Lab) -> None:
    lab.look(width=WIDE, dark=False)
    lab.run_all()
    drawn = lab.cell("live").locator(".jp-OutputArea-output svg")
    assert drawn.filter(has_text="timeout 300 ms").count() == 1, "the chain is drawn once"
    nested = lab.cell("nested")
    assert nested.get_by_text("lambda number: number + 1").count() >= 1
    nested.get_by_text("What chosen returned").click()
    assert nested.locator("svg").filter(has_text="fetch_orders").first.is_visible()
    for width, dark in ((WIDE, False), (NARROW, True), (WIDE, True), (NARROW, False)):
        if (width, dark) != (WIDE, False):
            lab.look(width=width, dark=dark)
        where = f"{width}-{'dark' if dark else 'light'}"
        for name in PICTURES:
            lab.cell(name).locator(".jp-OutputArea-output svg").first.wait_for(state="attached")
        lab.shot(where)
        assert lab.page.evaluate(OVERFLOW) == [], where
        assert [text for text in lab.page.evaluate(CONTRAST) if text[1] < 4] == [], where
    assert lab.errors == []
