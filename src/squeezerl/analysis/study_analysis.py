"""Everything that is said of a study, computed once from its frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from squeezerl.analysis import cost_findings, return_findings
from squeezerl.analysis.aggregate import aggregate_table, method_scores, profile_table
from squeezerl.analysis.cell_statistics import robustness_table, trained_agents, training_table
from squeezerl.analysis.cells import cells_of
from squeezerl.analysis.finding import Finding
from squeezerl.analysis.frames import StudyData
from squeezerl.analysis.hierarchy import AgentDraws, Key, agent_draws
from squeezerl.analysis.methods import BASELINE, REFERENCE, TRAINING
from squeezerl.analysis.published import compare_percentages, compare_published
from squeezerl.analysis.score_cards import ScoreCard, score_cards
from squeezerl.analysis.tables import table_pruned, table_returns

_MOST_CURVES = 5  # percentages of a pruning method that a picture of profiles can hold
_ABOUT_RETURNS = (2, 3, 4, 6)


@dataclass(frozen=True, kw_only=True, eq=False)
class StudyAnalysis:
    """The results of a study.

    Frames are those of `cells`, `table_returns`, `table_pruned` (which holds Table 3 too),
    `compare_published`, `compare_percentages`, `aggregate_table`, `profile_table`,
    `training_table` and `robustness_table`. `findings`
    has those for each runtime that costs were measured in, or for "ort" where none was. `basis`
    says in words how long agents were trained and how many baselines count as trained: no finding
    is stronger than that.
    """

    cells: pd.DataFrame
    returns: pd.DataFrame
    pruned: pd.DataFrame
    comparison: pd.DataFrame
    percentages: pd.DataFrame
    findings: dict[str, tuple[Finding, ...]]
    basis: str
    aggregates: pd.DataFrame
    profiles: pd.DataFrame
    trainings: pd.DataFrame
    robustness: pd.DataFrame
    cards: tuple[ScoreCard, ...]


def analyse(data: StudyData, seed: int) -> StudyAnalysis:
    """Analyse a study; the same data and seed give the same analysis.

    The bootstrap is drawn once and serves all parts, so that a figure has the same interval
    wherever it stands.

    Args:
        data: of the study, finished or not.
        seed: of all resampling.
    """

    def rng() -> np.random.Generator:
        return np.random.default_rng(seed)

    agents = tuple(agent_draws(data, rng()))
    cells = cells_of(agents, data)
    pruned = table_pruned(agents, data.swept_methods)
    scores = method_scores(data, cells)
    trained = trained_agents(cells)
    runtimes = sorted(data.costs["runtime"].dropna().unique()) or ["ort"]
    return StudyAnalysis(
        cells=cells,
        returns=table_returns(agents, data.plain_methods),
        pruned=pruned,
        comparison=compare_published(agents),
        percentages=compare_percentages(pruned),
        findings={
            runtime: findings(data, agents, cells, rng(), runtime=runtime) for runtime in runtimes
        },
        basis=training_basis(data, cells),
        aggregates=aggregate_table(scores, rng()),
        profiles=profile_table(scores, _shown_profiles(data, list(scores)), rng()),
        trainings=training_table(data, trained),
        robustness=robustness_table(data, trained),
        cards=score_cards(data, cells),
    )


def findings(
    data: StudyData,
    agents: Sequence[AgentDraws],
    cells: pd.DataFrame,
    rng: np.random.Generator,
    *,
    runtime: str = "ort",
) -> tuple[Finding, ...]:
    """Test the findings of Lu, Alemi and Rawassizadeh 2024 (arXiv 2407.04803) on a study.

    A finding has one to three parts, in this order; `overall_verdicts` puts them together. Claims
    about models at large have intervals over cells (agents) and are not decided by fewer than six
    cells. A claim about every cell is refuted by one clear exception (3b), and 3c is about one
    cell. Cells whose baseline does not count as trained are left out wherever returns matter, and
    are counted in the evidence.

    Args:
        data: the study.
        agents: its agents, resampled by `agent_draws`.
        cells: their cells, from `cells_of`.
        rng: decides the resamples over cells.
        runtime: whose energy and memory are asked about; the paper's is ONNX Runtime.
    """
    costs = cost_findings.cell_costs(data, cells, runtime)
    found = (
        cost_findings.energy_does_not_improve(costs),
        cost_findings.memory_does_not_improve(costs),
        cost_findings.models_get_smaller(costs),
        cost_findings.energy_falls_only_with_the_return(costs),
        cost_findings.episodes_end_early(costs, rng),
        return_findings.l2_beats_l1(agents),
        return_findings.ten_percent_keeps(agents),
        return_findings.ppo_halfcheetah_is_the_exception(agents),
        return_findings.ptdq_is_best(agents),
        return_findings.ptsq_is_worst(agents),
        return_findings.shift_explains_ptsq(),
        cost_findings.pruning_saves_1_percent_of_memory(costs),
        cost_findings.quantization_may_use_more_memory(costs),
        return_findings.few_survive_more_than_5_percent(agents),
        return_findings.few_survive_50_percent(agents),
        return_findings.tickets_do_not_win(agents),
    )
    left_out = int(cells[cells.trained.eq(False)].agent.nunique())
    if not left_out:
        return found
    cells_are = "cell with an untrained baseline is" if left_out == 1 else "untrained cells are"
    return tuple(
        replace(finding, evidence=f"{finding.evidence} {left_out} {cells_are} left out.")
        if finding.number in _ABOUT_RETURNS
        else finding
        for finding in found
    )


def training_basis(data: StudyData, cells: pd.DataFrame) -> str:
    """What the findings rest on: how long agents were trained and how many count as trained."""
    baselines = cells[cells["method"] == BASELINE]
    trained, untrained = (int(baselines["trained"].eq(known).sum()) for known in (True, False))
    constants = bool(baselines["constant_return"].notna().any())
    rule = "a random policy and the best constant action" if constants else "a random policy"
    said = [
        f"{trained} of {len(baselines)} baselines count as trained: clearly better than {rule}."
    ]
    if unknown := len(baselines) - trained - untrained:
        said.append(f"Of {unknown} this is not known, since no random policy was evaluated.")
    if not constants and trained:
        said.append(
            "No constant action was played, so some of these may do no better than one that never "
            "changes."
        )
    return f"{_training_lengths(data, baselines)} {' '.join(said)}"


def _training_lengths(data: StudyData, baselines: pd.DataFrame) -> str:
    rows = data.trained_steps
    if rows.empty:
        return "How long the agents were trained is not recorded in this study."
    by_length: dict[str, list[str]] = {}
    for algorithm, steps in rows.sort_values("steps").groupby("algorithm", sort=False)["steps"]:
        least, most = int(steps.min()), int(steps.max())
        length = f"{least:,}" if least == most else f"{least:,} to {most:,}"
        by_length.setdefault(length, []).append(str(algorithm).upper())
    lengths = "; ".join(
        f"{length} steps ({', '.join(sorted(algorithms))})"
        for length, algorithms in by_length.items()
    )
    others = len(set(baselines["agent"]) - set(rows["agent"]))
    loaded = f" For {others} more this is not recorded." if others else ""
    return f"The float policies were trained for {lengths}.{loaded}"


def _shown_profiles(data: StudyData, keys: Sequence[Key]) -> list[Key]:
    """The methods without a ratio, and of each pruning a few percentages, least to most."""
    groups = {name: record.group for name, record in data.methods.items()}
    shown: list[Key] = [key for key in keys if key[1] is None and groups[key[0]] != REFERENCE]
    every = sorted({ratio for _, ratio in keys if ratio is not None})
    places = np.linspace(0, len(every) - 1, min(_MOST_CURVES, len(every))).round().astype(int)
    chosen = {every[place] for place in places}
    return [*shown, *(key for key in keys if key[1] in chosen and groups[key[0]] != TRAINING)]
