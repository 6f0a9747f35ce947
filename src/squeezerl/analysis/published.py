"""The tables of the study that this project starts from, as published, for comparison.

H. Lu, M. Alemi, R. Rawassizadeh, "The Impact of Quantization and Pruning on Deep Reinforcement
Learning Models", arXiv 2407.04803v1, July 2024. Returns are means over at least ten repetitions,
without intervals, in Gymnasium's MuJoCo v4 environments. Table 3 does not always name what Table 2
says was reached, for example L1 5 % for PPO in HumanoidStandup after 10 % in both norms.
"""

from __future__ import annotations

import re
from importlib import resources

import pandas as pd

SOURCE = "Lu, Alemi, Rawassizadeh 2024, arXiv 2407.04803v1"


def published_quantized() -> pd.DataFrame:
    """Table 1, 25 rows: algorithm, environment; returns as baseline, ptdq, ptsq and qat."""
    return _table("table1")


def published_pruned() -> pd.DataFrame:
    """Table 2, 25 rows: algorithm, environment; returns as baseline and pruned.

    `l1_ratio` and `l2_ratio` are the shares of neurons removed that each norm reached.
    """
    return _table("table2")


def published_best() -> pd.DataFrame:
    """Table 3, 25 rows: algorithm, environment; the best norm ("l1" or "l2") and its ratio."""
    return _table("table3")


def published_cell(algorithm: str, env_id: str) -> tuple[str, str]:
    """Algorithm and environment as the tables name them: ("PPO", "Hopper") for "Hopper-v4".

    An environment with arguments is none of the tables'.
    """
    name = re.fullmatch(r"(?:.*[:/])?([^:/]+)-v\d+", env_id)
    return algorithm.upper(), name[1] if name else env_id


def _table(name: str) -> pd.DataFrame:
    file = resources.files("squeezerl.analysis") / "published" / f"{name}.csv"
    with file.open(encoding="utf-8") as lines:
        return pd.read_csv(lines, comment="#")
