"""All figures of a study as PNG and SVG, and which were left out and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from squeezerl.analysis.figure_data import (
    QUANTIZED,
    learning_curves,
    random_levels,
    retention_by_ratio,
    scaled_costs,
    untrained_agents,
)
from squeezerl.analysis.frames import StudyData
from squeezerl.report.cost_figures import draw_pruned_costs, draw_quantized_costs
from squeezerl.report.panel_grid import save
from squeezerl.report.return_figures import (
    draw_curves,
    draw_iqm,
    draw_profiles,
    draw_retention,
)

TICKETS = ("ticket-l1", "ticket-l2", "ticket-random")


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure of the report: `name`.png and `name`.svg, or why there is none (`left_out`)."""

    name: str
    title: str
    caption: str
    left_out: str | None = None


def draw_study_figures(
    data: StudyData,
    cells: pd.DataFrame,
    aggregates: pd.DataFrame,
    profiles: pd.DataFrame,
    folder: Path,
) -> tuple[Picture, ...]:
    """Draw what the data allow into `folder`, and say what was left out.

    Args:
        data: of the study.
        cells: of `squeezerl.analysis.cells.cells`.
        aggregates: of `aggregate_table`.
        profiles: of `profile_table`.
        folder: an existing folder.
    """
    untrained = untrained_agents(cells)
    pictures = []

    def draw(
        name: str, title: str, caption: str, frame: pd.DataFrame, make: partial[Any], lack: str
    ) -> None:
        left_out = lack if frame.empty else None
        if left_out is None:
            save(make(), folder, name)
        pictures.append(Picture(name=name, title=title, caption=caption, left_out=left_out))

    for number, methods, what in (
        (1, QUANTIZED, "Quantized"),
        (2, ("l1",), "L1 pruning"),
        (3, ("l2",), "L2 pruning"),
    ):
        for suffix, where, part in _places(scaled_costs(data, methods)):
            known = [name for name in ("time", "energy", "memory") if _has(part, name)]
            title = f"Figure {number}. {what}: {', '.join(known) or 'costs'}{where}"
            caption = _COSTS_CAPTION + ("" if "energy" in known else " Energy is unknown.")
            make = (
                partial(draw_quantized_costs, part, untrained, title)
                if number == 1
                else partial(draw_pruned_costs, part, untrained, methods[0], title)
            )
            lack = "nothing was measured for these methods"
            draw(f"figure{number}{suffix}", title, caption, part, make, lack)
    kept = retention_by_ratio(cells)
    title = "Return kept after pruning"
    make = partial(draw_retention, kept, untrained, title)
    draw("retention", title, _RETENTION_CAPTION, kept, make, "no pruned policy was evaluated")
    tickets = retention_by_ratio(cells, TICKETS)
    if len(tickets) and tickets.groupby(["agent", "method"]).size().max() > 1:
        title = "Return kept by tickets (pruned, rewound, trained again)"
        make = partial(draw_retention, tickets, untrained, title)
        draw("tickets", title, _RETENTION_CAPTION, tickets, make, "")
    note = _OVER[str(aggregates["over"].iloc[0])] if len(aggregates) else ""
    lack = "no cell has a trained baseline"
    title = "Interquartile mean over all trained cells"
    make = partial(draw_iqm, aggregates, title)
    draw("iqm", title, f"{_IQM_CAPTION} {note}", aggregates, make, lack)
    title = "Performance profiles over all trained cells"
    make = partial(draw_profiles, profiles, title)
    draw("profiles", title, f"{_PROFILES_CAPTION} {note}", profiles, make, lack)
    every, levels = learning_curves(data), random_levels(data)
    for name, title, shown in (
        ("curves", "Learning curves: float and quantization-aware", ("float", "qat")),
        ("curves-tickets", "Learning curves: float and tickets", ("float", *TICKETS)),
    ):
        curves = every[every["method"].isin(shown)]
        if name == "curves-tickets" and not curves["method"].isin(TICKETS).any():
            continue
        make = partial(draw_curves, curves, levels, untrained, title)
        draw(name, title, _CURVES_CAPTION, curves, make, "nothing was trained in this study")
    return tuple(pictures)


def _has(costs: pd.DataFrame, quantity: str) -> bool:
    return bool((costs["quantity"] == quantity).any())


def _places(costs: pd.DataFrame) -> Iterable[tuple[str, str, pd.DataFrame]]:
    """Suffix of the name, words and rows for each runtime and host; figures are not merged."""
    if costs.empty:
        yield "", "", costs
        return
    runtimes, hosts = (costs[name].nunique(dropna=False) for name in ("runtime", "host_id"))
    for (runtime, host), part in costs.groupby(["runtime", "host_id"], dropna=False):
        suffix = (f"-{runtime}" if runtimes > 1 else "") + (f"-{host}" if hosts > 1 else "")
        yield suffix, f" ({runtime}" + (f", host {host})" if hosts > 1 else ")"), part


_COSTS_CAPTION = (
    "One decision in the runtime, and resident memory, as shares of what the float policy of the "
    "same agent takes, measured side by side; below 1 is better. Bars are 95 % intervals, over "
    "several trainings the reach of all of theirs; without a bar there is no interval."
)
_RETENTION_CAPTION = (
    "Normalised retention, 0 for a random policy and 1 for the float policy, with 95 % bands from "
    "the hierarchical bootstrap over trainings and paired episodes. Grey: the baseline is not "
    "clearly better than random, so nothing can be said."
)
_IQM_CAPTION = (
    "The mean of the middle half of all runs over all cells with a trained baseline, with 95 % "
    "intervals from the stratified bootstrap."
)
_PROFILES_CAPTION = (
    "The share of runs that score above τ, with pointwise 95 % bands from the stratified bootstrap."
)
_OVER = {
    "trainings": "A run is one training.",
    "episodes": "A run is one episode, for every agent was trained once: the intervals say nothing "
    "about other trainings.",
}
_CURVES_CAPTION = (
    "Mean evaluation return; every training thin where there are several, their mean thick."
)
