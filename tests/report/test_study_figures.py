from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pictures import is_whole

from made_study import made_study
from squeezerl.analysis.figure_data import scaled_costs
from squeezerl.analysis.frames import StudyData
from squeezerl.analysis.study_analysis import analyse
from squeezerl.report.cost_figures import draw_quantized_costs
from squeezerl.report.document import Figure, Paragraph
from squeezerl.report.study_figures import Pictures, draw_study_figures

pytestmark = pytest.mark.slow

SMALL: dict[str, Any] = {"ratios": (0.05, 0.5), "episodes": 20, "train_seeds": 2}


def _draw(data: StudyData, folder: Path) -> Pictures:
    (folder / "figures").mkdir(exist_ok=True)
    return draw_study_figures(data, analyse(data, 0), folder)


def _left_out(pictures: Pictures) -> set[str]:
    return {name for name, picture in pictures.items() if isinstance(picture, Paragraph)}


ONE = {"algorithms": ("ppo",), "environments": ("Hopper-v4",), "train_seeds": 1}
UNPRUNED: dict[str, Any] = {"pruned": (), "tickets": ()}


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Pictures]:
    """The figures of one cell."""
    folder = tmp_path_factory.mktemp("one")
    return folder, _draw(made_study(**(SMALL | ONE)), folder)


def test_all_figures_are_drawn(one: tuple[Path, Pictures]) -> None:
    """Of one cell; those of four are in test_study_report.py."""
    folder, pictures = one
    assert list(pictures) == [
        "figure1", "figure2", "figure3", "retention", "iqm", "profiles", "curves", "curves-tickets",
    ]  # fmt: skip
    for name, picture in pictures.items():
        assert isinstance(picture, Figure)
        assert picture.caption
        is_whole(folder / "figures", name)


def test_what_is_missing_is_left_out_and_said(tmp_path: Path) -> None:
    data = made_study(**SMALL, costs=False, pruned=(), tickets=())
    data = dataclasses.replace(data, trainings=data.trainings.iloc[:0])
    pictures = _draw(data, tmp_path)
    left_out = _left_out(pictures)
    assert left_out == {"figure1", "figure2", "figure3", "retention", "curves"}
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == set(pictures) - left_out


def test_untrained_cells_alone_leave_the_aggregates_out(tmp_path: Path) -> None:
    pictures = _draw(made_study(**(SMALL | ONE), untrained=("ppo-Hopper-v4",)), tmp_path)
    assert _left_out(pictures) == {"iqm", "profiles"}


def test_hosts_and_runtimes_have_figures_of_their_own(tmp_path: Path) -> None:
    data = made_study(**(SMALL | ONE | UNPRUNED))
    other = data.costs.assign(runtime="torch")
    data = dataclasses.replace(data, costs=pd.concat([data.costs, other], ignore_index=True))
    pictures = _draw(data, tmp_path)
    assert "figure1-ort" in pictures
    assert "figure1-torch" in pictures
    torch = pictures["figure1-torch"]
    assert isinstance(torch, Figure)
    assert "(torch)" in torch.title


def test_pictures_are_the_same_every_time(one: tuple[Path, Pictures], tmp_path: Path) -> None:
    before, _ = one
    _draw(made_study(**(SMALL | ONE)), tmp_path)
    for path in (tmp_path / "figures").iterdir():
        assert path.read_bytes() == (before / "figures" / path.name).read_bytes(), path.name


def test_what_is_drawn_is_what_was_measured() -> None:
    data = made_study(**(SMALL | ONE))
    frame = scaled_costs(data, data.plain_methods)
    figure = draw_quantized_costs(frame, data.methods, (), "costs")
    times, energies, _ = figure.axes
    drawn = [line.get_ydata()[0] for line in times.lines if line.get_marker() in ("s", "D", "v")]
    assert drawn == pytest.approx(frame.loc[frame["quantity"] == "time", "value"].tolist())
    assert "estimate" in energies.get_ylabel()
    hollow = draw_quantized_costs(frame, data.methods, ("ppo-Hopper-v4",), "costs").axes[0]
    assert {line.get_markerfacecolor() for line in hollow.lines if line.get_marker() == "s"} == {
        "white"
    }


def test_intervals_are_drawn_where_there_are_any() -> None:
    data = made_study(**(SMALL | ONE))
    frame = scaled_costs(data, data.plain_methods)
    bars = draw_quantized_costs(frame, data.methods, (), "x").axes[0].lines
    reach = [np.ptp(line.get_ydata()) for line in bars if len(line.get_ydata()) == 2]
    assert sum(height > 0 for height in reach) == 3


def test_whatever_was_run_is_drawn(tmp_path: Path) -> None:
    own = {"quantized": ("ptdq", "ptdq-naive", "mine"), "pruned": ("l1", "l2", "mine-pruned")}
    pictures = _draw(made_study(**(SMALL | ONE), **own, tickets=()), tmp_path)
    assert {"figure1", "figure2", "figure3", "figure4"} <= set(pictures)
    legends = {
        name: (tmp_path / "figures" / f"{name}.svg").read_text(encoding="utf-8")
        for name in ("figure1", "figure4", "retention", "iqm", "profiles")
    }
    # Matplotlib leaves the text of each label in a comment before its outlines.
    for name in ("naive PTDQ", "mine"):
        for figure in ("figure1", "iqm", "profiles"):
            assert f"<!-- {name}" in legends[figure], (name, figure)
    assert "<!-- mine-pruned -->" in legends["retention"]
    assert "mine-pruned" in legends["figure4"]


def test_a_runtime_may_have_any_name(tmp_path: Path) -> None:
    data = made_study(**(SMALL | ONE | UNPRUNED))
    other = data.costs.assign(runtime="my/run time")
    data = dataclasses.replace(data, costs=pd.concat([data.costs, other], ignore_index=True))
    picture = _draw(data, tmp_path)["figure1-my-run-time"]
    assert isinstance(picture, Figure)
    assert (tmp_path / picture.path).is_file()


def test_constant_actions_have_a_level_in_the_curves(tmp_path: Path) -> None:
    _draw(made_study(**(SMALL | ONE | UNPRUNED), costs=False, constant=0.3), tmp_path)
    curves = (tmp_path / "figures" / "curves.svg").read_text(encoding="utf-8")
    assert "<!-- best constant action -->" in curves
    assert "<!-- random policy -->" in curves
