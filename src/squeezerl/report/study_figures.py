"""All figures of a study as PNG and SVG, and which were left out and why."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from squeezerl.analysis.figure_data import (
    learning_curves,
    reference_levels,
    retention_by_ratio,
    scaled_costs,
    untrained_agents,
)
from squeezerl.analysis.frames import StudyData
from squeezerl.analysis.methods import BASELINE, method_record
from squeezerl.analysis.published import NORMS
from squeezerl.analysis.study_analysis import StudyAnalysis
from squeezerl.report.cost_figures import draw_pruned_costs, draw_quantized_costs
from squeezerl.report.document import Emphasis, Figure, Link, Paragraph
from squeezerl.report.panels import save
from squeezerl.report.return_figures import draw_curves, draw_iqm, draw_profiles, draw_retention

Pictures = dict[str, Figure | Paragraph]
"""The figures by name; a paragraph says why one was left out."""


def draw_study_figures(data: StudyData, analysis: StudyAnalysis, folder: Path) -> Pictures:
    """Draw what the data allow into `folder`/figures, and say what was left out.

    Args:
        data: of the study.
        analysis: of it.
        folder: of the report, where `figures` exists.
    """
    methods, untrained = data.methods, untrained_agents(analysis.cells)
    pictures: Pictures = {}

    def draw(
        name: str, title: str, caption: str, frame: pd.DataFrame, make: partial[Any], lack: str
    ) -> None:
        if frame.empty:
            pictures[name] = Paragraph((Emphasis(title), f" is left out: {lack}."))
            return
        save(make(), folder / "figures", name)
        path = f"figures/{name}"
        pictures[name] = Figure(
            title=title,
            path=f"{path}.png",
            vector=f"{path}.svg",
            caption=(Emphasis(caption), " ", Link("SVG", f"{path}.svg")),
        )

    for number, (what, shown) in enumerate(_cost_figures(data), 1):
        for suffix, where, part in _places(scaled_costs(data, shown)):
            known = [name for name in ("time", "energy", "memory") if _has(part, name)]
            title = f"Figure {number}. {what}: {', '.join(known) or 'costs'}{where}"
            caption = _COSTS_CAPTION + ("" if "energy" in known else " Energy is unknown.")
            make = (
                partial(draw_quantized_costs, part, methods, untrained, title)
                if number == 1
                else partial(draw_pruned_costs, part, untrained, shown[0], title)
            )
            lack = "nothing was measured for these methods"
            draw(f"figure{number}{suffix}", title, caption, part, make, lack)
    kept = retention_by_ratio(analysis.cells, data.swept_methods)
    title = "Return kept after pruning"
    make = partial(draw_retention, kept, methods, untrained, title)
    draw("retention", title, _RETENTION_CAPTION, kept, make, "no pruned policy was evaluated")
    tickets = retention_by_ratio(analysis.cells, data.ticket_methods)
    if len(tickets) and tickets.groupby(["agent", "method"]).size().max() > 1:
        title = "Return kept by tickets (pruned, rewound, trained again)"
        make = partial(draw_retention, tickets, methods, untrained, title)
        draw("tickets", title, _RETENTION_CAPTION, tickets, make, "")
    aggregates, profiles = analysis.aggregates, analysis.profiles
    note = _OVER[str(aggregates["over"].iloc[0])] if len(aggregates) else ""
    lack = "no cell has a trained baseline"
    title = "Interquartile mean over all trained cells"
    make = partial(draw_iqm, aggregates, methods, title)
    draw("iqm", title, f"{_IQM_CAPTION} {note}", aggregates, make, lack)
    title = "Performance profiles over all trained cells"
    make = partial(draw_profiles, profiles, methods, title)
    draw("profiles", title, f"{_PROFILES_CAPTION} {note}", profiles, make, lack)
    every, levels = learning_curves(data), reference_levels(data)
    retrained = every["method"].isin(data.ticket_methods)
    for name, title, curves in (
        ("curves", "Learning curves: float and quantization-aware", every[~retrained]),
        (
            "curves-tickets",
            "Learning curves: float and tickets",
            every[retrained | (every["method"] == BASELINE)],
        ),
    ):
        if name == "curves-tickets" and not retrained.any():
            continue
        make = partial(draw_curves, curves, methods, levels, untrained, title)
        draw(name, title, _CURVES_CAPTION, curves, make, "nothing was trained in this study")
    return pictures


def _cost_figures(data: StudyData) -> Iterable[tuple[str, tuple[str, ...]]]:
    """What each figure of costs is about and which methods it shows.

    Figure 1 shows the methods without a ratio. Figures 2 and 3 are about the paper's two norms,
    whether they were run or not; other methods that were run at ratios follow.
    """
    yield "Quantized", data.plain_methods
    for name in (*NORMS, *(name for name in data.swept_methods if name not in NORMS)):
        yield data.methods.get(name, method_record(name)).label, (name,)


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
        words = f" ({runtime}" + (f", host {host})" if hosts > 1 else ")")
        # Part of a file's name, whatever a runtime is called.
        yield re.sub(r"[^\w.-]+", "-", suffix), words, part


_COSTS_CAPTION = (
    "One decision in the runtime, and resident memory, as shares of what the float policy of the "
    "same agent takes, measured side by side; below 1 is better. Bars are 95 % intervals; with "
    "several trainings they cover the intervals of all of them. Points without a bar have no "
    "interval."
)
_RETENTION_CAPTION = (
    "Normalised retention, 0 for a random policy and 1 for the float policy, with 95 % bands from "
    "the hierarchical bootstrap over trainings and paired episodes. Grey: the baseline does not "
    "count as trained, so nothing can be said."
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
    "episodes": "A run is one episode, since each agent was trained once: the intervals say "
    "nothing about other trainings.",
}
_CURVES_CAPTION = (
    "Mean evaluation return. Where there are several trainings, each is a thin line and their mean "
    "a thick one."
)
