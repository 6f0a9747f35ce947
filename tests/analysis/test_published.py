from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from made_study import ALGORITHMS, LEVELS
from squeezerl.analysis.published import (
    published_best,
    published_cell,
    published_pruned,
    published_quantized,
)

ROOT = Path(__file__).parents[2]
ENVIRONMENTS = [env_id.removesuffix("-v4") for env_id in LEVELS]
CELLS = {(name.upper(), environment) for name in ALGORITHMS for environment in ENVIRONMENTS}
RATIOS = np.arange(1, 15) / 20


def _kept(table: pd.DataFrame, methods: list[str]) -> pd.DataFrame:
    return table[methods].ge(0.9 * table.baseline, axis=0)


@pytest.mark.parametrize("load", [published_quantized, published_pruned, published_best])
def test_every_cell_is_there_once(load: object) -> None:
    table = load()  # type: ignore[operator]
    assert set(zip(table.algorithm, table.environment, strict=True)) == CELLS
    assert len(table) == len(CELLS) == 25
    assert not table.isna().any(axis=None)


def test_how_many_quantized_models_keep_90_percent_of_the_baseline() -> None:
    kept = _kept(published_quantized(), ["ptdq", "ptsq", "qat"])
    assert kept.sum().to_dict() == {"ptdq": 16, "ptsq": 14, "qat": 9}
    assert kept.any(axis=1).sum() == 17


def test_cells_where_the_best_stays_under_half_are_all_humanoid() -> None:
    table = published_quantized()
    best = table[["ptdq", "ptsq", "qat"]].max(axis=1)
    assert set(table[best < 0.5 * table.baseline].environment) == {"Humanoid"}


def test_which_quantization_is_best_by_its_mean() -> None:
    best = published_quantized()[["ptdq", "ptsq", "qat"]].idxmax(axis=1).value_counts()
    assert best.to_dict() == {"ptdq": 10, "qat": 9, "ptsq": 6}  # 40, 36 and 24 %


def test_ten_chosen_prunings_miss_the_rule_they_were_chosen_by() -> None:
    assert (~_kept(published_pruned(), ["pruned"])).sum().item() == 10


def test_ratios_are_those_of_the_grid() -> None:
    pruned, best = published_pruned(), published_best()
    for ratios in (pruned.l1_ratio, pruned.l2_ratio, best.ratio):
        assert np.isclose(ratios.to_numpy()[:, np.newaxis], RATIOS).any(axis=1).all()
    assert set(best.norm) == {"l1", "l2"}


def test_table_3_is_not_always_what_table_2_says() -> None:
    both = published_best().merge(published_pruned(), on=["algorithm", "environment"])
    reached = both.l1_ratio.where(both.norm == "l1", both.l2_ratio)
    other = both[~np.isclose(reached, both.ratio)]
    assert set(zip(other.algorithm, other.environment, strict=True)) == {
        ("TRPO", "HumanoidStandup"), ("TRPO", "Humanoid"), ("TRPO", "Hopper"),
        ("PPO", "HumanoidStandup"), ("PPO", "Humanoid"), ("SAC", "Ant"), ("SAC", "Humanoid"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("algorithm", "env_id", "cell"),
    [
        ("ppo", "Hopper-v4", ("PPO", "Hopper")),
        ("sac", "HumanoidStandup-v5", ("SAC", "HumanoidStandup")),
        ("td3", "CartPole", ("TD3", "CartPole")),
        ("td3", "my.module:Ant-v4", ("TD3", "Ant")),
        ("td3", "Ant-v4 (gravity=-1)", ("TD3", "Ant-v4 (gravity=-1)")),
        ("td3", "ns/Half-Cheetah-v12", ("TD3", "Half-Cheetah")),
    ],
)
def test_cells_are_found_by_algorithm_and_environment(
    algorithm: str, env_id: str, cell: tuple[str, str]
) -> None:
    assert published_cell(algorithm, env_id) == cell


def test_the_tables_name_their_source() -> None:
    for number in (1, 2, 3):
        path = ROOT / f"src/squeezerl/analysis/published/table{number}.csv"
        assert "arXiv 2407.04803v1" in path.read_text().splitlines()[0]
