from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from made_results import PROBLEM, make_float_result, make_record, make_result

from made_profiles import make_process, make_profile, make_row
from squeezerl.records import Interval
from squeezerl.report.contract import squeeze_json
from squeezerl.report.squeeze_report import (
    measured_json,
    squeeze_markdown,
    summary,
    table_header,
    table_rows,
    write_squeeze_report,
)
from squeezerl.report.text import format_interval, format_return
from squeezerl.search.result import SqueezeResult

HEADER = table_header()


def _table(result: SqueezeResult) -> list[list[str]]:
    """The cells of the report's table of candidates, without its header."""
    lines = squeeze_markdown(result).splitlines()
    start = lines.index(f"| {' | '.join(table_header(measured_json(result)))} |")
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def test_the_table_has_a_row_for_the_float_policy_and_each_candidate_by_size() -> None:
    rows = table_rows(make_result())
    assert [row[0] for row in rows] == ["float", "l2-30", "ptdq", "l2-70", "l1-5"]
    assert all(len(row) == len(HEADER) for row in rows)


def test_rows_say_size_share_and_verdict() -> None:
    rows = {row[0]: dict(zip(HEADER, row, strict=True)) for row in table_rows(make_result())}
    assert rows["float"]["bytes"] == "8,000"
    assert rows["ptdq"]["times smaller"] == "4.0"
    assert rows["ptdq"]["verdict"] == "keeps, chosen"
    assert rows["l2-30"]["verdict"] == "keeps"
    assert rows["l2-70"]["verdict"] == "loses"
    assert rows["l2-70"]["ratio [95 %]"].startswith("50.0 % [")
    assert rows["l2-70"]["episodes"] == "12"
    assert rows["l1-5"]["verdict"] == PROBLEM


def test_the_markdown_table_has_these_rows() -> None:
    result = make_result()
    assert _table(result) == [list(row) for row in table_rows(result)]


def _measured_result() -> SqueezeResult:
    """The float policy, one that is not stable, one that could not be measured."""
    noisy = [make_process(number, disturbed=range(21), joules=1.0) for number in range(6)]
    profile = make_profile(
        make_row("float", [make_process(n, usual_ns=40_000, joules=2.0) for n in range(6)]),
        make_row("ptdq", noisy),
        make_row("l2-30", problem="it failed"),
    )
    return dataclasses.replace(make_result(), profile=profile)


def test_what_was_measured_has_columns_of_its_own() -> None:
    result = _measured_result()
    measured = measured_json(result)
    header = table_header(measured)
    assert header[: len(HEADER) - 1] == HEADER[:-1]
    assert header[len(HEADER) - 1 :] == (
        "latency", "model memory", "J/decision, estimate", "verdict",
    )  # fmt: skip
    rows = {row[0]: row for row in table_rows(result, measured)}
    assert all(len(row) == len(header) for row in rows.values())
    assert rows["float"][-4:-1] == ("40.0 µs", "8.00 B", "20.0 mJ")
    assert rows["ptdq"][-4:-1] == ("60.0 µs !", "8.00 B", "10.0 mJ")
    assert rows["ptdq"][-1] == "keeps, chosen"
    for name in ("l2-30", "l2-70", "l1-5"):  # failed, not among the best, never built
        assert rows[name][-4:-1] == ("–", "–", "–")


def test_the_report_has_the_whole_profile() -> None:
    result = _measured_result()
    markdown = squeeze_markdown(result)
    assert _table(result) == [list(row) for row in table_rows(result, measured_json(result))]
    assert "## Measured" in markdown
    assert "l2-30 in ort: it failed" in markdown
    assert "ptdq in ort: not stable" in markdown
    assert "## Measured" not in squeeze_markdown(make_result())


def test_results_json_has_the_row_of_each_that_was_measured(tmp_path: Path) -> None:
    write_squeeze_report(_measured_result(), tmp_path)
    data = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert data["baseline"]["profile"]["latency_s"]["median"] == pytest.approx(40e-6)
    profiles = {
        candidate["method"]: candidate["profile"]
        for candidate in data["candidates"]
        if candidate["profile"]
    }
    assert profiles["ptdq"]["latency_s"]["stable"] is False
    assert profiles["l2"]["problem"] == "it failed"
    assert data["chosen"]["profile"] == profiles["ptdq"]
    assert len(profiles) == 2


def test_the_report_says_where_its_figures_come_from() -> None:
    markdown = squeeze_markdown(make_result())
    for fact in ("runs/agent.zip", "ab" * 32, "A CPU", "numpy 2.4.6", "envpool", "600000000"):
        assert fact in markdown
    assert "![Retention against bytes](pareto.png)" in markdown


def test_the_summary_says_what_was_chosen() -> None:
    text = summary(make_result())
    assert "ptdq, 2,000 bytes (4.0 times smaller" in text
    assert "over 12 episodes" in text


def test_the_summary_says_so_if_nothing_was_confirmed() -> None:
    text = summary(make_float_result())
    assert "the float policy is the artifact" in text
    assert "70%" in text
    assert "48 episodes" in text
    assert text in squeeze_markdown(make_float_result())


@pytest.mark.parametrize("make", [make_result, make_float_result])
def test_three_files_are_written(make: object, tmp_path: Path) -> None:
    assert callable(make)
    result = make()
    write_squeeze_report(result, tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["pareto.png", "report.md", "results.json"]
    data = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert data == squeeze_json(result, Path())
    assert data["candidates"][0]["artifact"] == "candidates/ptdq"
    assert (tmp_path / "report.md").read_text(encoding="utf-8") == squeeze_markdown(result)


def test_intervals_as_text() -> None:
    interval = Interval(estimate=0.982, low=0.96, high=1.001)
    assert format_interval(interval) == "98.2 % [96.0, 100.1]"
    assert format_interval(None) == "–"


def test_returns_as_text() -> None:
    assert format_return(make_record([1500.0, 1500.0])) == "1,500.0 [1,500.0, 1,500.0]"
    assert format_return(make_record([-3.25])) == "-3.2 [one episode]"
