"""Return against bytes: what every candidate keeps, and what it weighs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from squeezerl.report.style import METHODS
from squeezerl.search.result import SqueezeResult

_SHOWN = ("ptdq", "ptsq", "l1", "l2")


@dataclass(frozen=True)
class ParetoPoint:
    """A candidate's bytes on disk, and its normalised retention with its interval."""

    name: str
    method: str
    file_bytes: int
    retention: float
    low: float
    high: float
    chosen: bool


def pareto_points(result: SqueezeResult) -> tuple[ParetoPoint, ...]:
    """The candidates that have a retention, in the order they were tried."""
    points = []
    for trial in result.trials:
        if trial.judgement is None or trial.size is None:
            continue
        interval = trial.judgement.retention.normalized
        if interval is not None:
            points.append(
                ParetoPoint(
                    trial.recipe.name,
                    trial.recipe.record.name,
                    trial.size.file_bytes,
                    interval.estimate,
                    interval.low,
                    interval.high,
                    trial.recipe == result.chosen,
                )
            )
    return tuple(points)


def _confirmed(result: SqueezeResult) -> str:
    interval = result.confirmation.retention.normalized if result.confirmation else None
    return f"{interval.estimate:.1%} on fresh seeds" if interval else ""


def draw_pareto(result: SqueezeResult, path: Path) -> None:
    """Draw the points to a picture; its format follows from the name (PNG, SVG, PDF)."""
    from matplotlib.figure import Figure

    points = pareto_points(result)
    figure = Figure(figsize=(8, 5), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    axes.axhline(
        result.retain, color="0.4", linestyle="--", linewidth=1, label=f"asked: {result.retain:.0%}"
    )
    for method in _SHOWN:
        label, color, marker, _ = METHODS[method]
        chosen = [point for point in points if point.method == method]
        if not chosen:
            continue
        retentions = [point.retention for point in chosen]
        axes.errorbar(
            [point.file_bytes / 1000 for point in chosen],
            retentions,
            # A percentile interval may exclude the estimate by a hair.
            yerr=[
                [max(0.0, point.retention - point.low) for point in chosen],
                [max(0.0, point.high - point.retention) for point in chosen],
            ],
            fmt=marker, color=color, label=label, markersize=6, capsize=2, linewidth=1,
        )  # fmt: skip
    axes.plot(
        result.baseline_size.file_bytes / 1000, 1.0, marker="*", markersize=14, color="black",
        linestyle="none", label="float policy",
    )  # fmt: skip
    for point in points:
        if point.chosen:
            axes.annotate(
                f"chosen: {point.name}, {point.file_bytes:,} bytes\n{_confirmed(result)}",
                (point.file_bytes / 1000, point.retention),
                xytext=(12, -34), textcoords="offset points",
                arrowprops={"arrowstyle": "->", "color": "0.3"},
            )  # fmt: skip
    axes.set_xscale("log")
    ticks = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
    low, high = axes.get_xlim()
    axes.set_xticks([t for t in ticks if low <= t <= high], minor=False)
    axes.get_xaxis().set_major_formatter(lambda value, _: f"{value:g}")
    axes.get_xaxis().set_minor_formatter(lambda value, _: "")
    axes.set_xlabel("policy.onnx (kB, logarithmic)")
    axes.set_ylabel("retention: 0 is random, 1 is the float policy")
    axes.set_title(f"{result.source.label.upper()} on {result.environment.id}", loc="left")
    axes.grid(visible=True, color="0.9")
    axes.legend(frameon=False, fontsize=9)
    figure.savefig(path)
