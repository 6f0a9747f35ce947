"""Figures of returns: against pruning, over the training, and over all cells at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd

from squeezerl.analysis.figure_data import mean_curve, panels
from squeezerl.analysis.methods import CONSTANT, RANDOM
from squeezerl.analysis.retention import THRESHOLD
from squeezerl.report.panels import (
    Methods,
    PanelGrid,
    Style,
    Styled,
    handle,
    mark_untrained,
    note_untrained,
    ordered,
    panel_figure,
    rule_handle,
    study_style,
)

_RETENTION_SCALE = (-0.3, 1.5)
_LEVELS = {RANDOM: ("random policy", ":"), CONSTANT: ("best constant action", "-.")}


def draw_retention(
    frame: pd.DataFrame, methods: Methods, untrained: Collection[str], title: str
) -> Any:
    """What is kept of the return against the share of neurons removed, with 95 % bands.

    `frame` is that of `retention_by_ratio`; panels of `untrained` agents are marked.
    """
    with study_style():
        shown = ordered(frame["method"], methods)
        handles = [handle(methods[name]) for name in shown]
        low = float(np.nanmin(frame["low"].to_numpy(dtype=float), initial=0.0))
        high = float(np.nanmax(frame["high"].to_numpy(dtype=float), initial=1.0))
        # A collapsed or lucky policy must not squeeze the rest: the scale ends there, and says so.
        cut = low < _RETENTION_SCALE[0] or high > _RETENTION_SCALE[1]
        grid = PanelGrid(
            panels(frame),
            title=title,
            x="neurons removed (%)",
            y="retention (0 random, 1 float policy" + (", cut at the edges)" if cut else ")"),
            handles=[*handles, rule_handle(f"{100 * THRESHOLD:.0f} % of the return")],
        )
        for agent, axes in grid.axes.items():
            axes.axhline(THRESHOLD, color="0.3", linewidth=0.8, linestyle="--", zorder=1)
            axes.axhline(0.0, color="0.6", linewidth=0.6, zorder=1)
            if agent in untrained:
                mark_untrained(axes)
                continue
            own = frame[frame["agent"] == agent]
            for method in shown:
                line = own[own["method"] == method].sort_values("ratio")
                if len(line):
                    _band(axes, 100 * line["ratio"], line, methods[method])
        first = next(iter(grid.axes.values()))
        first.set_xlim(0, 100 * frame["ratio"].max() + 3)
        first.set_ylim(max(low, _RETENTION_SCALE[0]) - 0.05, min(high, _RETENTION_SCALE[1]) + 0.05)
    return grid.figure


def draw_curves(
    curves: pd.DataFrame,
    methods: Methods,
    levels: Mapping[str, Mapping[str, float]],
    untrained: Collection[str],
    title: str,
) -> Any:
    """Learning curves: each training thin, the mean of each method thick.

    `curves` are those of `learning_curves`, `levels` those of `reference_levels`; panels of
    `untrained` agents are marked.
    """
    with study_style():
        steps = curves["timesteps"].max()
        unit, name = (1e6, "million steps") if steps >= 2e5 else (1e3, "thousand steps")
        shown = ordered(curves["method"], methods)
        handles = [handle(methods[name], marker=False) for name in shown]
        handles += [
            rule_handle(label, dash) for name, (label, dash) in _LEVELS.items() if levels.get(name)
        ]
        grid = PanelGrid(
            panels(curves),
            title=title,
            x=f"training ({name})",
            y="return",
            handles=handles,
            share_y=False,
        )
        for agent, _, env_id in panels(curves):
            axes = grid.axes[agent]
            for name, (_, dash) in _LEVELS.items():
                level = levels.get(name, {}).get(env_id)
                if level is not None:
                    axes.axhline(level, color="0.3", linewidth=0.8, linestyle=dash, zorder=1)
            for method in shown:
                own = curves[(curves["agent"] == agent) & (curves["method"] == method)]
                style = methods[method]
                if own["train_seed"].nunique(dropna=False) > 1:
                    for _, single in own.groupby("train_seed", dropna=False):
                        axes.plot(
                            single["timesteps"] / unit, single["value"], color=style.color,
                            linewidth=0.5, alpha=0.45,
                        )  # fmt: skip
                mean = mean_curve(own)
                axes.plot(
                    mean["timesteps"] / unit, mean["value"], color=style.color, linewidth=1.6,
                    linestyle=style.dash,
                )  # fmt: skip
            if agent in untrained:
                note_untrained(axes, top=False)
            axes.get_yaxis().set_major_formatter(lambda value, _: _thousands(value))
            axes.get_yaxis().set_major_locator(_few_ticks())
            axes.get_xaxis().set_major_locator(_few_ticks())
    return grid.figure


def _few_ticks() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=4, steps=[1, 2, 2.5, 5, 10])


def _thousands(value: float) -> str:
    return f"{value / 1000:g}k" if abs(value) >= 10_000 else f"{value:g}"


def _band(axes: Any, x: pd.Series, line: pd.DataFrame, style: Styled, size: float = 2.6) -> None:
    if len(line) == 1:
        axes.vlines(x, line["low"], line["high"], color=style.color, linewidth=1.2)
    else:
        axes.fill_between(x, line["low"], line["high"], color=style.color, alpha=0.22, linewidth=0)
    axes.plot(
        x, line["value"], color=style.color, marker=style.marker, markersize=size,
        linewidth=1.1, linestyle=style.dash,
    )  # fmt: skip


def draw_iqm(aggregates: pd.DataFrame, methods: Methods, title: str) -> Any:
    """The interquartile mean over all trained cells, for each method with its 95 % interval.

    `aggregates` are those of `aggregate_table`.
    """
    rows = aggregates[~aggregates["method"].isin((RANDOM, CONSTANT))]
    by_ratio = [name for name in ordered(rows["method"], methods) if _has_ratios(rows, name)]
    whole = [name for name in ordered(rows["method"], methods) if name not in by_ratio]
    rule = rule_handle(f"{100 * THRESHOLD:.0f} % of the return")
    handles = [*(handle(methods[name]) for name in by_ratio), rule]
    sides = [side for side in (whole, by_ratio) if side]
    with study_style():
        figure, grid = panel_figure(
            [1.2 + 0.35 * len(side) if side is whole else 4.2 for side in sides],
            2.6, title=title, handles=handles, margins=(0.8, 0.15, 0.85, 0.7),
        )  # fmt: skip
        for axes, side in zip(grid[0], sides, strict=True):
            axes.axhline(THRESHOLD, color="0.3", linewidth=0.8, linestyle="--", zorder=1)
            for number, method in enumerate(side):
                line = rows[rows["method"] == method].sort_values("ratio")
                line = line.rename(columns={"iqm": "value", "iqm_low": "low", "iqm_high": "high"})
                style = methods[method]
                x = pd.Series([float(number)]) if side is whole else 100 * line["ratio"]
                _band(axes, x, line, style, size=4.5 if side is whole else 3.0)
            if side is whole:
                axes.set_xlim(-0.6, len(side) - 0.4)
                axes.set_xticks(range(len(side)), [methods[name].short for name in side])
                for label in axes.get_xticklabels():
                    label.set(rotation=30, ha="right")
            else:
                axes.set_xlabel("neurons removed (%)")
                axes.set_xlim(0, 100 * rows["ratio"].max() + 3)
        grid[0, 0].set_ylabel("IQM of the score\n(0 random, 1 float policy)")
    return figure


def draw_profiles(profiles: pd.DataFrame, methods: Methods, title: str) -> Any:
    """Performance profiles: the share of runs above a score, one panel for each pruning method.

    Methods that remove no neurons share the first panel. `profiles` are those of `profile_table`.
    """
    names = ordered(profiles["method"], methods)
    by_ratio = [name for name in names if _has_ratios(profiles, name)]
    whole = [name for name in names if name not in by_ratio]
    sides = [*([whole] if whole else []), *([name] for name in by_ratio)]
    ratios = sorted(profiles["ratio"].dropna().unique())
    shades = dict(zip(ratios, _shades(len(ratios)), strict=True))
    handles = [
        *(handle(methods[name], marker=False) for name in whole),
        *(
            handle(Style(f"{100 * ratio:.0f} %", shades[ratio], ""), marker=False)
            for ratio in ratios
        ),
        rule_handle(f"{100 * THRESHOLD:.0f} % of the return"),
    ]
    with study_style():
        figure, grid = panel_figure(
            [2.7] * len(sides), 2.4, title=title, handles=handles, margins=(0.8, 0.15, 0.85, 0.55)
        )
        for axes, side in zip(grid[0], sides, strict=True):
            axes.axvline(THRESHOLD, color="0.3", linewidth=0.8, linestyle="--", zorder=1)
            for method in side:
                curves = profiles[profiles["method"] == method].groupby("ratio", dropna=False)
                for ratio, curve in curves:
                    _steps(axes, curve, methods[method].color if side is whole else shades[ratio])
            axes.set_title(
                "no neurons removed" if side is whole else methods[side[0]].label,
                loc="left", pad=4,
            )  # fmt: skip
            axes.set_xlim(profiles["threshold"].min(), profiles["threshold"].max())
            axes.set_xticks(np.linspace(0, 1, 6))
            axes.set_ylim(-0.02, 1.02)
            axes.set_xlabel("score τ (0 random, 1 float policy)")
        grid[0, 0].set_ylabel("share of runs above τ")
    return figure


def _shades(count: int) -> list[str]:
    """Light to dark, as more is removed."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return [to_hex(colormaps["viridis"](x)) for x in np.linspace(0.9, 0.05, count)]


def _steps(axes: Any, curve: pd.DataFrame, color: str) -> None:
    x = curve["threshold"]
    axes.fill_between(x, curve["low"], curve["high"], color=color, alpha=0.18, linewidth=0)
    axes.plot(x, curve["value"], color=color, linewidth=1.5)


def _has_ratios(frame: pd.DataFrame, method: str) -> bool:
    return bool(frame.loc[frame["method"] == method, "ratio"].notna().any())
