"""How much returns vary, from committed results: src/squeezerl/research/variances.json.

The power calculations of `squeezerl research design` use these, unless a pilot study is given:

- results/training: ten agents with 100 episodes of the float policy, PTDQ, PTSQ and QAT, and
  results/training/seeds: three trainings of PPO on Hopper;
- results/published: five published agents, pruned by L1 and L2, whose intervals give the deviation
  between episodes.
"""

from __future__ import annotations

import json
import math
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from squeezerl.analysis.cell_statistics import convergence, retention, spread
from squeezerl.analysis.effects import Variation
from squeezerl.analysis.frames import (
    COSTS_COLUMNS,
    RETURNS_COLUMNS,
    TRAININGS_COLUMNS,
    StudyData,
)

_ROOT = Path(__file__).parents[1]
_RESULTS = _ROOT / "results"
_METHODS = ("ptdq", "ptsq", "qat")
_MOST_PRUNED = 0.3  # whoever prunes further is not interested in keeping the return


def main() -> None:
    grid, seeds = (
        _study(_RESULTS / "training" / name) for name in ("results.json", "seeds/results.json")
    )
    found: dict[str, dict[str, Any]] = {"retention": {}, "spread": {}, "convergence": {}}
    agents, hopper = _agents(grid), _agents(seeds)
    for method in _METHODS:
        episodes = [one.variation for one in retention(grid, agents, [method])]
        trainings = [one.variation for one in retention(seeds, hopper, [method])]
        found["retention"][method] = _entry(
            episodes=statistics.median(one.episodes for one in episodes),
            trainings=statistics.median(one.trainings for one in trainings),
            source=f"{len(episodes)} agents of results/training; trainings: three of PPO on Hopper",
        )
    known = statistics.median(e["trainings_sd"] for e in found["retention"].values())
    for method, deviations in _pruned().items():
        found["retention"][method] = _entry(
            episodes=statistics.median(deviations),
            trainings=known,
            source=f"{len(deviations)} policies of results/published, up to 30 % pruned; "
            "trainings: assumed as for quantization",
        )
    variations = [one.variation for one in spread(seeds, hopper, ["qat"])]
    found["spread"]["qat"] = _entry(
        episodes=0.0,
        trainings=statistics.median(one.trainings for one in variations),
        source="three trainings of PPO on Hopper",
    )
    steps = [one.variation for one in convergence(seeds, hopper, ["qat"])]
    found["convergence"]["qat"] = _entry(
        episodes=0.0,
        trainings=statistics.median(one.trainings for one in steps),
        source="three trainings of PPO on Hopper",
    )
    path = _ROOT / "src" / "squeezerl" / "research" / "variances.json"
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _entry(*, episodes: float, trainings: float, source: str) -> dict[str, Any]:
    variation = Variation(trainings=trainings, episodes=episodes)
    return {
        "episodes_sd": round(variation.episodes, 4),
        "trainings_sd": round(variation.trainings, 4),
        "source": source,
    }


def _pruned() -> dict[str, list[float]]:
    """The deviation of the retention between episodes of each pruned policy, by norm."""
    cells = pd.read_csv(_RESULTS / "published" / "tables" / "cells.csv")
    found = defaultdict(list)
    for row in cells[cells["ratio"] <= _MOST_PRUNED].itertuples():
        width = row.retention_high - row.retention_low
        found[str(row.method)].append(width / (2 * 1.96) * math.sqrt(row.episodes))
    return found


def _agents(data: StudyData) -> list[str]:
    """All agents; each learned something."""
    return sorted(set(data.returns["agent"]) - {""})


def _study(path: Path) -> StudyData:
    """The results of trainings as a study."""
    rows: list[dict[str, Any]] = []
    trainings: list[dict[str, Any]] = []
    for row in json.loads(path.read_text(encoding="utf-8"))["rows"]:
        who = {"algorithm": row["algorithm"], "env_id": row["env_id"], "train_seed": row["seed"]}
        who |= {"agent": f"{row['algorithm']}-{row['env_id']}", "ratio": None, "host_id": "one"}
        for mode, curve in row.get("evaluations", {}).items():
            mine = who | {"method": {"int8": "qat"}.get(mode, mode), "steps": row["steps"]}
            mine |= {"timesteps": np.array(curve["steps"], dtype=float)}
            trainings.append(mine | {"evaluations": np.array(curve["mean_returns"])[:, np.newaxis]})
        for method, record in row["records"].items():
            if method not in ("random", "float", *_METHODS):
                continue
            returns = np.array([episode["return_"] for episode in record["episodes"]])
            lengths = np.array([episode["length"] for episode in record["episodes"]])
            mine = who | {"method": method, "returns": returns, "lengths": lengths}
            mine |= {"first_seed": record["seed"], "file_bytes": None, "weight_bytes": None}
            if method == "random":
                mine |= {"agent": "", "algorithm": "", "train_seed": None}
                if any(r["method"] == method and r["env_id"] == row["env_id"] for r in rows):
                    continue
            rows.append(mine)
    return StudyData(
        name=path.stem,
        returns=pd.DataFrame(rows, columns=list(RETURNS_COLUMNS)),
        costs=pd.DataFrame(columns=list(COSTS_COLUMNS)),
        trainings=pd.DataFrame(trainings, columns=list(TRAININGS_COLUMNS)),
    )


if __name__ == "__main__":
    main()
