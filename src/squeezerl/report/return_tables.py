"""The study's Tables 1 to 3, the comparison with the published ones, and every cell, as text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pandas as pd

from squeezerl.analysis.figure_data import grid_shape, panels
from squeezerl.analysis.published import SOURCE
from squeezerl.records import Interval
from squeezerl.report.marks import ordered
from squeezerl.report.study_tables import StudyTable
from squeezerl.report.style import algorithm_label, short_label
from squeezerl.report.text import format_interval, format_number_interval

DASH = "–"
VERDICTS = {"keeps": " ✓", "loses": " ✗", "undecided": " ?"}
_BEST = {"best": " ★", "tied": " ☆"}
_LEGEND = (
    "✓ keeps at least 90 % of the return (normalised, all of the 95 % interval), ✗ loses it, "
    "? undecided."
)
_STARS = "★ is clearly the best quantization of its cell, ☆ not clearly worse than the best."
_RULES = {
    "mean": "the highest percentage whose mean return is at least 90 % of the baseline's (the "
    "study's rule)",
    "interval": "the highest percentage up to which the interval says at every one that 90 % of "
    "the return is kept",
}


def interval_of(row: Any, name: str) -> Interval | None:
    """Three columns of a row as an interval; `None` where one is missing."""
    figures = [row[f"{name}{bound}"] for bound in ("", "_low", "_high")]
    if any(pd.isna(figure) for figure in figures):
        return None
    estimate, low, high = (float(figure) for figure in figures)
    return Interval(estimate=estimate, low=low, high=high)


def method_name(method: str, ratio: Any) -> str:
    """For example "L2 55 %"."""
    return short_label(method) + (
        "" if ratio is None or pd.isna(ratio) else f" {100 * ratio:.0f} %"
    )


def percentage(ratio: Any) -> str:
    """A share of neurons; a dash where there is none."""
    return DASH if pd.isna(ratio) else f"{100 * ratio:.0f} %"


def who_header(frame: pd.DataFrame) -> tuple[str, ...]:
    """Titles that name a cell; the agent too where algorithm and environment do not tell."""
    return ("algorithm", "environment", *(("agent",) if _ambiguous(frame) else ()))


def who(frame: pd.DataFrame, agent: str, algorithm: str, env_id: str) -> tuple[str, ...]:
    """The cells below `who_header`."""
    name = (algorithm_label(algorithm), env_id)
    return (*name, agent) if _ambiguous(frame) else name


def _ambiguous(frame: pd.DataFrame) -> bool:
    seen = frame[["agent", "algorithm", "env_id"]].drop_duplicates()
    return bool(seen.duplicated(["algorithm", "env_id"]).any())


def returns_tables(table: pd.DataFrame) -> list[StudyTable]:
    """Table 1 as returns and as retention."""
    methods = ordered(table["method"])
    compressed = [method for method in methods if method != "float"]

    def returned(row: Any) -> str:
        interval = interval_of(row, "mean_return")
        text = DASH if interval is None else format_number_interval(interval)
        return text + VERDICTS.get(row["verdict"], "") + _BEST.get(row["best"], "")

    def retained(row: Any) -> str:
        if row["trained"] is not None and not pd.isna(row["trained"]) and not row["trained"]:
            return "untrained"
        return format_interval(interval_of(row, "retention")) + VERDICTS.get(row["verdict"], "")

    return [
        _by_method(
            table, methods, returned, "table1",
            "Table 1: mean return of quantized policies",
            f"Mean return and its 95 % interval. {_LEGEND} {_STARS} Without a mark: the baseline, "
            "or one that is not clearly better than random.",
        ),
        _by_method(
            table[table["method"] != "float"], compressed, retained, "table1-retention",
            "Table 1 as retention",
            f"Normalised retention, 0 is random and 100 % the float policy. {_LEGEND}",
        ),
    ]  # fmt: skip


def _by_method(
    table: pd.DataFrame,
    methods: Sequence[str],
    say: Callable[[Any], str],
    name: str,
    title: str,
    note: str,
) -> StudyTable:
    rows = []
    found = {(row["agent"], row["method"]): row for row in table.to_dict("records")}
    for agent, algorithm, env_id in panels(table):
        cells = [
            say(found[agent, method]) if (agent, method) in found else DASH for method in methods
        ]
        rows.append((*who(table, agent, algorithm, env_id), *cells))
    head = who_header(table)
    return StudyTable(
        name=name,
        title=title,
        note=note,
        header=(*head, *(short_label(method) for method in methods)),
        rows=tuple(rows),
        left=tuple(range(len(head))),
        frame=table,
    )


def pruned_tables(table: pd.DataFrame) -> list[StudyTable]:
    """Table 2 and Table 3 by both rules."""
    tables = []
    for rule, words in _RULES.items():
        frame = table[table["rule"] == rule]
        head = who_header(frame)
        rows = []
        for agent, algorithm, env_id in panels(frame):
            row = frame[frame["agent"] == agent].iloc[0].to_dict()
            baseline, pruned = (interval_of(row, name) for name in ("baseline", "pruned"))
            rows.append(
                (
                    *who(frame, agent, algorithm, env_id),
                    DASH if baseline is None else format_number_interval(baseline),
                    DASH if pruned is None else format_number_interval(pruned),
                    percentage(row["l1_ratio"]),
                    percentage(row["l2_ratio"]),
                    _chosen(row),
                    format_interval(interval_of(row, "retention")),
                )
            )
        columns = ("baseline", "pruned", "L1", "L2", "chosen", "retention [95 %]")
        tables.append(
            StudyTable(
                name=f"table2-{rule}",
                title=f"Table 2: mean return of pruned policies, rule “{rule}”",
                note=f"Chosen: {words}. A dash: none will do. {_LEGEND}",
                header=(*head, *columns),
                rows=tuple(rows),
                left=tuple(range(len(head))),
                frame=frame,
            )
        )
    tables += [_best_table(table[table["rule"] == rule], rule) for rule in _RULES]
    return tables


def _chosen(row: Any) -> str:
    if _untrained(row["trained"]):
        return "untrained"
    if row["norm"] is None or pd.isna(row["ratio"]):
        return DASH
    norm = "L1 or L2" if row["norm"] == "tie" else short_label(str(row["norm"]))
    return f"{norm} {percentage(row['ratio'])}" + VERDICTS.get(row["verdict"], "")


def _untrained(trained: Any) -> bool:
    return trained is not None and not pd.isna(trained) and not trained


def _best_table(frame: pd.DataFrame, rule: str) -> StudyTable:
    """Environments by algorithms where they fill a grid, else one row a cell."""
    from squeezerl.analysis.tables import BEST_COLUMNS

    cells = panels(frame)
    chosen = {row["agent"]: _chosen(row) for row in frame.to_dict("records")}
    shape = grid_shape(cells)
    header: tuple[str, ...]
    if shape is not None:
        environments, algorithms = shape
        agents = {(algorithm, env_id): agent for agent, algorithm, env_id in cells}
        header = ("environment", *(algorithm_label(name) for name in algorithms))
        rows = [
            (env_id, *(chosen.get(agents.get((name, env_id), ""), DASH) for name in algorithms))
            for env_id in environments
        ]
        left: Iterable[int] = range(len(header))
    else:
        header = (*who_header(frame), "chosen")
        rows = [(*who(frame, *cell), chosen[cell[0]]) for cell in cells]
        left = range(len(header))
    return StudyTable(
        name=f"table3-{rule}",
        title=f"Table 3: best pruning of each cell, rule “{rule}”",
        note=f"Chosen: {_RULES[rule]}. A dash: none will do. {_LEGEND}",
        header=header,
        rows=tuple(rows),
        left=tuple(left),
        frame=frame[list(BEST_COLUMNS)],
    )


def comparison_tables(comparison: pd.DataFrame, percentages: pd.DataFrame) -> list[StudyTable]:
    """Ours beside the published figures, cell by cell."""
    head = who_header(comparison)
    rows = []
    for cell in panels(comparison):
        for row in comparison[comparison["agent"] == cell[0]].to_dict("records"):
            change = interval_of(row, "change")
            rows.append(
                (
                    *who(comparison, *cell),
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
    columns = ("method", "published baseline", "published", "published change", "our change",
               "our retention", "direction", "90 % kept")  # fmt: skip
    tables = [
        StudyTable(
            name="comparison",
            title="Beside the published tables",
            note=f"Published: {SOURCE}, Tables 1 and 2. Change: of the mean return, relative to "
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
            trained = "untrained" if _untrained(row["trained"]) else ""
            ratios = (row["published_ratio"], row["ratio_mean"], row["ratio_interval"])
            rows.append(
                (
                    *who(percentages, *cell),
                    short_label(row["norm"]),
                    *(percentage(ratio) for ratio in ratios),
                    trained,
                )
            )
    head = who_header(percentages)
    tables.append(
        StudyTable(
            name="comparison-percentages",
            title="Percentages that pruning reached, beside the published ones",
            note=f"Published: {SOURCE}, Table 2. Mean: {_RULES['mean']}. Interval: "
            f"{_RULES['interval']}.",
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
    return f"{100 * share:+.0f} %".replace("-", "−")


def _signed_interval(interval: Interval) -> str:
    low, high = (f"{100 * end:+.0f}".replace("-", "−") for end in (interval.low, interval.high))
    return f"{_signed(interval.estimate)} [{low}, {high}]"


def cells_table(cells: pd.DataFrame) -> StudyTable:
    """Everything that was evaluated, one row each."""
    head = who_header(cells)
    rows = []
    for cell in panels(cells):
        for row in cells[cells["agent"] == cell[0]].to_dict("records"):
            interval = interval_of(row, "mean_return")
            retention = format_interval(interval_of(row, "retention"))
            if _untrained(row["trained"]):
                retention = "untrained"
            times = row["file_times"]
            rows.append(
                (
                    *who(cells, *cell),
                    method_name(str(row["method"]), row["ratio"]),
                    f"{row['train_seeds']}",
                    f"{row['episodes']}",
                    DASH if interval is None else format_number_interval(interval),
                    retention,
                    str(row["verdict"]) if isinstance(row["verdict"], str) else DASH,
                    DASH if pd.isna(row["file_bytes"]) else f"{row['file_bytes']:,.0f}",
                    DASH if pd.isna(times) else f"{times:.2f}x",
                )
            )
    columns = ("method", "trainings", "episodes each", "return [95 %]", "retention [95 %]",
               "verdict", "bytes", "smaller")  # fmt: skip
    return StudyTable(
        name="cells",
        title="All policies",
        note="Retention is normalised: 0 is random, 100 % the float policy. Verdict for 90 %. "
        "Bytes of the model file, mean over the trainings.",
        header=(*head, *columns),
        rows=tuple(rows),
        left=(*range(len(head) + 1), len(head) + 5),
        frame=cells,
    )
