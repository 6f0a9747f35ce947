"""Our results beside the published ones, as text."""

from __future__ import annotations

from typing import Any

import pandas as pd

from squeezerl.analysis.figure_data import panels
from squeezerl.analysis.published import SOURCE
from squeezerl.records import Interval
from squeezerl.report.return_tables import (
    DASH,
    RULES,
    Who,
    interval_of,
    is_untrained,
    method_name,
    percentage,
)
from squeezerl.report.study_tables import StudyTable
from squeezerl.report.style import short_label
from squeezerl.report.text import format_interval


def comparison_tables(comparison: pd.DataFrame, percentages: pd.DataFrame) -> list[StudyTable]:
    """Ours beside the published figures, cell by cell."""
    who = Who(comparison)
    head = who.header
    rows = []
    for cell in panels(comparison):
        for row in comparison[comparison["agent"] == cell[0]].to_dict("records"):
            change = interval_of(row, "change")
            rows.append(
                (
                    *who.row(*cell),
                    _compared_method(row),
                    f"{row['published_baseline']:,.1f}",
                    f"{row['published_return']:,.1f}",
                    _signed(row["published_change"]),
                    DASH if change is None else _signed_interval(change),
                    format_interval(interval_of(row, "retention")),
                    str(row["direction_agrees"]),
                    str(row["keeps_agrees"]),
                )
            )
    columns = ("method", "their baseline", "theirs", "their change", "our change",
               "our retention", "direction", "90 % kept")  # fmt: skip
    tables = [
        StudyTable(
            name="comparison",
            title="Beside the published tables",
            note=f"Theirs: {SOURCE}, Tables 1 and 2. Change: of the mean return, relative to "
            "the baseline's. Direction: whether the return rises or falls, ours by the interval of "
            "the normalised retention; 90 % kept: the published means against our verdict.",
            header=(*head, *columns),
            rows=tuple(rows),
            left=(*range(len(head) + 1), len(head) + 6, len(head) + 7),
            frame=comparison,
        )
    ]
    rows = []
    for cell in panels(percentages):
        for row in percentages[percentages["agent"] == cell[0]].to_dict("records"):
            trained = "untrained" if is_untrained(row["trained"]) else ""
            ratios = (row["published_ratio"], row["ratio_mean"], row["ratio_interval"])
            rows.append(
                (
                    *who.row(*cell),
                    short_label(row["norm"]),
                    *(percentage(ratio) for ratio in ratios),
                    trained,
                )
            )
    who = Who(percentages)
    head = who.header
    tables.append(
        StudyTable(
            name="comparison-percentages",
            title="Percentages that pruning reached, beside the published ones",
            note=f"Published: {SOURCE}, Table 2. Mean: {RULES['mean']}. Interval: "
            f"{RULES['interval']}.",
            header=(*head, "norm", "published", "ours, mean", "ours, interval", "baseline"),
            rows=tuple(rows),
            left=(*range(len(head) + 1), len(head) + 4),
            frame=percentages,
        )
    )
    return tables


def _compared_method(row: Any) -> str:
    if row["method"] != "pruned":
        return short_label(str(row["method"]))
    return method_name(str(row["norm"]), row["ratio"])


def _signed(share: float) -> str:
    return f"{100 * share:+.0f} %"


def _signed_interval(interval: Interval) -> str:
    low, high = (f"{100 * end:+.0f}" for end in (interval.low, interval.high))
    return f"{_signed(interval.estimate)} [{low}, {high}]"
