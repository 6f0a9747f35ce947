"""The paper's Tables 1 to 3 from our results, with whatever else was run, and beside its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from squeezerl.analysis.figure_data import grid_shape, panels
from squeezerl.analysis.frames import interval_of
from squeezerl.analysis.methods import BASELINE, method_record
from squeezerl.analysis.published import SOURCE
from squeezerl.analysis.tables import BEST_COLUMNS, of_one_step
from squeezerl.records import Interval
from squeezerl.report.document import Table
from squeezerl.report.panels import Methods, ordered
from squeezerl.report.study_tables import Who, is_untrained, method_name, return_or_dash
from squeezerl.report.text import DASH, algorithm_label, format_interval

_VERDICTS = {"keeps": " ✓", "loses": " ✗", "undecided": " ?"}
_BEST = {"best": " ★", "tied": " ☆"}
_LEGEND = (
    "✓ keeps at least 90 % of the return (normalised, all of the 95 % interval), ✗ loses it, "
    "? undecided."
)
_STARS = "★ is clearly the best quantization of its cell, ☆ not clearly worse than the best."
_RULES = {
    "mean": "the highest percentage whose mean return is at least 90 % of the baseline's (the "
    "paper's rule)",
    "interval": "the highest percentage up to which, at every percentage that was tried, the "
    "interval says that 90 % of the return is kept",
}


def returns_tables(table: pd.DataFrame, methods: Methods) -> list[Table]:
    """Table 1 as returns and as retention."""

    def returned(row: Any) -> str:
        text = return_or_dash(interval_of(row, "mean_return"))
        return text + _VERDICTS.get(row["verdict"], "") + _BEST.get(row["best"], "")

    def retained(row: Any) -> str:
        if is_untrained(row["trained"]):
            return "untrained"
        return format_interval(interval_of(row, "retention")) + _VERDICTS.get(row["verdict"], "")

    names = ordered(table["method"], methods)
    return [
        _by_method(
            table, names, methods, returned, "table1",
            "Table 1: mean return of quantized policies",
            f"Mean return and its 95 % interval. {_LEGEND} {_STARS} Without a mark: the baseline, "
            "or one whose baseline does not count as trained.",
        ),
        _by_method(
            table[table["method"] != BASELINE], [name for name in names if name != BASELINE],
            methods, retained, "table1-retention", "Table 1 as retention",
            f"Normalised retention, 0 is random and 100 % the float policy. {_LEGEND}",
        ),
    ]  # fmt: skip


def _by_method(
    table: pd.DataFrame,
    names: Sequence[str],
    methods: Methods,
    say: Callable[[Any], str],
    name: str,
    title: str,
    note: str,
) -> Table:
    """One row for each agent and one column for each method."""
    who = Who(table)
    found = {(row["agent"], row["method"]): row for row in table.to_dict("records")}
    rows = [
        (
            *who.row(agent, algorithm, env_id),
            *(say(found[agent, own]) if (agent, own) in found else DASH for own in names),
        )
        for agent, algorithm, env_id in panels(table)
    ]
    return Table(
        name=name,
        title=title,
        note=note,
        header=(*who.header, *(methods[own].short for own in names)),
        rows=tuple(rows),
        left=tuple(range(len(who.header))),
        frame=table,
    )


def pruned_tables(table: pd.DataFrame, norms: Sequence[str], methods: Methods) -> list[Table]:
    """Table 2 and Table 3 by both rules, for these pruning methods."""
    by_rule = {rule: table[table["rule"] == rule] for rule in _RULES}
    return [
        *(_pruned_table(frame, rule, norms, methods) for rule, frame in by_rule.items()),
        *(_best_table(frame, rule, norms, methods) for rule, frame in by_rule.items()),
    ]


def _pruned_table(frame: pd.DataFrame, rule: str, norms: Sequence[str], methods: Methods) -> Table:
    who = Who(frame)
    rows = [
        (
            *cell,
            *(return_or_dash(interval_of(row, name)) for name in ("baseline", "pruned")),
            *(_percentage(row[f"{norm}_ratio"]) for norm in norms),
            _chosen(row, norms, methods),
            format_interval(interval_of(row, "retention")),
        )
        for cell, row in who.rows
    ]
    reached = (methods[norm].short for norm in norms)
    return Table(
        name=f"table2-{rule}",
        title=f"Table 2: mean return of pruned policies, rule “{rule}”",
        note=f"Chosen: {_RULES[rule]}. A dash: none will do. {_LEGEND}",
        header=(*who.header, "baseline", "pruned", *reached, "chosen", "retention [95 %]"),
        rows=tuple(rows),
        left=tuple(range(len(who.header))),
        frame=frame,
    )


def _best_table(frame: pd.DataFrame, rule: str, norms: Sequence[str], methods: Methods) -> Table:
    """Environments by algorithms where they fill a grid, else one row for each cell."""
    cells = panels(frame)
    chosen = {row["agent"]: _chosen(row, norms, methods) for row in frame.to_dict("records")}
    header: tuple[str, ...]
    if (shape := grid_shape(cells)) is not None:
        environments, algorithms = shape
        agents = {(algorithm, env_id): agent for agent, algorithm, env_id in cells}
        header = ("environment", *(algorithm_label(name) for name in algorithms))
        rows = [
            (env_id, *(chosen.get(agents.get((name, env_id), ""), DASH) for name in algorithms))
            for env_id in environments
        ]
    else:
        who = Who(frame)
        header = (*who.header, "chosen")
        rows = [(*who.row(*cell), chosen[cell[0]]) for cell in cells]
    return Table(
        name=f"table3-{rule}",
        title=f"Table 3: best pruning of each cell, rule “{rule}”",
        note=f"Chosen: {_RULES[rule]}. A dash: none will do. {_LEGEND}",
        header=header,
        rows=tuple(rows),
        left=tuple(range(len(header))),
        frame=frame[list(BEST_COLUMNS)],
    )


def _chosen(row: Any, norms: Sequence[str], methods: Methods) -> str:
    if is_untrained(row["trained"]):
        return "untrained"
    if row["norm"] is None or pd.isna(row["ratio"]):
        return DASH
    names = [row["norm"]]
    if row["norm"] == "tie":
        names = [norm for norm in of_one_step(norms) if row[f"{norm}_ratio"] == row["ratio"]]
    words = " or ".join(methods[name].short for name in names)
    return f"{words} {_percentage(row['ratio'])}" + _VERDICTS.get(row["verdict"], "")


def _percentage(ratio: Any) -> str:
    return DASH if pd.isna(ratio) else f"{100 * ratio:.0f} %"


def comparison_tables(
    comparison: pd.DataFrame, percentages: pd.DataFrame, methods: Methods
) -> list[Table]:
    """Ours beside the published figures, cell by cell."""
    return [_comparison_table(comparison, methods), _percentages_table(percentages, methods)]


def _comparison_table(comparison: pd.DataFrame, methods: Methods) -> Table:
    who = Who(comparison)
    head = who.header
    rows = []
    for cell, row in who.rows:
        change = interval_of(row, "change")
        method = row["norm"] if row["method"] == "pruned" else row["method"]
        rows.append(
            (
                *cell,
                _published_name(methods, method, row["ratio"]),
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
    return Table(
        name="comparison",
        title="Beside the published tables",
        note=f"Theirs: {SOURCE}, Tables 1 and 2. Change: of the mean return, relative to the "
        "baseline's. Direction: whether the return rises or falls, ours by the interval of the "
        "normalised retention. 90 % kept: the published means against our verdict.",
        header=(*head, *columns),
        rows=tuple(rows),
        left=(*range(len(head) + 1), len(head) + 6, len(head) + 7),
        frame=comparison,
    )


def _percentages_table(percentages: pd.DataFrame, methods: Methods) -> Table:
    who = Who(percentages)
    head = who.header
    rows = []
    for cell, row in who.rows:
        ratios = (row["published_ratio"], row["ratio_mean"], row["ratio_interval"])
        rows.append(
            (
                *cell,
                _published_name(methods, row["norm"], None),
                *(_percentage(ratio) for ratio in ratios),
                "untrained" if is_untrained(row["trained"]) else "",
            )
        )
    return Table(
        name="comparison-percentages",
        title="Percentages that pruning reached, beside the published ones",
        note=f"Published: {SOURCE}, Table 2. Mean: {_RULES['mean']}. Interval: "
        f"{_RULES['interval']}.",
        header=(*head, "norm", "published", "ours, mean", "ours, interval", "baseline"),
        rows=tuple(rows),
        left=(*range(len(head) + 1), len(head) + 4),
        frame=percentages,
    )


def _published_name(methods: Methods, method: str, ratio: Any) -> str:
    """A method of the paper, which need not be among those that were run."""
    known = methods if method in methods else {method: method_record(method)}
    return method_name(known, method, ratio)


def _signed(share: float) -> str:
    return f"{100 * share:+.0f} %"


def _signed_interval(interval: Interval) -> str:
    low, high = (f"{100 * end:+.0f}" for end in (interval.low, interval.high))
    return f"{_signed(interval.estimate)} [{low}, {high}]"
