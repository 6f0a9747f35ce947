"""Everything that is said of a study, computed once from its frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from squeezerl.analysis.cells import cells
from squeezerl.analysis.comparison import compare_percentages, compare_published
from squeezerl.analysis.finding import Finding
from squeezerl.analysis.findings import findings
from squeezerl.analysis.frames import StudyData
from squeezerl.analysis.hierarchy import Key
from squeezerl.analysis.method_scores import aggregate_table, method_scores, profile_table
from squeezerl.analysis.score_cards import ScoreCard, score_cards
from squeezerl.analysis.tables import table_pruned, table_returns

_MOST_CURVES = 5  # percentages of a pruning method that a picture of profiles can hold


@dataclass(frozen=True, kw_only=True, eq=False)
class StudyAnalysis:
    """The results of a study.

    Frames are those of `cells`, `table_returns`, `table_pruned` (which holds Table 3 too),
    `compare_published`, `compare_percentages`, `aggregate_table` and `profile_table`. `findings`
    has those for each runtime that costs were measured in, or for "ort" where none was.
    """

    cells: pd.DataFrame
    returns: pd.DataFrame
    pruned: pd.DataFrame
    comparison: pd.DataFrame
    percentages: pd.DataFrame
    findings: dict[str, tuple[Finding, ...]]
    aggregates: pd.DataFrame
    profiles: pd.DataFrame
    cards: tuple[ScoreCard, ...]


def analyse(data: StudyData, seed: int) -> StudyAnalysis:
    """Analyse a study; the same data and seed give the same.

    All parts resample alike, so that a figure has the same interval wherever it stands.

    Args:
        data: of the study, finished or not.
        seed: of all resampling.
    """

    def rng() -> np.random.Generator:
        return np.random.default_rng(seed)

    found = cells(data, rng())
    scores = method_scores(data, found)
    runtimes = sorted(data.costs["runtime"].dropna().unique()) or ["ort"]
    return StudyAnalysis(
        cells=found,
        returns=table_returns(data, rng()),
        pruned=table_pruned(data, rng()),
        comparison=compare_published(data, rng()),
        percentages=compare_percentages(data, rng()),
        findings={runtime: findings(data, rng(), runtime=runtime) for runtime in runtimes},
        aggregates=aggregate_table(scores, rng()),
        profiles=profile_table(scores, _shown(list(scores)), rng()),
        cards=score_cards(data, found),
    )


def _shown(keys: list[Key]) -> list[Key]:
    """The quantizations, and of each pruning a few percentages from the least to the most."""
    shown: list[Key] = [key for key in keys if key[1] is None and key[0] not in ("float", "random")]
    every = sorted({ratio for _, ratio in keys if ratio is not None})
    places = np.linspace(0, len(every) - 1, min(_MOST_CURVES, len(every))).round().astype(int)
    chosen = {every[place] for place in places}
    return [*shown, *(key for key in keys if key[1] in chosen and not key[0].startswith("ticket"))]
