"""The study's Tables 1 to 3, and every cell, as text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pandas as pd

from squeezerl.analysis.figure_data import grid_shape, panels
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
RULES = {
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


class Who:
    """The columns that name a cell; the agent too where algorithm and environment do not tell.

    Args:
        frame: with agent, algorithm and env_id.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        seen = frame[["agent", "algorithm", "env_id"]].drop_duplicates()
        self._ambiguous = bool(seen.duplicated(["algorithm", "env_id"]).any())
        self.header = ("algorithm", "environment", *(("agent",) if self._ambiguous else ()))

    def row(self, agent: str, algorithm: str, env_id: str) -> tuple[str, ...]:
        """The cells below the header."""
        name = (algorithm_label(algorithm), env_id)
        return (*name, agent) if self._ambiguous else name


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
    who = Who(table)
    head = who.header
    rows = []
    found = {(row["agent"], row["method"]): row for row in table.to_dict("records")}
    for agent, algorithm, env_id in panels(table):
        cells = [
            say(found[agent, method]) if (agent, method) in found else DASH for method in methods
        ]
        rows.append((*who.row(agent, algorithm, env_id), *cells))
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
    for rule, words in RULES.items():
        frame = table[table["rule"] == rule]
        who = Who(frame)
        head = who.header
        rows = []
        for agent, algorithm, env_id in panels(frame):
            row = frame[frame["agent"] == agent].iloc[0].to_dict()
            baseline, pruned = (interval_of(row, name) for name in ("baseline", "pruned"))
            rows.append(
                (
                    *who.row(agent, algorithm, env_id),
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
    tables += [_best_table(table[table["rule"] == rule], rule) for rule in RULES]
    return tables


def _chosen(row: Any) -> str:
    if is_untrained(row["trained"]):
        return "untrained"
    if row["norm"] is None or pd.isna(row["ratio"]):
        return DASH
    norm = "L1 or L2" if row["norm"] == "tie" else short_label(str(row["norm"]))
    return f"{norm} {percentage(row['ratio'])}" + VERDICTS.get(row["verdict"], "")


def is_untrained(trained: Any) -> bool:
    """Whether it is known that the baseline is not better than random."""
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
        who = Who(frame)
        header = (*who.header, "chosen")
        rows = [(*who.row(*cell), chosen[cell[0]]) for cell in cells]
        left = range(len(header))
    return StudyTable(
        name=f"table3-{rule}",
        title=f"Table 3: best pruning of each cell, rule “{rule}”",
        note=f"Chosen: {RULES[rule]}. A dash: none will do. {_LEGEND}",
        header=header,
        rows=tuple(rows),
        left=tuple(left),
        frame=frame[list(BEST_COLUMNS)],
    )


def cells_table(cells: pd.DataFrame) -> StudyTable:
    """Everything that was evaluated, one row each."""
    who = Who(cells)
    head = who.header
    rows = []
    for cell in panels(cells):
        for row in cells[cells["agent"] == cell[0]].to_dict("records"):
            interval = interval_of(row, "mean_return")
            retention = format_interval(interval_of(row, "retention"))
            if is_untrained(row["trained"]):
                retention = "untrained"
            times = row["file_times"]
            rows.append(
                (
                    *who.row(*cell),
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
