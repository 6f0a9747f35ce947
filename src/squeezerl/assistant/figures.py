"""Figures that are computed from results or from the paper's tables, never guessed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from squeezerl.analysis.frames import interval_of, plain
from squeezerl.analysis.methods import BASELINE, REFERENCES
from squeezerl.analysis.published import QUANTIZED, SOURCE, published_pruned, published_quantized
from squeezerl.analysis.retention import THRESHOLD
from squeezerl.assistant.results import Results
from squeezerl.assistant.results_passages import policy_name
from squeezerl.errors import InvalidArgumentError
from squeezerl.report.document import Table
from squeezerl.report.text import (
    DASH,
    algorithm_label,
    format_interval,
    format_number_interval,
    format_si,
    format_si_interval,
    format_times_interval,
)

PRUNED = "pruned"  # how the paper's tables call its chosen pruning
MOST_ROWS = 60  # that a table shows
_WHO = ("agent", "algorithm", "env_id")
_COSTS = ("latency_s", "energy_j", "memory_bytes", "latency_times", "energy_times", "memory_times")


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """A figure that can be asked for: its title, its unit, and whether less of it is better."""

    title: str
    unit: str = ""
    least: bool = False

    def text(self, row: Any, name: str) -> str:
        """The figure of a row, with its interval where there is one."""
        interval = interval_of(row, name) if f"{name}_low" in row else None
        value = row.get(name)
        if value is None or pd.isna(value):
            return DASH
        if not self.unit:
            return str(value)
        if self.unit == "%":
            return format_interval(interval) if interval else f"{100 * value:.1f} %"
        if self.unit == "x":
            return format_times_interval(interval) if interval else f"{value:.2f}x"
        if self.unit == "return":
            return format_number_interval(interval) if interval else f"{value:,.2f}"
        if self.unit == "bytes":
            return f"{value:,.0f}"
        return format_si_interval(interval, self.unit) if interval else format_si(value, self.unit)


QUANTITIES = {
    "retention": Quantity(title="retention [95 %]", unit="%"),
    "mean_return": Quantity(title="return [95 %]", unit="return"),
    "weight_bytes": Quantity(title="bytes of weights", unit="bytes", least=True),
    "file_bytes": Quantity(title="bytes of the file", unit="bytes", least=True),
    "weight_times": Quantity(title="times smaller", unit="x"),
    "latency_s": Quantity(title="time of a decision", unit="s", least=True),
    "latency_times": Quantity(title="times faster", unit="x"),
    "energy_j": Quantity(title="energy of a decision", unit="J", least=True),
    "energy_times": Quantity(title="times less energy", unit="x"),
    "memory_bytes": Quantity(title="memory of the process", unit="B", least=True),
    "memory_times": Quantity(title="times less memory", unit="x"),
    "verdict": Quantity(title="verdict"),
    "share": Quantity(title="share of the baseline", unit="%"),
    "published_change": Quantity(title="change in the paper", unit="%"),
    "change": Quantity(title="change here", unit="%"),
    "keeps_agrees": Quantity(title="90 % kept"),
    "direction_agrees": Quantity(title="direction"),
    "trained": Quantity(title="trained"),
    "random_return": Quantity(title="random return", unit="return"),
}


@dataclass(frozen=True, kw_only=True)
class Cells:
    """Which policies are asked for; what is empty is not restricted.

    Args:
        environments: as results name them ("Hopper-v4"), or as the paper does ("Hopper").
        algorithms: in lower case.
        methods: names of methods; "pruned" is the paper's chosen pruning.
        ratios: shares of neurons that were removed.
        agents: names of agents.
    """

    environments: tuple[str, ...] = ()
    algorithms: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    ratios: tuple[float, ...] = ()
    agents: tuple[str, ...] = ()

    def of(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The rows of a frame that are asked for."""
        chosen = pd.Series(True, index=frame.index)
        for name, allowed in (("env_id", self.environments), ("method", self.methods),
                              ("agent", self.agents)):  # fmt: skip
            if allowed:
                chosen &= frame[name].isin(allowed)
        if self.algorithms:
            chosen &= frame["algorithm"].str.lower().isin(self.algorithms)
        if self.ratios:
            near = [frame["ratio"].sub(ratio).abs().lt(1e-6) for ratio in self.ratios]
            # A share says nothing of methods that have none.
            chosen &= frame["ratio"].isna() | pd.concat(near, axis=1).any(axis=1)
        return frame[chosen]


@dataclass(frozen=True, kw_only=True, eq=False)
class Figures:
    """A computed answer.

    Args:
        title: what the table shows.
        note: how it was computed, and from what.
        frame: the figures in full precision, with bounds of intervals.
        columns: of the frame, those that are shown after who and how.
    """

    title: str
    note: str
    frame: pd.DataFrame
    columns: Sequence[str] = field(default=("retention",))

    @property
    def table(self) -> Table:
        """The figures as text, at most `MOST_ROWS` rows."""
        shown = self.frame.head(MOST_ROWS)
        who = [name for name in ("agent",) if name in shown and self._ambiguous]
        extra = [name for name in ("train_seed", "runtime") if self._varies(name)]
        has_method = "method" in shown
        header = ("algorithm", "environment", *who, *(("method",) if has_method else ()),
                  *extra, *(QUANTITIES[name].title for name in self.columns))  # fmt: skip
        rows = tuple(
            (
                algorithm_label(str(row["algorithm"])),
                str(row["env_id"]),
                *(str(row[name]) for name in who),
                *((policy_name(row) if isinstance(row["method"], str) else "none",)
                  if has_method else ()),
                *(DASH if pd.isna(row[name]) else f"{row[name]:g}" if name == "train_seed"
                  else str(row[name]) for name in extra),
                *(QUANTITIES[name].text(row, name) for name in self.columns),
            )
            for row in shown.to_dict("records")
        )  # fmt: skip
        left = len(self.frame) - len(shown)
        more = f" {left:,} more rows are not shown." if left else ""
        return Table(
            title=self.title,
            note=self.note + more,
            header=header,
            rows=rows,
            left=tuple(range(len(header) - len(self.columns))),
            frame=self.frame,
        )

    @property
    def records(self) -> list[dict[str, Any]]:
        """The rows for JSON."""
        return [
            {str(name): plain(value) for name, value in row.items()}
            for row in self.frame.to_dict("records")
        ]

    @property
    def _ambiguous(self) -> bool:
        named = self.frame[list(_WHO)].drop_duplicates()
        return bool(named.duplicated(["algorithm", "env_id"]).any())

    def _varies(self, name: str) -> bool:
        return name in self.frame and self.frame[name].nunique() > 1


def query_results(results: Results, cells: Cells, quantities: Iterable[str]) -> Figures:
    """These figures of these policies, as they stand in the results.

    Raises:
        InvalidArgumentError: for an unknown quantity.
    """
    names = _known(quantities)
    measured = any(name in _COSTS for name in names)
    frame = cells.of(_with_costs(results, names) if measured else results.cells)
    kept = ["mean_return", "retention", "verdict"]
    bounds = [f"{name}{end}" for name in (*names, *kept) for end in ("_low", "_high")]
    columns = [
        *_WHO, "method", "ratio", *(("train_seed", "runtime") if measured else ()),
        "trained", "episodes", "train_seeds", *kept, *names, *bounds,
    ]  # fmt: skip
    frame = frame[[name for name in dict.fromkeys(columns) if name in frame]]
    note = f"From {results.source}."
    if "retention" in names:
        note += " Retention is normalised: 0 is a random policy, 100 % the float policy."
    if (frame["trained"].astype(str) == "False").any():
        note += " Where the baseline does not count as trained there is no retention."
    note += f" {results.basis}"
    return Figures(
        title="From your results", note=note, frame=frame.reset_index(drop=True), columns=names
    )


def best_methods(
    results: Results, cells: Cells, quantity: str, *, least: bool, threshold: float | None = None
) -> Figures:
    """For each agent the method with the least or most of a quantity.

    Args:
        results: of the user.
        cells: that may be chosen.
        quantity: one of `QUANTITIES`.
        least: whether less is better.
        threshold: the retention that the whole 95 % interval must reach; `None` for any.
    """
    _known([quantity])
    frame = _with_costs(results, [quantity]) if quantity in _COSTS else results.cells
    frame = cells.of(frame)
    frame = frame[~frame["method"].isin(list(REFERENCES))]
    allowed = frame if threshold is None else frame[frame["retention_low"] >= threshold]
    allowed = allowed[allowed[quantity].notna()]
    chosen = []
    for agent, own in frame.groupby("agent", sort=True):
        fitting = allowed[allowed["agent"] == agent].sort_values(
            quantity, ascending=least, kind="stable"
        )
        if len(fitting):
            chosen.append(fitting.iloc[[0]])
        else:
            chosen.append(own.iloc[[0]][list(_WHO)])
    found = pd.concat(chosen, ignore_index=True) if chosen else allowed
    rule = "" if threshold is None else (
        f" A method counts if the whole 95 % interval of its retention is at least {threshold:.0%}."
    )  # fmt: skip
    columns = [quantity, *(("retention",) if quantity != "retention" else ())]
    return Figures(
        title=f"The {'least' if least else 'most'} {QUANTITIES[quantity].title.split(' [')[0]} "
        "of each agent",
        note=f"From {results.source}.{rule} The least or most is by the estimate; another one can "
        f"lie within its interval. {results.basis}",
        frame=found.reindex(
            columns=list(dict.fromkeys([*found.columns, "method", "ratio", *columns]))
        ),
        columns=columns,
    )


def compare_with_paper(results: Results, cells: Cells) -> Figures:
    """Our changes beside the published ones, cell by cell (see `compare_published`)."""
    frame = cells.of(results.comparison.astype({"ratio": float}))
    return Figures(
        title="Your results beside the paper's tables",
        note=f"From {results.source} and {SOURCE}, Tables 1 to 3. A change is the return divided "
        "by the baseline's, less 1. The last two columns say whether both agree on 90 % being kept "
        f"and on the return rising or falling. {results.basis}",
        frame=frame.reset_index(drop=True),
        columns=("published_change", "change", "keeps_agrees", "direction_agrees"),
    )


def count_verdicts(results: Results, cells: Cells) -> Figures:
    """The verdict on each policy that is asked for, and how often each verdict was given."""
    frame = cells.of(results.cells)
    frame = frame[~frame["method"].isin(list(REFERENCES))]
    counts = frame["verdict"].fillna("no verdict (untrained)").value_counts()
    said = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    at = frame["threshold"].iloc[0] if len(frame) else THRESHOLD
    return Figures(
        title=f"Of {len(frame)} policies: {said}" if len(frame) else "No such policy",
        note=f"From {results.source}. The verdict is for {at:.0%} of the return. {results.basis}",
        frame=frame.reset_index(drop=True),
        columns=("verdict", "retention"),
    )


def count_trained(results: Results, cells: Cells) -> Figures:
    """Which baselines count as trained."""
    frame = cells.of(results.cells)
    frame = frame[frame["method"] == BASELINE]
    words = frame["trained"].astype(str).map({"True": "yes", "False": "no"}).fillna("unknown")
    frame = frame.assign(trained=words)
    counts = {name: int((words == name).sum()) for name in ("yes", "no", "unknown")}
    said = f"{counts['yes']} of {len(frame)} baselines count as trained, {counts['no']} do not"
    if counts["unknown"]:
        said += f", and of {counts['unknown']} it is not known"
    return Figures(
        title=f"{said}.",
        note=f"From {results.source}. {results.basis}",
        frame=frame.reset_index(drop=True),
        columns=("trained", "mean_return", "random_return"),
    )


def paper_figures(cells: Cells) -> Figures:
    """Returns of the paper's Tables 1 and 2 and their shares of the baseline's."""
    frame = cells.of(paper_cells())
    return Figures(
        title="From the paper's tables",
        note=f"{SOURCE}: Table 1 (float, {', '.join(QUANTIZED)}) and Table 2 (float before, "
        f"{PRUNED}). Means over at least ten repetitions, without intervals.",
        frame=frame.reset_index(drop=True),
        columns=("mean_return", "share"),
    )


def paper_cells() -> pd.DataFrame:
    """The paper's Tables 1 and 2, one row for each algorithm, environment and method."""
    rows = []
    for row in published_quantized().to_dict("records"):
        rows += [_paper_row(row, name) for name in (BASELINE, *QUANTIZED)]
    rows += [_paper_row(row, PRUNED) for row in published_pruned().to_dict("records")]
    return pd.DataFrame(rows)


def _paper_row(row: dict[Any, Any], method: str) -> dict[str, Any]:
    value = row["baseline" if method == BASELINE else method]
    return {
        "agent": f"{row['algorithm'].lower()}-{row['environment']}",
        "algorithm": row["algorithm"],
        "env_id": row["environment"],
        "method": method,
        "ratio": float("nan"),
        "mean_return": value,
        "share": value / row["baseline"],
    }


def _with_costs(results: Results, names: Sequence[str]) -> pd.DataFrame:
    """The cells with what was measured of them, one row for each runtime, host and training."""
    keys = ["agent", "method", "ratio"]
    wanted = [
        name
        for quantity in names
        if quantity in _COSTS
        for name in (quantity, f"{quantity}_low", f"{quantity}_high")
        if name in results.costs
    ]
    costs = results.costs[[*keys, "train_seed", "runtime", *wanted]]
    # A share that was written and read back may differ in the last digit.
    cells, costs = (
        frame.assign(ratio=pd.to_numeric(frame["ratio"]).round(6))
        for frame in (results.cells, costs)
    )
    return cells.merge(costs, on=keys, how="inner")


def _known(quantities: Iterable[str]) -> list[str]:
    names = list(quantities)
    if unknown := [name for name in names if name not in QUANTITIES]:
        raise InvalidArgumentError(
            f"unknown quantity {unknown[0]!r}; known are {', '.join(QUANTITIES)}"
        )
    return names
