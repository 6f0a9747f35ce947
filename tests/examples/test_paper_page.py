"""The picture and the table that `make paper-results` makes, of a study whose truth is known."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from made_study import made_study
from squeezerl.analysis.cells import cells

SPEC = importlib.util.spec_from_file_location(
    "paper_page", Path(__file__).resolve().parents[2] / "scripts/paper_page.py"
)
assert SPEC is not None
assert SPEC.loader is not None
page = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(page)


def truth(agent: str, method: str, ratio: float | None) -> float:
    """Naive PTSQ destroys PPO on Hopper, and pruning everyone; whatever recovers keeps all."""
    if method == "ptsq-naive":
        return 0.2 if agent == "ppo-Hopper-v4" else 1.0
    return 0.1 if method == "l2" else 1.0


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    data = made_study(
        train_seeds=1,
        quantized=("ptsq-naive", "bits-8+recover", "distill-32x32+bits-8"),
        pruned=("l2", "l2+recover"),
        ratios=(0.5, 0.7),
        tickets=(),
        costs=False,
        truth=truth,
    )
    return cells(data, np.random.default_rng(0))


def test_the_table_counts_who_keeps_the_return(frame: pd.DataFrame) -> None:
    rows = {row[0]: [str(cell) for cell in row[1:]] for row in page.table(frame).rows}

    assert list(rows) == [
        *("PTSQ, one scale per layer", "int8, recovered", "student 32-32, int8"),
        *("L2, 50 %", "L2, recovered, 50 %", "L2, 70 %", "L2, recovered, 70 %"),
    ]
    naive = rows["PTSQ, one scale per layer"]
    assert naive[-3:] == ["3", "0", "1"]
    assert float(naive[1]) == pytest.approx(20, abs=5)
    assert rows["L2, 50 %"][-3:] == ["0", "0", "4"]
    assert float(rows["L2, 50 %"][3]) == pytest.approx(10, abs=5)
    for name in ("int8, recovered", "L2, recovered, 70 %", "student 32-32, int8"):
        assert rows[name][-3:] == ["4", "0", "0"]


def test_the_times_of_decisions_are_medians_over_agents_beside_the_agents_own() -> None:
    times = {"ptdq": {"latency": 0.5}, "ptsq": {"latency": 0.8}}
    costs = made_study(train_seeds=1, pruned=("l2",), tickets=(), cost_times=times).costs
    table = page.costs_table(costs[costs.ratio.isna()])

    assert table.header == ("method", "ONNX Runtime, µs", "ONNX Runtime, times faster")
    rows = {row[0]: row[1:] for row in table.rows}
    assert list(rows) == ["the agent", "PTDQ", "PTSQ", "QAT, learned on"]
    assert rows["the agent"] == ("10.00 (10.00 to 10.00)", "1.0 (1.0 to 1.0)")
    assert rows["PTDQ"][1] == "0.5 (0.5 to 0.5)"
    assert float(rows["PTSQ"][0].split()[0]) == pytest.approx(12.5, rel=0.02)


def test_the_picture_has_one_orange_mark_for_each_policy_made_in_one_shot(
    frame: pd.DataFrame, tmp_path: Path
) -> None:
    def orange(rows: pd.DataFrame) -> int:
        page.draw(rows, file := tmp_path / "recovery.png")
        color = np.array([int(page.ONE_SHOT[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        return int((abs(imread(file)[..., :3] - color).max(axis=2) < 0.02).sum())

    only_recovered = frame[frame.method != "l2"]
    assert orange(frame) > 1.5 * orange(only_recovered) > 0


def test_an_agent_of_an_interrupted_study_is_left_out_until_all_its_policies_are_evaluated(
    frame: pd.DataFrame,
) -> None:
    unfinished = frame[(frame.agent != "ppo-Hopper-v4") | (frame.method != "ptsq-naive")]

    assert set(frame.agent) - set(page.complete(unfinished).agent) == {"ppo-Hopper-v4"}
    pd.testing.assert_frame_equal(page.complete(frame), frame)
