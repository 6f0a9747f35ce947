"""Tables of what was run, costs, aggregates and score cards."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

from squeezerl.analysis.figure_data import panels
from squeezerl.analysis.frames import StudyData
from squeezerl.analysis.score import PARTS
from squeezerl.analysis.score_cards import ScoreCard
from squeezerl.report.marks import ordered
from squeezerl.report.return_tables import DASH, Who, interval_of, method_name
from squeezerl.report.study_tables import StudyTable
from squeezerl.report.style import algorithm_label
from squeezerl.report.text import (
    format_interval,
    format_number_interval,
    format_si,
    format_si_interval,
    format_times_interval,
)


def runs_table(data: StudyData, cells: pd.DataFrame) -> StudyTable:
    """What was run: one row an agent."""
    who = Who(cells)
    head = who.header
    columns = ["agent", "algorithm", "env_id", "trainings", "steps", "policies", "episodes",
               "baseline_return", "random_return", "trained"]  # fmt: skip
    rows, records = [], []
    for cell in panels(cells):
        own = cells[cells["agent"] == cell[0]]
        baseline = own[own["method"] == "float"]
        trained = data.trainings[data.trainings["agent"] == cell[0]]
        returns = data.returns[data.returns["agent"] == cell[0]]
        row = own.iloc[0] if baseline.empty else baseline.iloc[0]
        interval = None if baseline.empty else interval_of(row, "mean_return")
        steps = trained["steps"].max() if len(trained) else None
        is_trained = row["trained"]
        known = is_trained is not None and not pd.isna(is_trained)
        rows.append(
            (
                *who.row(*cell),
                str(int(own["train_seeds"].max())),
                DASH if steps is None else f"{int(steps):,}",
                f"{len(returns):,}",
                f"{int(returns['returns'].map(len).sum()):,}",
                DASH if interval is None else format_number_interval(interval),
                DASH if pd.isna(row["random_return"]) else f"{row['random_return']:,.1f}",
                ("yes" if is_trained else "no") if known else "unknown",
            )
        )
        records.append(
            dict(zip(columns, (*cell, own["train_seeds"].max(), steps, len(returns),
                               returns["returns"].map(len).sum(), row["baseline_return"],
                               row["random_return"], is_trained), strict=True))
        )  # fmt: skip
    titles = ("trainings", "steps each", "policies", "episodes", "float return [95 %]",
              "random return", "trained")  # fmt: skip
    return StudyTable(
        name="runs",
        title="Agents and their baselines",
        note="Trained: the float policy is better than a random one in every bootstrap resample.",
        header=(*head, *titles),
        rows=tuple(rows),
        left=(*range(len(head)), len(head) + len(titles) - 1),
        frame=pd.DataFrame(records, columns=columns),
    )


def costs_table(costs: pd.DataFrame) -> StudyTable:
    """What one decision takes, every policy and runtime."""
    who = Who(costs)
    head = who.header
    seeds, hosts = costs["train_seed"].notna().any(), costs["host_id"].nunique() > 1
    order = {name: number for number, name in enumerate(ordered(costs["method"]))}
    rows = []
    for cell in panels(costs):
        own = costs[costs["agent"] == cell[0]]
        own = own.assign(_order=own["method"].map(order)).sort_values(
            ["runtime", "host_id", "_order", "ratio", "train_seed"]
        )
        rows += [
            (
                *who.row(*cell),
                method_name(str(row["method"]), row["ratio"]),
                *((_seed(row["train_seed"]),) if seeds else ()),
                str(row["runtime"]),
                *((str(row["host_id"]),) if hosts else ()),
                _si(row, "latency_s", "s"),
                _times(row, "latency_times"),
                _si(row, "energy_j", "J") + (" ~" if _true(row["energy_estimated"]) else ""),
                _times(row, "energy_times"),
                _si(row, "memory_bytes", "B"),
                _times(row, "memory_times"),
            )
            for row in own.to_dict("records")
        ]
    words = ("method", *(("seed",) if seeds else ()), "runtime", *(("host",) if hosts else ()))
    sources = sorted(costs["energy_source"].dropna().unique())
    return StudyTable(
        name="costs",
        title="All measured policies",
        note="Time and energy of one decision, and resident memory, with 95 % intervals; faster "
        "and less: the float policy's figures divided by a row's, measured side by side. "
        + (f"~ is an estimate. Energy: {'; '.join(sources)}." if sources else "Energy is unknown."),
        header=(*head, *words, "time", "faster", "energy", "less energy", "memory", "less memory"),
        rows=tuple(rows),
        left=tuple(range(len(head) + len(words))),
        frame=costs,
    )


def aggregates_table(aggregates: pd.DataFrame) -> StudyTable:
    """IQM, optimality gap and probability of improvement of every method."""
    order = {name: number for number, name in enumerate(ordered(aggregates["method"]))}
    frame = aggregates.assign(_order=aggregates["method"].map(order))
    frame = frame.sort_values(["_order", "ratio"]).drop(columns="_order")
    rows = [
        (
            method_name(str(row["method"]), row["ratio"]),
            str(row["tasks"]),
            str(row["runs"]),
            *(format_interval(interval_of(row, name)) for name in _AGGREGATES),
        )
        for row in frame.to_dict("records")
    ]
    over = str(frame["over"].iloc[0]) if len(frame) else "trainings"
    return StudyTable(
        name="aggregates",
        title="Over all cells with a trained baseline",
        note="Scores are normalised: 0 is random, 100 % the mean of the cell's float policies. "
        "IQM: mean of the middle half of all runs. Optimality gap: by how much runs fall short of "
        "100 % on average. Better than float: the probability that a run of the method scores "
        f"higher than one of the float policy. Runs are {over}; 95 % intervals from the stratified "
        "bootstrap over them.",
        header=("method", "cells", "runs", *_AGGREGATES.values()),
        rows=tuple(rows),
        left=(0,),
        frame=frame,
    )


_AGGREGATES = {"iqm": "IQM", "optimality_gap": "optimality gap", "improvement": "better than float"}


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


def score_table(cards: Sequence[ScoreCard], *, best: bool = False) -> StudyTable:
    """Score cards, one row each; with `best` only the one of each agent that scores highest."""
    cards = best_cards(cards) if best else cards
    frame = score_frame(cards)
    who = Who(frame)
    head = who.header
    order = {agent: number for number, (agent, _, _) in enumerate(panels(frame))}
    place = len({(card.runtime, card.host_id) for card in cards} - {(None, None)}) > 1
    rows = [
        (
            *who.row(card.agent, card.algorithm, card.env_id),
            DASH if best and card.score is None else method_name(card.method, card.ratio),
            *((" ".join(filter(None, (card.runtime, card.host_id))) or DASH,) if place else ()),
            *(_part(card, part) for part in PARTS),
            _total(card),
            card.recommendation,
        )
        for card in sorted(cards, key=lambda card: order[card.agent])
    ]
    words = (*head, "method", *(("runtime",) if place else ()))
    return StudyTable(
        name="score-cards-best" if best else "score-cards",
        title="Score cards: the best of each cell" if best else "Score cards: all policies",
        note=SCORE_NOTE + (" Shown is the policy whose score is highest for certain." * best),
        header=(*words, *PARTS, "score", "recommendation"),
        rows=tuple(rows),
        left=(*range(len(words)), len(words) + len(PARTS) + 1),
        frame=frame,
    )


SCORE_NOTE = (
    "Each part is the step that the unfavourable end of its interval reaches, and the score their "
    "sum with the weights "
    + ", ".join(f"{name} {rule.weight:g}" for name, rule in PARTS.items())
    + ". A range says what it is at least and at most: between the interval's ends, and over all "
    "that is possible where a part is unknown."
)


def best_cards(cards: Sequence[ScoreCard]) -> list[ScoreCard]:
    """The card of each agent, runtime and host that scores highest for certain."""
    best: dict[tuple[str, str | None, str | None], ScoreCard] = {}
    for card in cards:
        key = (card.agent, card.runtime, card.host_id)
        if key not in best or _rank(card) > _rank(best[key]):
            best[key] = card
    # A cell that was measured for some methods only shows those.
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


def _true(value: Any) -> bool:
    return value is not None and not pd.isna(value) and bool(value)


def _seed(value: Any) -> str:
    return DASH if pd.isna(value) else f"{int(value)}"


def label_text(label: Any) -> str:
    """A job's label in one line."""
    if isinstance(label, str):
        return label
    named = {key: value for key, value in dict(label).items() if value not in (None, "")}
    if "algorithm" in named:
        named["algorithm"] = algorithm_label(str(named["algorithm"]))
    return ", ".join(
        f"{key} {value if isinstance(value, str) else json.dumps(value)}"
        for key, value in named.items()
    )
