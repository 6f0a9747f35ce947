from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_results import (
    BASELINE_RECORD,
    PROBLEM,
    failed_trial,
    make_float_result,
    make_record,
    make_result,
    make_trial,
    untrained_judgement,
)
from PIL import Image

from made_profiles import make_process, make_profile, make_row
from squeezerl.records import Interval
from squeezerl.report.document import Document, Paragraph
from squeezerl.report.renderers import render
from squeezerl.report.squeeze_report import (
    candidates_table,
    draw_pareto,
    measured_json,
    pareto_points,
    squeeze_document,
    squeeze_json,
    squeeze_result,
    summary,
    write_squeeze_report,
)
from squeezerl.report.text import format_interval, format_return
from squeezerl.search.result import SqueezeResult

HEADER = candidates_table(make_result()).header
CANDIDATE = {"method", "ratio", "weight_bytes", "file_bytes", "retention", "artifact"}


def _is_strict_json(data: Any) -> bool:
    return json.loads(json.dumps(data, allow_nan=False)) == data


def _markdown(result: SqueezeResult) -> str:
    return render(squeeze_document(result))


def _table(result: SqueezeResult) -> list[list[str]]:
    """The cells of the report's table of candidates, without its header."""
    lines = _markdown(result).splitlines()
    start = lines.index(f"| {' | '.join(candidates_table(result, measured_json(result)).header)} |")
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def test_the_table_has_a_row_for_the_float_policy_and_each_candidate_by_size() -> None:
    rows = candidates_table(make_result()).plain_rows
    assert [row[0] for row in rows] == ["float", "l2-30", "ptdq", "l2-70", "l1-5"]
    assert all(len(row) == len(HEADER) for row in rows)


def test_rows_say_size_share_and_verdict() -> None:
    rows = {
        row[0]: dict(zip(HEADER, row, strict=True))
        for row in candidates_table(make_result()).plain_rows
    }
    assert rows["float"]["bytes"] == "7,850"
    assert rows["ptdq"]["times smaller"] == "4.2"
    assert rows["ptdq"]["verdict"] == "keeps, chosen"
    assert rows["l2-30"]["verdict"] == "keeps"
    assert rows["l2-70"]["verdict"] == "loses"
    assert rows["l2-70"]["ratio [95 %]"].startswith("50.0 % [")
    assert rows["l2-70"]["episodes"] == "12"
    assert rows["l1-5"]["verdict"] == PROBLEM


def test_the_markdown_table_has_these_rows() -> None:
    result = make_result()
    assert _table(result) == [
        list(row) for row in candidates_table(result, measured_json(result)).plain_rows
    ]


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
    header = candidates_table(result, measured_json(result)).header
    assert header[: len(HEADER) - 1] == HEADER[:-1]
    assert header[len(HEADER) - 1 :] == (
        "latency", "model memory", "J/decision, estimate", "verdict",
    )  # fmt: skip
    rows = {row[0]: row for row in candidates_table(result, measured_json(result)).plain_rows}
    assert all(len(row) == len(header) for row in rows.values())
    assert rows["float"][-4:-1] == ("40.0 µs", "8.00 B", "20.0 mJ")
    assert rows["ptdq"][-4:-1] == ("60.0 µs !", "8.00 B", "10.0 mJ")
    assert rows["ptdq"][-1] == "keeps, chosen"
    for name in ("l2-30", "l2-70", "l1-5"):  # failed, not among the best, never built
        assert rows[name][-4:-1] == ("–", "–", "–")


def test_the_report_has_the_whole_profile() -> None:
    result = _measured_result()
    markdown = _markdown(result)
    assert _table(result) == [
        list(row) for row in candidates_table(result, measured_json(result)).plain_rows
    ]
    assert "## Measured" in markdown
    assert "l2-30 in ort: it failed" in markdown
    assert "ptdq in ort: not stable" in markdown
    assert "## Measured" not in _markdown(make_result())


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
    markdown = _markdown(make_result())
    for fact in ("runs/agent.zip", "ab" * 32, "A CPU", "numpy 2.4.6", "envpool", "600000000"):
        assert fact in markdown
    assert "![Retention against bytes](pareto.png)" in markdown


def test_the_summary_says_what_was_chosen() -> None:
    text = summary(make_result())
    assert "ptdq, 1,850 bytes (4.2 times smaller" in text
    assert "over 12 episodes" in text


def test_the_summary_says_so_if_nothing_was_confirmed() -> None:
    text = summary(make_float_result())
    assert "The float policy is the artifact" in text
    assert "70%" in text
    assert "48 episodes" in text
    assert text in _markdown(make_float_result())


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
    assert (tmp_path / "report.md").read_text(encoding="utf-8") == _markdown(result)


def test_intervals_as_text() -> None:
    interval = Interval(estimate=0.982, low=0.96, high=1.001)
    assert format_interval(interval) == "98.2 % [96.0, 100.1]"
    assert format_interval(None) == "–"


def test_returns_as_text() -> None:
    assert format_return(make_record([1500.0, 1500.0])) == "1,500.0 [1,500.0, 1,500.0]"
    assert format_return(make_record([-3.25])) == "-3.2 [one episode]"


def test_a_squeeze_has_the_promised_keys() -> None:
    data = squeeze_json(make_result(), Path("out"))
    assert data.keys() >= {"baseline", "candidates", "chosen", "host"}
    for candidate in [*data["candidates"], data["chosen"]]:
        assert candidate.keys() >= CANDIDATE
    assert "confirmation" in data["chosen"]
    assert _is_strict_json(data)


def test_a_squeeze_lists_its_candidates_in_order() -> None:
    result = make_result()
    data = squeeze_json(result, Path("out"))
    tried = [(candidate["method"], candidate["ratio"]) for candidate in data["candidates"]]
    assert tried == [("ptdq", None), ("l1", 0.05), ("l2", 0.3), ("l2", 0.7)]
    first = data["candidates"][0]
    assert (first["file_bytes"], first["weight_bytes"]) == (2000, 1850)
    assert first["artifact"] == str(Path("out/candidates/ptdq"))
    assert first["retention"]["ratio"] == pytest.approx(0.99)
    assert first["problem"] is None


def test_a_failed_candidate_says_why_and_nothing_else() -> None:
    failed = squeeze_json(make_result(), Path("out"))["candidates"][1]
    assert failed["problem"] == PROBLEM
    for key in ("weight_bytes", "file_bytes", "retention", "artifact"):
        assert failed[key] is None


def test_the_chosen_is_the_folder_itself_with_its_confirmation() -> None:
    data = squeeze_json(make_result(), Path("out"))
    chosen = data["chosen"]
    assert (chosen["method"], chosen["ratio"], chosen["artifact"]) == ("ptdq", None, "out")
    assert chosen["file_bytes"] == 2000
    assert chosen["retention"] == chosen["confirmation"]["retention"]
    assert chosen["selection_retention"]["ratio"] == pytest.approx(0.99)
    assert chosen["confirmation"]["seed"] == 600_000_000
    assert chosen["confirmation"]["retention"]["ratio"] == pytest.approx(0.98)
    assert data["baseline"]["artifact"] == str(Path("out/candidates/float"))
    assert data["baseline"]["mean_return"] == np.mean(BASELINE_RECORD.returns)


def test_the_float_policy_may_be_chosen() -> None:
    data = squeeze_json(make_float_result(), Path())
    chosen = data["chosen"]
    assert chosen.keys() >= CANDIDATE
    assert (chosen["method"], chosen["ratio"], chosen["artifact"]) == ("float", None, ".")
    assert chosen["file_bytes"] == data["baseline"]["file_bytes"] == 8000
    assert (chosen["retention"], chosen["confirmation"]) == (None, None)
    assert _is_strict_json(data)


def test_points_are_the_candidates_that_have_a_retention() -> None:
    result = make_result()
    points = pareto_points(result)
    assert [point.name for point in points] == ["ptdq", "l2-30", "l2-70"]
    trials = [trial for trial in result.trials if trial.judgement is not None]
    for point, trial in zip(points, trials, strict=True):
        assert trial.judgement is not None
        assert trial.size is not None
        interval = trial.judgement.retention.normalized
        assert interval is not None
        assert (point.retention, point.low, point.high) == (
            interval.estimate, interval.low, interval.high,
        )  # fmt: skip
        assert point.weight_bytes == trial.size.weight_bytes
        assert point.method == trial.recipe.record
    assert [point.chosen for point in points] == [True, False, False]


def test_no_point_is_chosen_where_the_float_policy_is() -> None:
    assert not any(point.chosen for point in pareto_points(make_float_result()))


def _without_points() -> SqueezeResult:
    undefined = dataclasses.replace(make_trial("ptdq", 900, 1.0), judgement=untrained_judgement())
    return dataclasses.replace(make_float_result(), trials=(failed_trial(), undefined))


def test_a_candidate_without_retention_has_no_point() -> None:
    assert pareto_points(_without_points()) == ()


@pytest.mark.parametrize("make", [make_result, make_float_result, _without_points])
def test_the_picture_is_a_png_with_something_in_it(make: object, tmp_path: Path) -> None:
    assert callable(make)
    draw_pareto(make(), tmp_path / "pareto.png")
    with Image.open(tmp_path / "pareto.png") as picture:
        picture.verify()
    with Image.open(tmp_path / "pareto.png") as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 400
        assert len(picture.convert("RGB").getcolors(1 << 24) or []) > 10


def test_the_picture_shows_what_was_tried(tmp_path: Path) -> None:
    draw_pareto(make_result(), tmp_path / "all.png")
    fewer = dataclasses.replace(make_result(), trials=make_result().trials[:1])
    draw_pareto(fewer, tmp_path / "one.png")
    assert (tmp_path / "all.png").read_bytes() != (tmp_path / "one.png").read_bytes()


def test_the_format_follows_from_the_name(tmp_path: Path) -> None:
    draw_pareto(make_result(), tmp_path / "pareto.svg")
    assert "<svg" in (tmp_path / "pareto.svg").read_text()


def test_recipes_of_several_steps_are_drawn_and_listed_too(tmp_path: Path) -> None:
    trials = (*make_result().trials, make_trial("prune:l2:0.3 | int8:static", 1800, 0.9))
    result = dataclasses.replace(make_result(), trials=trials)
    draw_pareto(result, tmp_path / "pareto.svg")
    assert "<!-- L2 pruning + PTSQ" in (tmp_path / "pareto.svg").read_text()
    assert pareto_points(result)[-1].name == "l2-30+ptsq"
    assert "l2-30+ptsq" in [row[0] for row in candidates_table(result).plain_rows]


def test_the_command_line_shows_the_candidates_and_the_choice() -> None:
    result = dataclasses.replace(make_result(), measurement_problem="no envs here")
    table, *texts = squeeze_result(result).blocks
    assert render(Document(title="", blocks=(table,))) in _markdown(result)
    assert [text.text for text in texts if isinstance(text, Paragraph)] == [
        summary(result),
        "Latency, memory and energy were not measured: no envs here",
    ]
