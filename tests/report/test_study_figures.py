from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from made_study import ALGORITHMS, LEVELS, made_study
from squeezerl.analysis.figure_data import QUANTIZED, scaled_costs
from squeezerl.analysis.frames import StudyData
from squeezerl.analysis.study_analysis import analyse
from squeezerl.report.cost_figures import draw_quantized_costs
from squeezerl.report.study_figures import Picture, draw_study_figures

SMALL: dict[str, Any] = {"ratios": (0.05, 0.5), "episodes": 20, "train_seeds": 2}


def _draw(data: StudyData, folder: Path) -> dict[str, Picture]:
    found = analyse(data, 0)
    pictures = draw_study_figures(data, found.cells, found.aggregates, found.profiles, folder)
    return {picture.name: picture for picture in pictures}


def _is_whole(folder: Path, name: str) -> None:
    with Image.open(folder / f"{name}.png") as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 300
        assert len(picture.convert("RGB").getcolors(1 << 24) or []) > 10
    text = (folder / f"{name}.svg").read_text(encoding="utf-8")
    assert "<svg" in text
    assert "<dc:date>" not in text


ONE = {"algorithms": ("ppo",), "environments": ("Hopper-v4",), "train_seeds": 1}
GRID = {"algorithms": ALGORITHMS, "environments": tuple(LEVELS), "untrained": ("ppo-Ant-v4",)}


@pytest.mark.parametrize("shape", [ONE, {}, GRID], ids=["one cell", "four", "25"])
def test_all_figures_are_drawn_for_any_number_of_cells(
    shape: dict[str, Any], tmp_path: Path
) -> None:
    pictures = _draw(made_study(**(SMALL | shape)), tmp_path)
    assert list(pictures) == [
        "figure1", "figure2", "figure3", "retention", "iqm", "profiles", "curves", "curves-tickets",
    ]  # fmt: skip
    for name, picture in pictures.items():
        assert picture.left_out is None
        assert picture.caption
        _is_whole(tmp_path, name)


def test_what_is_missing_is_left_out_and_said(tmp_path: Path) -> None:
    data = made_study(**SMALL, costs=False, pruned=(), tickets=())
    data = dataclasses.replace(data, trainings=data.trainings.iloc[:0])
    pictures = _draw(data, tmp_path)
    left_out = {name for name, picture in pictures.items() if picture.left_out}
    assert left_out == {"figure1", "figure2", "figure3", "retention", "curves"}
    assert {path.stem for path in tmp_path.iterdir()} == set(pictures) - left_out


def test_untrained_cells_alone_leave_the_aggregates_out(tmp_path: Path) -> None:
    pictures = _draw(made_study(**(SMALL | ONE), untrained=("ppo-Hopper-v4",)), tmp_path)
    assert pictures["iqm"].left_out
    assert pictures["profiles"].left_out
    assert not pictures["retention"].left_out


def test_hosts_and_runtimes_have_figures_of_their_own(tmp_path: Path) -> None:
    data = made_study(**(SMALL | ONE))
    other = data.costs.assign(runtime="torch")
    data = dataclasses.replace(data, costs=pd.concat([data.costs, other], ignore_index=True))
    pictures = _draw(data, tmp_path)
    assert "figure1-ort" in pictures
    assert "figure1-torch" in pictures
    assert "(torch)" in pictures["figure1-torch"].title


def test_pictures_are_the_same_every_time(tmp_path: Path) -> None:
    data = made_study(**(SMALL | ONE))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        _draw(data, tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_what_is_drawn_is_what_was_measured() -> None:
    frame = scaled_costs(made_study(**(SMALL | ONE)), QUANTIZED)
    figure = draw_quantized_costs(frame, (), "costs")
    times, energies, _ = figure.axes
    drawn = [line.get_ydata()[0] for line in times.lines if line.get_marker() in ("s", "D", "v")]
    assert drawn == pytest.approx(frame.loc[frame["quantity"] == "time", "value"].tolist())
    assert "estimate" in energies.get_ylabel()
    hollow = draw_quantized_costs(frame, ("ppo-Hopper-v4",), "costs").axes[0]
    assert {line.get_markerfacecolor() for line in hollow.lines if line.get_marker() == "s"} == {
        "white"
    }


def test_intervals_are_drawn_where_there_are_any() -> None:
    frame = scaled_costs(made_study(**(SMALL | ONE)), QUANTIZED)
    bars = draw_quantized_costs(frame, (), "x").axes[0].lines
    reach = [np.ptp(line.get_ydata()) for line in bars if len(line.get_ydata()) == 2]
    assert sum(height > 0 for height in reach) == len(QUANTIZED)
