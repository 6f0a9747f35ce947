"""What a study says first: its best method in a few numbers, and everything that it tried."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from squeezerl.analysis.frames import StudyData, interval_of
from squeezerl.analysis.methods import BASELINE, REFERENCE
from squeezerl.analysis.retention import THRESHOLD
from squeezerl.analysis.study_analysis import StudyAnalysis
from squeezerl.report.chart import Axis, Chart, Line, Mark
from squeezerl.report.document import Block, Figure, Number, Numbers, Paragraph
from squeezerl.report.study_tables import method_name
from squeezerl.report.text import DASH, algorithm_label, format_interval

_PICTURE = "figures/retention-bytes.png"


def first_screen(data: StudyData, analysis: StudyAnalysis) -> tuple[Block, ...]:
    """A sentence about the best method, five numbers, and the return against bytes of all cells."""
    sentence, numbers = _best(data, analysis)
    chart = retention_chart(data, analysis)
    figure = Figure(
        title="Retention against bytes, every policy",
        path=_PICTURE,
        alt="Return kept against how many times fewer bytes each policy has, in all cells whose "
        "baseline counts as trained; the last table has the numbers.",
        caption="Up and to the right is better. Cells without a trained baseline have no "
        "retention. Bars are 95 % intervals.",
        chart=chart,
    )
    return (Paragraph(sentence), numbers, *([figure] if chart.marks else ()))


def _best(data: StudyData, analysis: StudyAnalysis) -> tuple[str, Numbers]:
    """The method with the fewest bytes whose interval of the mean retention is above 90 %."""
    cells = analysis.cells
    baselines = cells[cells["method"] == BASELINE]
    trained = int((baselines["trained"] == True).sum())  # noqa: E712 - unknown is missing
    count = cells["agent"].nunique()
    share = f"{trained} of {len(baselines)}"
    training = Number(share, "baselines are trained", _lengths(data))
    found = []
    for row in analysis.aggregates.to_dict("records"):
        own = _of(cells, row)
        times = own.loc[own["trained"] == True, "weight_times"].median()  # noqa: E712
        if row["method"] != BASELINE and not math.isnan(row["iqm"]):
            found.append((row["iqm_low"] >= THRESHOLD, times, row))
    if not found:
        said = f"No method has a retention: {share} baselines count as trained."
        return said, Numbers((training,))
    kept = [one for one in found if one[0]]
    _, times, row = max(kept, key=lambda one: one[1]) if kept else max(
        found, key=lambda one: one[2]["iqm"]
    )  # fmt: skip
    method = method_name(data.methods, row["method"], row["ratio"])
    interval = interval_of(row, "iqm")
    assert interval is not None
    start = (
        f"{method} has the fewest bytes of all methods that clearly keep {THRESHOLD:.0%} of the "
        "return on average"
        if kept
        else f"No method clearly keeps {THRESHOLD:.0%} of the return on average; {method} keeps "
        "the most"
    )
    over = f"over the {int(row['tasks'])} trained {'cell' if row['tasks'] == 1 else 'cells'}"
    cells_lose = int(_of(cells, row)["verdict"].eq("loses").sum())
    but = f", but clearly less in {cells_lose} of them" if cells_lose else ""
    sentence = f"{start}, {over} of {count}: {format_interval(interval)}{but}. {analysis.basis}"
    costs = _of(data.costs, row)
    speed, runtime = _most(costs, "latency_times")
    energy, _ = _most(costs, "energy_times")
    estimated = bool(costs["energy_estimated"].eq(True).any())
    return sentence, Numbers(
        (
            Number(_times(times), "smaller", f"{method}, median over trained cells"),
            Number(
                _times(speed), "as fast", f"median, in {runtime}" if runtime else "not measured"
            ),
            Number(
                f"{interval.estimate:.1%}",
                "of the return kept",
                f"interquartile mean [{100 * interval.low:.1f}, {100 * interval.high:.1f}] {over}",
            ),
            Number(
                _times(energy),
                "less energy",
                "not measured" if math.isnan(energy) else "an estimate" if estimated else "median",
            ),
            training,
        )
    )


def _of(frame: pd.DataFrame, row: dict[Any, Any]) -> pd.DataFrame:
    """The rows of the same method and ratio."""
    ratio = frame["ratio"].isna() if math.isnan(row["ratio"]) else frame["ratio"] == row["ratio"]
    return frame[(frame["method"] == row["method"]) & ratio]


def _most(costs: pd.DataFrame, name: str) -> tuple[float, str]:
    """The median over cells in the runtime where it is largest, and that runtime."""
    medians = costs.groupby("runtime")[name].median().dropna()
    return (math.nan, "") if medians.empty else (float(medians.max()), str(medians.idxmax()))


def _times(value: float) -> str:
    return DASH if math.isnan(value) else f"{value:.2f}×"


def _lengths(data: StudyData) -> str:
    """How long agents were trained, in a few words."""
    steps = data.trained_steps["steps"]
    if steps.empty:
        return "trained elsewhere"
    low, high = int(steps.min()), int(steps.max())
    return f"for {low:,} steps" if low == high else f"for {low:,} to {high:,} steps"


def retention_chart(data: StudyData, analysis: StudyAnalysis) -> Chart:
    """One mark for each policy that has a retention."""
    marks = []
    for row in analysis.cells.to_dict("records"):
        record, kept = data.methods[row["method"]], interval_of(row, "retention")
        if record.group == REFERENCE or kept is None or math.isnan(row["weight_times"]):
            continue
        costs = _of(data.costs[data.costs["agent"] == row["agent"]], row)
        latency = costs.groupby("runtime")["latency_s"].median().dropna()
        tip = [
            f"{method_name(data.methods, row['method'], row['ratio'])}: "
            f"{algorithm_label(row['algorithm'])} on {row['env_id']}",
            f"{row['weight_bytes']:,.0f} bytes, {row['weight_times']:.2f} times fewer",
            f"keeps {format_interval(kept)} over {row['over']}: {row['verdict']}",
            *(f"{1e6 * value:.1f} µs in {name}" for name, value in latency.items()),
        ]
        marks.append(
            Mark(
                x=row["weight_times"], y=kept.estimate, y_span=(kept.low, kept.high),
                style=record, tip="\n".join(tip), faint=True,
            )
        )  # fmt: skip
    x = Axis.over(
        [1.0, *(mark.x for mark in marks)], "times fewer bytes than the float policy", log=True
    )
    y = Axis.over([0.0, 1.0, *(mark.y for mark in marks)], "return kept")
    limit = ((x.low, THRESHOLD), (x.high, THRESHOLD))
    # Intervals of policies that vary much would press everything else together.
    clipped = tuple(
        Mark(
            x=mark.x, y=mark.y, style=mark.style, tip=mark.tip, faint=True,
            y_span=(max(mark.y_span[0], y.low), min(mark.y_span[1], y.high)),
        )
        for mark in marks
        if mark.y_span
    )  # fmt: skip
    return Chart(
        x=x,
        y=y.with_texts([f"{value:.0%}" for value, _ in y.ticks]),
        marks=clipped,
        lines=(Line(points=limit, label=f"{THRESHOLD:.0%}", dashed=True),),
        height=420,
    )
