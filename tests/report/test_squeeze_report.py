from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import look_at, nothing_wrong
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

from balancing import balancing_agent, cart_pole
from made_profiles import make_process, make_profile, make_row
from squeezerl.methods.recipe import Recipe
from squeezerl.pipeline.make import make_artifact
from squeezerl.pipeline.replay import Film, film
from squeezerl.records import Interval
from squeezerl.report.chart import Chart
from squeezerl.report.chart_picture import draw_chart
from squeezerl.report.document import Document, Figure, Paragraph
from squeezerl.report.renderers import render
from squeezerl.report.squeeze_charts import latency_chart, pareto_chart, returns_chart
from squeezerl.report.squeeze_report import (
    candidates_table,
    four_numbers,
    measured_json,
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
    return render(squeeze_document(result, Path("nowhere")))


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
def test_the_report_is_written_for_reading_looking_and_programs(
    make: object, tmp_path: Path
) -> None:
    assert callable(make)
    result = make()
    write_squeeze_report(result, tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["pareto.png", "report.html", "report.md", "results.json"]
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


def test_students_that_begin_alike_look_alike_and_others_do_not() -> None:
    """A legend of three equal marks says nothing."""
    result = make_result()
    judged = next(trial for trial in result.trials if trial.judgement is not None)
    begins = ("distill:8x8:relu", "distill:8x8:relu", "distill:16:hardtanh:skip")
    trials = tuple(
        dataclasses.replace(
            judged, recipe=Recipe.of(f"{begin} | bits:8 | finetune:{number + 1}000")
        )
        for number, begin in enumerate(begins)
    )
    chart = pareto_chart(dataclasses.replace(result, trials=trials, front=()), None)
    first, second, third = (mark.style for mark in chart.marks[1:])
    assert first == second
    assert first.label != third.label
    assert (first.color, first.marker) != (third.color, third.marker)


def test_marks_are_the_float_policy_and_the_candidates_that_have_a_retention() -> None:
    result = make_result()
    chart = pareto_chart(result, None)
    first, *marks = chart.marks
    assert (first.x, first.y, first.stands_out) == (result.baseline_size.weight_bytes, 1.0, True)
    trials = [trial for trial in result.trials if trial.judgement is not None]
    for mark, trial in zip(marks, trials, strict=True):
        assert trial.judgement is not None
        assert trial.size is not None
        interval = trial.judgement.retention.normalized
        assert interval is not None
        assert (mark.x, mark.y) == (trial.size.weight_bytes, interval.estimate)
        assert mark.y_span == (interval.low, interval.high)
        assert mark.style == trial.recipe.record
        assert mark.tip.startswith(trial.name)
        assert f"{trial.size.weight_bytes:,} bytes" in mark.tip
        assert format_interval(interval) in mark.tip
    assert [mark.label for mark in marks] == ["ptdq", "", ""]
    assert [mark.stands_out for mark in marks] == [True, False, False]


def test_the_front_and_what_was_asked_for_are_lines() -> None:
    result = make_result()
    front = (result.trials[3].candidate, result.trials[0].candidate)
    asked, line = pareto_chart(dataclasses.replace(result, front=front), None).lines
    assert {y for _, y in asked.points} == {result.retain}
    assert [x for x, _ in line.points] == [1350, 1850]
    assert len(pareto_chart(result, None).lines) == 1


def test_hovering_says_the_latency_in_each_runtime() -> None:
    result = _measured_result()
    tips = [mark.tip for mark in pareto_chart(result, measured_json(result)).marks]
    assert "a decision: 40.0 µs in ort" in tips[0]
    assert "a decision: 60.0 µs in ort" in tips[1]
    assert all("a decision" not in tip for tip in tips[2:])


def test_no_candidate_stands_out_where_the_float_policy_is_chosen() -> None:
    marks = pareto_chart(make_float_result(), None).marks[1:]
    assert not any(mark.stands_out for mark in marks)


def _draw(chart: Chart, path: Path) -> None:
    draw_chart(Figure(title="a title", path=path.name, chart=chart), path)


def _without_retention() -> SqueezeResult:
    undefined = dataclasses.replace(make_trial("ptdq", 900, 1.0), judgement=untrained_judgement())
    return dataclasses.replace(make_float_result(), trials=(failed_trial(), undefined))


def test_a_candidate_without_retention_has_no_mark() -> None:
    assert len(pareto_chart(_without_retention(), None).marks) == 1


@pytest.mark.parametrize("make", [make_result, make_float_result, _without_retention])
def test_the_picture_has_something_in_it(make: object, tmp_path: Path) -> None:
    assert callable(make)
    _draw(pareto_chart(make(), None), tmp_path / "pareto.png")
    with Image.open(tmp_path / "pareto.png") as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 400
        assert len(picture.convert("RGB").getcolors(1 << 24) or []) > 10


def test_recipes_of_several_steps_are_drawn_and_listed_too(tmp_path: Path) -> None:
    trials = (*make_result().trials, make_trial("prune:l2:0.3 | int8:static", 1800, 0.9))
    result = dataclasses.replace(make_result(), trials=trials)
    chart = pareto_chart(result, None)
    _draw(chart, tmp_path / "pareto.svg")
    assert "<!-- L2 pruning + PTSQ" in (tmp_path / "pareto.svg").read_text()
    assert chart.marks[-1].tip.startswith("l2-30+ptsq")
    assert "l2-30+ptsq" in [row[0] for row in candidates_table(result).plain_rows]


def test_dozens_of_long_recipes_leave_a_legend_that_fits(tmp_path: Path) -> None:
    step = " | bits:6 | recover | finetune"
    long = [make_trial(f"distill:25x25 | bits:8{step * n}", 900 + n, 0.9) for n in range(1, 7)]
    result = dataclasses.replace(make_result(), trials=(*make_result().trials, *long))
    chart = pareto_chart(result, None)
    assert sum(style.label.startswith("distilled") for style in chart.styles) == 1
    _draw(chart, tmp_path / "pareto.png")
    with Image.open(tmp_path / "pareto.png") as picture:
        pixels = np.asarray(picture.convert("L"))
    below = pixels[int(0.8 * len(pixels)) :]
    assert below.min() < 128  # the legend is there
    assert below[:, :4].min() == below[:, -4:].min() == 255  # and ends before the edges


def test_four_numbers_say_what_was_won() -> None:
    result = _measured_result()
    smaller, faster, kept, energy = four_numbers(result, measured_json(result)).numbers
    assert (smaller.value, smaller.note) == ("4.2×", "7,850 → 1,850 bytes")
    assert faster.value == "0.67×"
    assert faster.note == "60.0 µs in ort; the original takes 40.0 µs in ort; unstable"
    assert energy.value == "10.0 mJ"
    assert energy.note.startswith("an estimate from CPU time; the original needs")
    assert kept.value == "97.5%"
    assert kept.note.endswith("over 12 fresh episodes")


def test_what_was_not_measured_is_a_dash() -> None:
    _, faster, _, energy = four_numbers(make_result(), None).numbers
    assert (faster.value, energy.value) == ("–", "–")


def test_returns_are_joined_by_seed() -> None:
    squeezed = make_record([0.9 * one for one in BASELINE_RECORD.returns])
    chart = returns_chart(BASELINE_RECORD, squeezed)
    ends = [(line.points[0][0], line.points[1][0]) for line in chart.lines]
    assert ends == list(zip(BASELINE_RECORD.returns, squeezed.returns, strict=True))
    means = [mark for mark in chart.marks if mark.stands_out]
    assert [mark.x for mark in means] == [
        pytest.approx(BASELINE_RECORD.mean_return), pytest.approx(squeezed.mean_return),
    ]  # fmt: skip


def test_latency_has_a_row_for_each_policy_and_a_mark_for_each_runtime() -> None:
    chart = latency_chart(measured_json(_measured_result()) or {})
    assert chart is not None
    assert [name for _, name in chart.y.ticks] == ["float", "ptdq"]
    assert [mark.x for mark in chart.marks] == [pytest.approx(40), pytest.approx(60)]


def test_why_there_is_no_video_is_said() -> None:
    missing = Film(problem="the driver is missing")
    text = render(squeeze_document(make_result(), Path("nowhere"), missing))
    assert "There is no video of the two policies: the driver is missing" in text
    assert "no video" not in _markdown(make_result())


@pytest.mark.slow
def test_the_page_is_whole_in_a_browser(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    agent, place = balancing_agent(), cart_pole()
    make_artifact(agent, "ptdq").save(folder)
    make_artifact(agent).save(folder / "candidates/float")
    shown = film((folder / "candidates/float", folder), ("original", "ptdq"), place, folder, seed=1)
    again = make_record(BASELINE_RECORD.returns, 600_000_000)
    result = dataclasses.replace(_measured_result(), confirmation_baseline=again)
    write_squeeze_report(result, folder, shown)
    seen = look_at(folder / "report.html", tmp_path)
    nothing_wrong(seen)
    for width in seen.widths:
        assert width["charts"] == (4 if shown.problem else 5)
        assert width["tip"].startswith("original (float)")
        if shown.problem is None:
            assert width["video"]["time"] > 0
            assert width["video"]["width"] > 0


def test_the_command_line_shows_the_candidates_and_the_choice() -> None:
    result = dataclasses.replace(make_result(), measurement_problem="no envs here")
    table, *texts = squeeze_result(result).blocks
    assert render(Document(title="", blocks=(table,))) in _markdown(result)
    assert [text.text for text in texts if isinstance(text, Paragraph)] == [
        summary(result),
        "Latency, memory and energy were not measured: no envs here",
    ]
