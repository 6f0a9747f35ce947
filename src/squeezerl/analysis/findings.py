"""The six findings of the study, each a set of hypotheses that the results at hand decide."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from squeezerl.analysis import cost_findings, lottery, return_findings
from squeezerl.analysis.cell_costs import cell_costs
from squeezerl.analysis.cells import cells_of
from squeezerl.analysis.finding import Finding, overall
from squeezerl.analysis.frames import StudyData
from squeezerl.analysis.hierarchy import agent_draws
from squeezerl.analysis.lottery import RANDOM_TICKET, TICKETS
from squeezerl.analysis.tables import NORMS, QUANTIZED

_ABOUT_RETURNS = (2, 3, 4, 6)


def findings(
    data: StudyData, rng: np.random.Generator, *, runtime: str = "ort"
) -> tuple[Finding, ...]:
    """Test the findings of Lu, Alemi and Rawassizadeh 2024 (arXiv 2407.04803) on a study.

    A finding has one to three parts, in this order; `overall_verdicts` puts them together. What is
    said of models at large has intervals over cells (agents) and is not decided by fewer than six;
    what is said of every cell, one clear exception refutes (3b), and 3c is of one cell. Cells whose
    baseline is not clearly better than random are left out wherever returns matter, and counted in
    the evidence.

    Args:
        data: the study.
        rng: decides the resamples.
        runtime: whose energy and memory are asked about; the study's is ONNX Runtime.
    """
    agents = list(agent_draws(data, rng, (*QUANTIZED, *NORMS, *TICKETS, RANDOM_TICKET)))
    table = cells_of(agents, data)
    costs = cell_costs(data, table, runtime)
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
        lottery.few_survive_more_than_5_percent(agents),
        lottery.few_survive_50_percent(agents),
        lottery.tickets_do_not_win(agents),
    )
    left_out = int(table[table.trained.eq(False)].agent.nunique())
    if not left_out:
        return found
    cells_are = "cell with an untrained baseline is" if left_out == 1 else "untrained cells are"
    return tuple(
        replace(finding, evidence=f"{finding.evidence} {left_out} {cells_are} left out.")
        if finding.number in _ABOUT_RETURNS
        else finding
        for finding in found
    )


def overall_verdicts(found: tuple[Finding, ...]) -> dict[int, str]:
    """The verdict of each finding by its number (see `overall`)."""
    numbers = sorted({finding.number for finding in found})
    return {
        number: overall(finding.verdict for finding in found if finding.number == number)
        for number in numbers
    }
