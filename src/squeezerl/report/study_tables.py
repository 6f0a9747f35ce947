"""Tables of what was run, what it cost and how it scores: every method of a study."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from squeezerl.analysis.figure_data import panels
from squeezerl.analysis.frames import StudyData, interval_of
from squeezerl.analysis.methods import BASELINE
from squeezerl.analysis.score_cards import PARTS, ScoreCard
from squeezerl.records import Interval
from squeezerl.report.document import Table
from squeezerl.report.panels import Methods, ordered
from squeezerl.report.text import (
    DASH,
    algorithm_label,
    format_interval,
    format_number_interval,
    format_si,
    format_si_interval,
    format_times_interval,
)


class Who:
    """The columns that name a cell; with the agent where algorithm and environment are not enough.

    Args:
        frame: with agent, algorithm and env_id.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        seen = frame[["agent", "algorithm", "env_id"]].drop_duplicates()
        self._frame = frame
        self._ambiguous = bool(seen.duplicated(["algorithm", "env_id"]).any())
        self.header = ("algorithm", "environment", *(("agent",) if self._ambiguous else ()))

    @property
    def rows(self) -> Iterator[tuple[tuple[str, ...], dict[Any, Any]]]:
        """Each row of the frame, after the table cells that name its agent; sorted by agent."""
        for cell in panels(self._frame):
            for row in self._frame[self._frame["agent"] == cell[0]].to_dict("records"):
                yield self.row(*cell), row

    def row(self, agent: str, algorithm: str, env_id: str) -> tuple[str, ...]:
        """The cells below the header."""
        name = (algorithm_label(algorithm), env_id)
        return (*name, agent) if self._ambiguous else name


def method_name(methods: Methods, method: str, ratio: Any) -> str:
    """For example "L2 55 %"."""
    share = "" if ratio is None or pd.isna(ratio) else f" {100 * ratio:.0f} %"
    return methods[method].short + share


def is_untrained(trained: Any) -> bool:
    """Whether it is known that the baseline does not count as trained."""
    return trained is not None and not pd.isna(trained) and not trained


def return_or_dash(interval: Interval | None) -> str:
    """A mean return with its interval."""
    return DASH if interval is None else format_number_interval(interval)


def runs_table(data: StudyData, cells: pd.DataFrame) -> Table:
    """What was run: one row for each agent."""
    who = Who(cells)
    head = who.header
    constants = bool(cells["constant_return"].notna().any())
    columns = ["agent", "algorithm", "env_id", "trainings", "steps", "policies", "episodes",
               "baseline_return", "random_return", "constant_return", "trained"]  # fmt: skip
    rows, records = [], []
    for cell in panels(cells):
        own = cells[cells["agent"] == cell[0]]
        baseline = own[own["method"] == BASELINE]
        training = data.trained_steps[data.trained_steps["agent"] == cell[0]]
        returns = data.returns[data.returns["agent"] == cell[0]]
        row = own.iloc[0] if baseline.empty else baseline.iloc[0]
        interval = None if baseline.empty else interval_of(row, "mean_return")
        trainings, episodes = own["train_seeds"].max(), returns["returns"].map(len).sum()
        steps = training["steps"].max() if len(training) else None
        trained = row["trained"]
        known = trained is not None and not pd.isna(trained)
        rows.append(
            (
                *who.row(*cell),
                str(int(trainings)),
                DASH if steps is None else f"{int(steps):,}",
                f"{len(returns):,}",
                f"{int(episodes):,}",
                return_or_dash(interval),
                _number(row["random_return"]),
                *((_number(row["constant_return"]),) if constants else ()),
                ("yes" if trained else "no") if known else "unknown",
            )
        )
        levels = (row[name] for name in ("baseline_return", "random_return", "constant_return"))
        figures = (*cell, trainings, steps, len(returns), episodes, *levels, trained)
        records.append(dict(zip(columns, figures, strict=True)))
    titles = ("trainings", "steps each", "policies", "episodes", "float return [95 %]",
              "random return", *(("best constant action",) if constants else ()),
              "trained")  # fmt: skip
    return Table(
        name="runs",
        title="Agents and their baselines",
        note="Trained: in every bootstrap resample, the float policy is better than a random one"
        + (" and than the best constant action." if constants else "."),
        header=(*head, *titles),
        rows=tuple(rows),
        left=(*range(len(head)), len(head) + len(titles) - 1),
        frame=pd.DataFrame(records, columns=columns),
    )


def cells_table(cells: pd.DataFrame, methods: Methods) -> Table:
    """Everything that was evaluated, one row for each policy."""
    who = Who(cells)
    head = who.header
    rows = []
    for cell, row in who.rows:
        retention = format_interval(interval_of(row, "retention"))
        rows.append(
            (
                *cell,
                method_name(methods, str(row["method"]), row["ratio"]),
                f"{row['train_seeds']}",
                f"{row['episodes']}",
                return_or_dash(interval_of(row, "mean_return")),
                "untrained" if is_untrained(row["trained"]) else retention,
                str(row["verdict"]) if isinstance(row["verdict"], str) else DASH,
                DASH if pd.isna(row["file_bytes"]) else f"{row['file_bytes']:,.0f}",
                _times(row, "file_times"),
            )
        )
    columns = ("method", "trainings", "episodes each", "return [95 %]", "retention [95 %]",
               "verdict", "bytes", "smaller")  # fmt: skip
    return Table(
        name="cells",
        title="All policies",
        note="Retention is normalised: 0 is random, 100 % the float policy. The verdict is for "
        "90 %. Bytes are those of the model file, as a mean over the trainings.",
        header=(*head, *columns),
        rows=tuple(rows),
        left=(*range(len(head) + 1), len(head) + 5),
        frame=cells,
    )


def costs_table(costs: pd.DataFrame, methods: Methods) -> Table:
    """What one decision takes, for each policy and runtime."""
    who = Who(_in_order(costs, methods, "runtime", "host_id"))
    head = who.header
    seeds, hosts = costs["train_seed"].notna().any(), costs["host_id"].nunique() > 1
    rows = [
        (
            *cell,
            method_name(methods, str(row["method"]), row["ratio"]),
            *((_seed(row["train_seed"]),) if seeds else ()),
            str(row["runtime"]),
            *((str(row["host_id"]),) if hosts else ()),
            _si(row, "latency_s", "s"),
            _times(row, "latency_times"),
            _si(row, "energy_j", "J") + (" ~" if _known_true(row["energy_estimated"]) else ""),
            _times(row, "energy_times"),
            _si(row, "memory_bytes", "B"),
            _times(row, "memory_times"),
        )
        for cell, row in who.rows
    ]
    words = ("method", *(("seed",) if seeds else ()), "runtime", *(("host",) if hosts else ()))
    sources = sorted(costs["energy_source"].dropna().unique())
    return Table(
        name="costs",
        title="All measured policies",
        note="Time and energy of one decision, and resident memory, with 95 % intervals. Faster "
        "and less: the float policy's figures divided by a row's, measured side by side. "
        + (f"~ is an estimate. Energy: {'; '.join(sources)}." if sources else "Energy is unknown."),
        header=(*head, *words, "time", "faster", "energy", "less energy", "memory", "less memory"),
        rows=tuple(rows),
        left=tuple(range(len(head) + len(words))),
        frame=costs,
    )


def trainings_tables(
    trainings: pd.DataFrame, robustness: pd.DataFrame, methods: Methods
) -> tuple[Table, Table]:
    """How much methods differ between trainings, and between settings of the trainings."""
    who = Who(trainings)
    rows = [
        (
            *cell,
            method_name(methods, str(row["method"]), row["ratio"]),
            f"{row['trainings']}",
            _number(row["return_sd"]),
            _points(row["retention_sd"]),
            DASH if pd.isna(row["steps_to_converge"]) else f"{row['steps_to_converge']:,.0f}",
            DASH if pd.isna(row["converged"]) else f"{row['converged']:.0f}",
        )
        for cell, row in who.rows
    ]
    titles = ("trainings", "return ±", "retention ±", "steps to converge", "converged")
    over_trainings = Table(
        name="trainings",
        title="Between trainings",
        note="Standard deviations over trainings of the mean return, and of the retention in "
        "points; the noise of the episodes is in them. Steps after which half of the trainings "
        "came 90 % of the way from a random policy to where the float trainings end, and how many "
        "came that far.",
        header=(*who.header, "method", *titles),
        rows=tuple(rows),
        left=tuple(range(len(who.header) + 1)),
        frame=trainings,
    )
    over_settings = Table(
        name="robustness",
        title="Between hyperparameters",
        note="Standard deviation of the retention over the settings that agents of one algorithm "
        "in one environment were trained with, percentages of one method as their mean.",
        header=("agents", "method", "retention ± [95 %]"),
        rows=tuple(
            (
                str(row["cell"]),
                method_name(methods, str(row["method"]), None),
                format_interval(interval_of(row, "retention_sd")),
            )
            for row in robustness.to_dict("records")
        ),
        left=(0, 1),
        frame=robustness,
    )
    return over_trainings, over_settings


def _points(share: Any) -> str:
    return DASH if pd.isna(share) else f"{100 * share:.1f}"


_AGGREGATES = {"iqm": "IQM", "optimality_gap": "optimality gap", "improvement": "better than float"}


def aggregates_table(aggregates: pd.DataFrame, methods: Methods) -> Table:
    """IQM, optimality gap and probability of improvement of each method."""
    frame = _in_order(aggregates, methods)
    rows = [
        (
            method_name(methods, str(row["method"]), row["ratio"]),
            str(row["tasks"]),
            str(row["runs"]),
            *(format_interval(interval_of(row, name)) for name in _AGGREGATES),
        )
        for row in frame.to_dict("records")
    ]
    over = str(frame["over"].iloc[0]) if len(frame) else "trainings"
    return Table(
        name="aggregates",
        title="Over all cells with a trained baseline",
        note="Scores are normalised: 0 is random, 100 % the mean of the cell's float policies. "
        "IQM: mean of the middle half of all runs. Optimality gap: by how much runs fall short of "
        "100 % on average. Better than float: the probability that a run of the method scores "
        f"higher than one of the float policy. Runs are {over}; 95 % intervals are from the "
        "stratified bootstrap over them.",
        header=("method", "cells", "runs", *_AGGREGATES.values()),
        rows=tuple(rows),
        frame=frame,
    )


def score_frame(cards: Sequence[ScoreCard]) -> pd.DataFrame:
    """The score cards as a tidy frame."""
    columns = ["agent", "algorithm", "env_id", "method", "ratio", "runtime", "host_id"]
    records = []
    for card in cards:
        record: dict[str, Any] = {name: getattr(card, name) for name in columns}
        score = card.score
        for name in PARTS:
            part = None if score is None else score.part(name)
            figure = None if part is None else part.interval
            record |= {
                name: None if figure is None else figure.estimate,
                f"{name}_low": None if figure is None else figure.low,
                f"{name}_high": None if figure is None else figure.high,
                f"{name}_score": None if part is None else part.score,
            }
        record |= {
            "energy_estimated": card.energy_estimated,
            "score": None if score is None else score.total,
            "score_low": None if score is None else score.low,
            "score_high": None if score is None else score.high,
            "action": None if score is None else score.action,
            "recommendation": card.recommendation,
        }
        records.append(record)
    figures = [f"{name}{end}" for name in PARTS for end in ("", "_low", "_high", "_score")]
    last = ["energy_estimated", "score", "score_low", "score_high", "action", "recommendation"]
    return pd.DataFrame(records, columns=[*columns, *figures, *last])


def score_table(cards: Sequence[ScoreCard], methods: Methods, *, best: bool = False) -> Table:
    """The score cards, one row each; with `best` only the highest score of each agent."""
    cards = _best_cards(cards) if best else cards
    frame = score_frame(cards)
    who = Who(frame)
    order = {agent: number for number, (agent, _, _) in enumerate(panels(frame))}
    place = len({(card.runtime, card.host_id) for card in cards} - {(None, None)}) > 1
    rows = [
        (
            *who.row(card.agent, card.algorithm, card.env_id),
            DASH if best and card.score is None else method_name(methods, card.method, card.ratio),
            *((" ".join(filter(None, (card.runtime, card.host_id))) or DASH,) if place else ()),
            *(_part(card, part) for part in PARTS),
            _total(card),
            card.recommendation,
        )
        for card in sorted(cards, key=lambda card: order[card.agent])
    ]
    words = (*who.header, "method", *(("runtime",) if place else ()))
    return Table(
        name="score-cards-best" if best else "score-cards",
        title="Score cards: the best of each cell" if best else "Score cards: all policies",
        note=_SCORE_NOTE + (" The policy shown is the one whose certain score is highest." * best),
        header=(*words, *PARTS, "score", "recommendation"),
        rows=tuple(rows),
        left=(*range(len(words)), len(words) + len(PARTS) + 1),
        frame=frame,
    )


_SCORE_NOTE = (
    "Each part is the step that the unfavourable end of its interval reaches. The score is their "
    "sum with the weights "
    + ", ".join(f"{name} {rule.weight:g}" for name, rule in PARTS.items())
    + ". A range goes from the least to the most that is possible: between the interval's ends, or "
    "between the lowest and the highest step where a part is unknown."
)


def _best_cards(cards: Sequence[ScoreCard]) -> list[ScoreCard]:
    """The card of each agent, runtime and host whose certain score is highest."""
    best: dict[tuple[str, str | None, str | None], ScoreCard] = {}
    for card in cards:
        key = (card.agent, card.runtime, card.host_id)
        if key not in best or _rank(card) > _rank(best[key]):
            best[key] = card
    # Where only some methods of a cell were measured, only those are shown.
    measured = {agent for agent, runtime, _ in best if runtime is not None}
    return [card for card in best.values() if card.runtime or card.agent not in measured]


def _rank(card: ScoreCard) -> tuple[float, float]:
    return (-1.0, -1.0) if card.score is None else (card.score.low, card.score.high)


def _part(card: ScoreCard, name: str) -> str:
    if card.score is None:
        return DASH
    part = card.score.part(name)
    if part.score is None:
        return "unknown"
    return f"{part.low:.1f}" if part.low == part.high else f"{part.low:.1f} to {part.high:.1f}"


def _total(card: ScoreCard) -> str:
    if card.score is None:
        return DASH
    low, high = card.score.low, card.score.high
    bounds = f"{low:.2f}" if low == high else f"{low:.2f} to {high:.2f}"
    return bounds if card.score.total is not None else f"unknown, {bounds}"


def _in_order(frame: pd.DataFrame, methods: Methods, *before: str) -> pd.DataFrame:
    """Rows sorted by these columns, then by the order of methods, ratio and training seed."""
    order = {name: number for number, name in enumerate(ordered(frame["method"], methods))}
    seeds = ["train_seed"] if "train_seed" in frame else []
    by = frame.assign(_order=frame["method"].map(order))
    return by.sort_values([*before, "_order", "ratio", *seeds]).drop(columns="_order")


def _number(value: Any) -> str:
    return DASH if pd.isna(value) else f"{value:,.1f}"


def _si(row: Any, name: str, unit: str) -> str:
    interval = interval_of(row, name)
    if interval is not None:
        return format_si_interval(interval, unit)
    return DASH if pd.isna(row[name]) else format_si(float(row[name]), unit)


def _times(row: Any, name: str) -> str:
    interval = interval_of(row, name) if f"{name}_low" in row else None
    if interval is not None:
        return format_times_interval(interval)
    return DASH if pd.isna(row[name]) else f"{row[name]:.2f}x"


def _known_true(value: Any) -> bool:
    """Whether a truth value is known and true."""
    return not pd.isna(value) and bool(value)


def _seed(value: Any) -> str:
    return DASH if pd.isna(value) else f"{int(value)}"
