from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from made_results import (
    failed_trial,
    make_float_result,
    make_result,
    make_trial,
    untrained_judgement,
)
from PIL import Image

from squeezerl.report.pareto import draw_pareto, pareto_points
from squeezerl.search.result import SqueezeResult


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
        assert point.file_bytes == trial.size.file_bytes
        assert point.method == trial.candidate.method
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
