"""The benchmarks: samples, bars, the gate's verdict and the chart. No figure is asserted."""

from __future__ import annotations

import asyncio
import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import trio

from benchmarks import chart, gate, gated, groups, ours, overload
from benchmarks.by_hand import on_asyncio, on_trio
from benchmarks.growth.fit import exponent
from benchmarks.measure import Case, Effort, on_loop, plain
from benchmarks.original.build import compiled
from benchmarks.rows import flight, peers
from benchmarks.settings import Missing, Settings
from benchmarks.table import Bar, Row, Table

TINY = Effort(samples=3, seconds=0.0)
HOME = Path(__file__).parents[2]


# --- measuring --------------------------------------------------------------------------------------------------


def test_every_case_gets_all_its_samples_each_for_one_chain() -> None:
    calls = {"a": 0, "b": 0}

    def count(name: str) -> None:
        calls[name] += 1

    rows = plain([Case("a", lambda: count("a")), Case("b", lambda: count("b"), chains=10)], TINY)
    assert [row.name for row in rows] == ["a", "b"]
    assert [len(row.samples) for row in rows] == [3, 3]
    assert min(calls.values()) >= 5  # two to warm up and to count, then the samples


def test_async_cases_are_sampled_on_either_loop() -> None:
    for loop, run in ((on_asyncio, lambda main: asyncio.run(main())), (on_trio, trio.run)):

        async def measured(loop: Any = loop) -> list[Row]:
            return await on_loop([Case("x", lambda: loop.guarded(loop.suspending_step, 1))], TINY)

        assert [len(row.samples) for row in run(measured)] == [3]


def test_by_hand_and_ours_do_the_same_work() -> None:
    async def asked(loop: Any) -> None:
        for step in (loop.suspending_step, ours.instant_step):
            for shape in ("bare", "limited", "guarded"):
                assert await getattr(loop, shape)(step, 7) == 7
                assert (await ours.chain_of(step, shape)(7)).unwrap() == 7
        assert await loop.fan_out(loop.suspending_step, 7, 3) == [7, 7, 7]
        assert await loop.at_once(loop.suspending_step, 7) == 7
        assert await loop.staggered(loop.suspending_step, 7, 0.02) == 7

    asyncio.run(asked(on_asyncio))
    trio.run(asked, on_trio)


@pytest.mark.parametrize("name", ["asyncio", "trio"])
def test_a_staggered_call_by_hand_begins_the_second_one_and_stops_the_first(name: str) -> None:
    loop, sleep, run = {
        "asyncio": (on_asyncio, asyncio.sleep, lambda main: asyncio.run(main())),
        "trio": (on_trio, trio.sleep, trio.run),
    }[name]
    begun: list[int] = []
    stopped: list[int] = []

    async def step(value: int) -> int:
        begun.append(value)
        if len(begun) == 1:
            try:
                await sleep(60)
            finally:
                stopped.append(value)
        return value

    async def main() -> int:
        return await loop.staggered(step, 5, 0.001)

    assert run(main) == 5
    assert (begun, stopped) == ([5, 5], [5])


def test_the_exponent_is_the_power() -> None:
    assert exponent([10, 100, 1000], [3.0, 30.0, 300.0]) == pytest.approx(1)
    assert exponent([10, 100, 1000], [4.0, 4.0, 4.0]) == pytest.approx(0)


# --- tables and groups ------------------------------------------------------------------------------------------


def some_table() -> Table:
    rows = [Row("by hand", [2.0, 4.0, 3.0]), Row("rio_chain", [1.0, 2.0, 1.5])]
    table = Table("a table", rows, "by hand", notes=["a note"])
    table.bar("rio_chain", "by hand", 0.4)
    return table


def test_a_table_shows_medians_spread_ratios_bars_and_notes() -> None:
    text = some_table().text()
    for part in ("3.00", "[      2.00 ..      4.00]", "0.50x", "<= 0.4x: 0.5x MISSED", "a note"):
        assert part in text
    data = some_table().data()
    assert data["rows"][1] == {"name": "rio_chain", "median": 1.5, "low": 1.0, "high": 2.0, "ratio": 0.5}
    assert data["bars"][0]["met"] is False
    assert json.loads(json.dumps(data)) == data


@pytest.mark.parametrize(
    ("reached", "least", "met"), [(1.0, False, True), (1.1, False, False), (0.9, True, False), (None, True, None)]
)
def test_a_bar_is_met_missed_or_not_measured(reached: float | None, least: bool, met: bool | None) -> None:
    bar = Bar("x", 1.0, reached, least=least)
    assert bar.met is met
    assert {True: "ok", False: "MISSED", None: "not measured"}[met] in bar.line()


def test_what_is_missing_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def tables(_settings: Settings) -> list[Table]:
        raise Missing("x is not installed")

    monkeypatch.setattr(flight, "tables", tables)
    (table,) = groups.measured("flight", Settings())
    assert table.text().splitlines()[1:] == ["  skipped: x is not installed"]


@pytest.mark.parametrize("error", [ImportError("no such thing"), RuntimeError("broken")])
def test_a_peer_that_is_missing_or_broken_is_one_note(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def cases_of(_library: str) -> list[Case]:
        raise error

    monkeypatch.setattr(peers, "cases_of", cases_of)
    notes: list[str] = []
    assert asyncio.run(peers.working("x", notes)) == []
    assert len(notes) == 1
    assert str(error) in notes[0]


def test_every_group_has_its_file() -> None:
    rows = HOME / "benchmarks" / "rows"
    assert [name for name in groups.GROUPS.values() if not (rows / f"{name}.py").is_file()] == []


def test_without_a_checkout_the_go_row_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (table,) = groups.measured("go", Settings())
    assert "not measured" in table.text()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Missing, match="no Go toolchain"), compiled(str(tmp_path)):
        pass


# --- the gate ---------------------------------------------------------------------------------------------------


def taking(*seconds: float) -> gated.Timed:
    """Each takes so long; every further sample the next of them, then the last again."""
    left = list(seconds)
    return lambda many: many * (left.pop(0) if len(left) > 1 else left[0])


def test_a_ratio_is_of_the_quickest_samples() -> None:
    noisy = [1e-3, 9e-3] * 50
    assert gate.ratio(gated.Pair("x", taking(*noisy), taking(5e-4))) == pytest.approx(2)


def test_the_gate_measures_again_before_it_says_too_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    ratios = [5.0, 1.2, 9.0]
    monkeypatch.setattr(gate, "ratio", lambda _pair: ratios.pop(0))
    pair = gated.Pair("x", taking(1), taking(1))
    assert gate.held(pair, 1.0) == 1.2
    assert ratios == [9.0]
    ratios[:] = [5.0, 3.0, 4.0]
    assert gate.held(pair, 1.0) == 3.0


def test_the_table_names_what_is_too_slow() -> None:
    text = gate.table({"quick": 1.39, "slow": 1.5}, {"quick": 1.0, "slow": 1.0})
    assert "TOO SLOW, 1.50x its baseline" in text.splitlines()[2]
    assert text.count("TOO SLOW") == 1


@pytest.mark.parametrize(("now", "code"), [(1.3, 0), (1.5, 1)])
def test_the_gates_exit_code(monkeypatch: pytest.MonkeyPatch, now: float, code: int) -> None:
    monkeypatch.setattr(gate, "ratio", lambda _pair: now)
    with gated.pairs() as pairs:
        names = [pair.name for pair in pairs]
    assert gate.check(dict.fromkeys(names, 1.0)) == code
    assert gate.check({"something else": 1.0}) == 2


def test_the_baseline_is_of_what_is_watched() -> None:
    with gated.pairs() as pairs:
        assert list(json.loads(gate.BASELINE.read_text())) == [pair.name for pair in pairs]
        assert all(pair.ours(1) >= 0 and pair.by_hand(1) >= 0 for pair in pairs)


# --- the chart --------------------------------------------------------------------------------------------------


def some_run() -> dict[str, Any]:
    costs = {peers.BARE: 10.0, peers.OURS: 12.0, peers.BASE: 30.0, "LCEL <&>": 2010.0, "dask, no guards": 500.0}
    table = Table(peers.TITLE, [Row(name, [cost]) for name, cost in costs.items()], peers.BASE)
    machine = {"system": "Linux", "processor": "x86_64", "cores": 2}
    return {
        "when": "2026-01-01",
        "quick": False,
        "machine": machine,
        "versions": {"python": "3.11"},
        "tables": [table.data()],
    }


def test_the_chart_is_an_accessible_picture_for_light_and_dark() -> None:
    text = chart.drawn(some_run())
    root = ET.fromstring(text)  # noqa: S314 - our own
    name = "{http://www.w3.org/2000/svg}"
    assert root.get("role") == "img"
    assert root.findtext(f"{name}title") == chart.TITLE
    assert "LCEL <&> 500" in (root.findtext(f"{name}desc") or "")
    bars = root.findall(f"{name}rect")
    assert [bar.get("class") for bar in bars] == ["ours", "peer", "peer"]
    widths = [float(bar.get("width") or 0) for bar in bars]
    assert widths == sorted(widths)
    assert "prefers-color-scheme: dark" in text


def test_the_chart_needs_the_peers() -> None:
    with pytest.raises(SystemExit, match="--only peers"):
        chart.drawn({"tables": []})


# --- overload ---------------------------------------------------------------------------------------------------


def test_the_picture_of_overload_has_both_runs_and_the_figures() -> None:
    def answers(good: int) -> list[dict[str, Any]]:
        return [
            {"at": k * overload.SECONDS / 300, "customer": "few" if k % 10 == 0 else "many", "ms": 50.0}
            | {"status": 200 if k % 10 < good else 503}
            for k in range(300)
        ]

    found = {"capacity": 150 / overload.SECONDS, "before": answers(0), "after": answers(5)}
    assert overload.figures(found, "after") == pytest.approx({"goodput": 1, "few": 1, "few_p50": 50})
    assert overload.figures(found, "before")["goodput"] == 0
    assert sum(overload.line(found, "after")) * overload.STEP == 150
    root = ET.fromstring(overload.drawn(found))  # noqa: S314 - our own
    name = "{http://www.w3.org/2000/svg}"
    assert "after: 100 % of that in time" in (root.findtext(f"{name}desc") or "")
    assert [line.get("class") for line in root.iter(f"{name}polyline")] == ["before", "after"]
