"""Figures 1 to 3 of the study: time, energy and memory, scaled by the float policy's."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pandas as pd

from squeezerl.analysis.figure_data import in_order, panels
from squeezerl.analysis.methods import BASELINE
from squeezerl.analysis.published import ENVIRONMENTS
from squeezerl.report.panels import (
    QUANTITIES,
    UNTRAINED_COLOR,
    Methods,
    PanelGrid,
    Styled,
    handle,
    note_untrained,
    ordered,
    panel_figure,
    rule_handle,
    study_style,
)
from squeezerl.report.text import algorithm_label

_BLOCK = 5  # environments side by side


def draw_quantized_costs(
    frame: pd.DataFrame, methods: Methods, untrained: Collection[str], title: str
) -> Any:
    """Figure 1: what quantization does to time, energy and memory, scaled by the baseline.

    `frame` has the rows of `scaled_costs` from one runtime and host; `untrained` agents are hollow.
    """
    quantities = [name for name in QUANTITIES if (frame["quantity"] == name).any()]
    environments = in_order(frame["env_id"], ENVIRONMENTS)
    flat = len(environments) == 1  # the quantities side by side, not below each other
    blocks = [environments[i : i + _BLOCK] for i in range(0, len(environments), _BLOCK)]
    columns = len(quantities) if flat else len(blocks[0])
    rows = 1 if flat else len(quantities) * len(blocks)
    most = frame.groupby("env_id")["agent"].nunique().max()
    width, height = max(1.7 if flat else 1.5, 0.42 * most + 0.35), 2.0 if flat else 1.45
    shown = {name: methods[name] for name in ordered(frame["method"], methods) if name != BASELINE}
    handles = [handle(style, line=False) for style in shown.values()]
    handles.append(rule_handle("float policy"))
    if _any_untrained(frame, untrained):
        handles.append(_hollow_handle())
    with study_style():
        figure, grid = panel_figure(
            [width] * columns, height, rows=rows, title=title, handles=handles,
            margins=(0.8, 0.15, 0.95, 0.35 if flat else 0.45),
            gaps=(0.78 if flat else 0.16, 0.32), share_y=False if flat else "row",
        )  # fmt: skip
        for axes in grid.flat:
            axes.set_visible(False)
        for block, names in enumerate(blocks):
            for line, quantity in enumerate(quantities):
                for column, env_id in enumerate(names):
                    row = block * len(quantities) + line
                    axes = grid[(0, line) if flat else (row, column)]
                    axes.set_visible(True)
                    here = frame["env_id"] == env_id
                    part = frame[here & (frame["quantity"] == quantity)]
                    _costs_of_env(axes, part, frame, shown, untrained)
                    if line == 0:
                        axes.set_title(env_id, loc="left", pad=4)
                    last = line == len(quantities) - 1
                    axes.tick_params(labelbottom=flat or last, labelleft=column == 0)
                    if column == 0:
                        axes.set_ylabel(_costs_label(frame, quantity))
                    if column == len(names) - 1:
                        _at_least(axes, 0.05)
    return figure


def _costs_of_env(
    axes: Any,
    part: pd.DataFrame,
    frame: pd.DataFrame,
    methods: Methods,
    untrained: Collection[str],
) -> None:
    env_agents = frame[frame["env_id"].isin(part["env_id"].unique())]
    agents = [agent for agent, _, _ in panels(env_agents)]
    labels = [algorithm_label(algorithm) for _, algorithm, _ in panels(env_agents)]
    if len(set(labels)) < len(labels):
        labels = agents
    step = 0.7 / max(1, len(methods))
    axes.axhline(1.0, color="0.3", linewidth=0.8, linestyle="--", zorder=1)
    for number, (method, style) in enumerate(methods.items()):
        shift = (number - (len(methods) - 1) / 2) * step
        for row in part[part["method"] == method].to_dict("records"):
            _point(axes, agents.index(row["agent"]) + shift, row, style, row["agent"] in untrained)
    axes.set_xlim(-0.6, max(len(agents), 1) - 0.4)
    slanted = sum(len(label) for label in labels) > 28
    axes.set_xticks(range(len(agents)), labels)
    if slanted:
        for label in axes.get_xticklabels():
            label.set(rotation=30, ha="right")
    axes.grid(visible=False, axis="x")


def draw_pruned_costs(
    frame: pd.DataFrame, untrained: Collection[str], method: str, title: str
) -> Any:
    """Figures 2 and 3: time, energy and memory against the share of neurons removed.

    `frame` has the rows of `scaled_costs` from one runtime and host; panels of `untrained` agents
    are marked.
    """
    rows = frame[(frame["method"] == method) & frame["ratio"].notna()]
    with study_style():
        shown = [name for name in QUANTITIES if (rows["quantity"] == name).any()]
        handles = []
        for name in shown:
            estimated = bool(rows.loc[rows["quantity"] == name, "estimated"].any())
            label = QUANTITIES[name].label + (" (estimate)" if estimated else "")
            handles.append(handle(QUANTITIES[name]._replace(label=label)))
        grid = PanelGrid(
            panels(rows),
            title=title,
            x="neurons removed (%)",
            y="share of the float policy's",
            handles=[*handles, rule_handle("float policy")],
        )
        for agent, axes in grid.axes.items():
            axes.axhline(1.0, color="0.3", linewidth=0.8, linestyle="--", zorder=1)
            own = rows[rows["agent"] == agent]
            for number, quantity in enumerate(shown):
                line = own[own["quantity"] == quantity].sort_values("ratio")
                # Side by side, so that intervals at the same percentage can be told apart.
                shift = 0.7 * (number - (len(shown) - 1) / 2)
                _interval_line(axes, line, QUANTITIES[quantity], shift)
            if agent in untrained:
                note_untrained(axes, top=True)
        first = next(iter(grid.axes.values()))
        first.set_xlim(0, 100 * rows["ratio"].max() + 5)
        _at_least(first, 0.05)
    return grid.figure


def _point(axes: Any, x: float, row: dict[Any, Any], style: Styled, hollow: bool) -> None:
    color = UNTRAINED_COLOR if hollow else style.color
    if row["low"] == row["low"]:  # an interval is known
        axes.plot([x, x], [row["low"], row["high"]], color=color, linewidth=1.2, zorder=2)
    axes.plot(
        x, row["value"], marker=style.marker, color=color, linestyle="none", markersize=4,
        markerfacecolor="white" if hollow else color, markeredgewidth=0.9, zorder=3,
    )  # fmt: skip


def _interval_line(axes: Any, line: pd.DataFrame, style: Styled, shift: float) -> None:
    x = 100 * line["ratio"].to_numpy(dtype=float) + shift
    axes.vlines(x, line["low"], line["high"], color=style.color, linewidth=1.1)
    axes.plot(
        x, line["value"], color=style.color, marker=style.marker, markersize=2.6, linewidth=0.9
    )


def _hollow_handle() -> Any:
    from matplotlib.lines import Line2D

    return Line2D(
        [], [], color=UNTRAINED_COLOR, marker="o", markerfacecolor="white", linestyle="none",
        markersize=5, label="baseline untrained",
    )  # fmt: skip


def _costs_label(frame: pd.DataFrame, quantity: str) -> str:
    estimated = frame.loc[frame["quantity"] == quantity, "estimated"].any()
    return QUANTITIES[quantity].label + ("\n(estimate)" if estimated else "")


def _any_untrained(frame: pd.DataFrame, untrained: Collection[str]) -> bool:
    return bool(frame["agent"].isin(list(untrained)).any())


def _at_least(axes: Any, reach: float) -> None:
    """Widen the scale to at least this much on either side of the baseline."""
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, 1 - reach), max(high, 1 + reach))
