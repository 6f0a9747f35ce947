"""The user's own results as frames: of a study in a store, of its report, or of a squeeze."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from squeezerl.analysis.cells import CELL_COLUMNS
from squeezerl.analysis.frames import COSTS_COLUMNS, StudyData
from squeezerl.analysis.methods import BASELINE
from squeezerl.analysis.published import COMPARISON_COLUMNS
from squeezerl.analysis.study_analysis import analyse
from squeezerl.assistant.passage import content_hash
from squeezerl.errors import InvalidArgumentError
from squeezerl.jobs.open import sqlite_path
from squeezerl.report.study_report import REPORT_JSON, study_json
from squeezerl.report.study_tables import score_frame
from squeezerl.studies.results import load_study
from squeezerl.studies.run import find_study, open_existing

if TYPE_CHECKING:
    from squeezerl.jobs.store import Store

SQUEEZE_JSON = "results.json"
_TABLES = ("cells", "costs", "comparison", "score-cards")


@dataclass(frozen=True, kw_only=True, eq=False)
class Results:
    """What was found, whole.

    Args:
        name: of the study, or of the squeezed agent.
        source: where the tables lie, for people.
        cells: `CELL_COLUMNS`, one row for each agent, method and ratio.
        costs: `COSTS_COLUMNS`, one row for each measured policy and runtime.
        comparison: `COMPARISON_COLUMNS`, ours beside the paper's.
        cards: score cards, as `score_frame` gives them.
        findings: those of the paper by runtime, each as `study.json` has it.
        overall: the verdict of each finding by runtime and number.
        basis: how long agents were trained, and how many baselines count as trained.
        notes: other things that were found, by title.
    """

    name: str
    source: str
    cells: pd.DataFrame
    costs: pd.DataFrame
    comparison: pd.DataFrame = field(
        default_factory=lambda: pd.DataFrame(columns=list(COMPARISON_COLUMNS))
    )
    cards: pd.DataFrame = field(default_factory=lambda: score_frame(()))
    findings: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    overall: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    basis: str = ""
    notes: Mapping[str, str] = field(default_factory=dict)


def read_results(where: str, *, store: str | None = None, cache: Path | None = None) -> Results:
    """The results of a study or a squeeze.

    Args:
        where: the folder of a study's report or of a squeeze, or a study's name or file.
        store: URL of the study's store, if it is not the usual one.
        cache: the folder for what is computed of a study; it is computed again when jobs were done
            since.

    Raises:
        SqueezeRLError: if there are no such results, or they are damaged.
    """
    folder = Path(where)
    if (folder / REPORT_JSON).is_file():
        return _of_report(folder, str(folder))
    if (folder / SQUEEZE_JSON).is_file():
        return _of_squeeze(folder)
    if folder.is_dir():
        raise InvalidArgumentError(
            f"{where}: there is neither {REPORT_JSON} of a study's report nor {SQUEEZE_JSON} of a "
            "squeeze in this folder"
        )
    name, url = find_study(where, store)
    with open_existing(url) as opened:
        source = f"study {name} in {sqlite_path(url) or 'its database'}"
        kept = None if cache is None else cache / f"study-{_state(opened, name)}"
        if kept is not None and (kept / REPORT_JSON).is_file():
            return _of_report(kept, source)
        data = load_study(opened, name)
    if data.returns.empty:
        raise InvalidArgumentError(
            f"{name}: no evaluation is done yet; see squeezerl study status {name}"
        )
    results = results_of(data, source)
    if kept is not None:
        _keep(results, kept)
    return results


def results_of(data: StudyData, source: str, seed: int = 0) -> Results:
    """The results of a study from its frames, as its report has them."""
    analysis = analyse(data, seed)
    content = study_json(data, analysis, seed)
    return Results(
        name=data.name,
        source=source,
        cells=analysis.cells,
        costs=data.costs,
        comparison=analysis.comparison,
        cards=score_frame(analysis.cards),
        findings=content["findings"],
        overall=content["overall"],
        basis=analysis.basis,
    )


def _state(store: Store, name: str) -> str:
    """A hash of which jobs of a study are done; a finished job never changes."""
    rows = store.results(name, ("train", "compress", "evaluate", "profile"), arrays=False)
    return content_hash(*sorted(f"{row.job.id} {sorted(row.label.items())}" for row in rows))


def _keep(results: Results, folder: Path) -> None:
    """Write the tables as a report has them."""
    (folder / "tables").mkdir(parents=True, exist_ok=True)
    frames = (results.cells, results.costs, results.comparison, results.cards)
    for name, frame in zip(_TABLES, frames, strict=True):
        frame.to_csv(folder / "tables" / f"{name}.csv", index=False)
    content = {
        "study": results.name,
        "basis": results.basis,
        "findings": results.findings,
        "overall": results.overall,
    }
    (folder / REPORT_JSON).write_text(json.dumps(content), encoding="utf-8")


def _of_report(folder: Path, source: str) -> Results:
    try:
        content = json.loads((folder / REPORT_JSON).read_text(encoding="utf-8"))
        frames = [pd.read_csv(folder / "tables" / f"{name}.csv") for name in _TABLES]
        cells, costs, comparison, cards = frames
        return Results(
            name=str(content["study"]),
            source=source,
            # What an earlier release did not write is unknown.
            cells=cells.reindex(columns=list(CELL_COLUMNS)),
            costs=costs.reindex(columns=list(COSTS_COLUMNS)),
            comparison=comparison,
            cards=cards,
            findings=content["findings"],
            overall=content["overall"],
            basis=str(content["basis"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidArgumentError(
            f"{folder}: not the report of a study, or damaged: {error}"
        ) from error


def _of_squeeze(folder: Path) -> Results:
    path = folder / SQUEEZE_JSON
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        algorithm = found["agent"]["algorithm"]
        who = {
            "agent": f"{algorithm}-{found['env_id']}",
            "algorithm": algorithm,
            "env_id": found["env_id"],
        }
        baseline = found["baseline"]
        everyone = [baseline | {"ratio": None}, *found["candidates"]]
        tried = [one for one in everyone if one.get("problem") is None]
        cells = pd.DataFrame([_cell(one, who, found) for one in tried], columns=list(CELL_COLUMNS))
        costs = pd.DataFrame(
            [_cost(one, who) for one in tried if one.get("profile")], columns=list(COSTS_COLUMNS)
        )
        for frame in (cells, costs):
            for column in frame.columns.difference(
                ("agent", "algorithm", "env_id", "method", "over", "trained", "verdict", "runtime",
                 "energy_estimated", "energy_source", "host_id")
            ):  # fmt: skip
                frame[column] = pd.to_numeric(frame[column])
        return Results(
            name=who["agent"],
            source=str(folder),
            cells=cells,
            costs=costs,
            basis=f"One agent, {found['episodes']:,} to {found['max_episodes']:,} episodes of each "
            f"candidate; {found['retain']:.0%} of the return were asked for.",
            notes=_notes(found, who["agent"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidArgumentError(
            f"{path}: not the results of a squeeze, or damaged: {error!r}"
        ) from error


def _cell(one: Mapping[str, Any], who: Mapping[str, str], found: Mapping[str, Any]) -> Any:
    kept = one.get("retention") or {}
    low, high = one["ci95"] or (None, None)
    normalized = kept.get("normalized_ci95") or (None, None)
    ratio = kept.get("ratio_ci95") or (None, None)
    baseline = found["baseline"]
    return {
        **who,
        "method": one["method"],
        "ratio": one["ratio"],
        "train_seeds": 1,
        "episodes": len(one["returns"]),
        "over": "episodes",
        "trained": True,
        "verdict": kept.get("verdict"),
        "threshold": found["retain"],
        "mean_return": one["mean_return"],
        "mean_return_low": low,
        "mean_return_high": high,
        "baseline_return": baseline["mean_return"],
        "random_return": found["random"]["mean_return"],
        "retention": kept.get("normalized"),
        "retention_low": normalized[0],
        "retention_high": normalized[1],
        "return_ratio": kept.get("ratio"),
        "return_ratio_low": ratio[0],
        "return_ratio_high": ratio[1],
        "file_bytes": one["file_bytes"],
        "weight_bytes": one["weight_bytes"],
        "file_times": baseline["file_bytes"] / one["file_bytes"],
        "weight_times": baseline["weight_bytes"] / one["weight_bytes"],
    }


def _cost(one: Mapping[str, Any], who: Mapping[str, str]) -> dict[str, Any]:
    row = one["profile"]
    times = row["reference_ratio"] or {}
    figures = {
        "latency_s": (row["latency_s"], "median"),
        "energy_j": (row["energy_j_per_decision"], "mean"),
        "latency_times": (times.get("latency"), "median"),
        "energy_times": (times.get("energy"), "median"),
    }
    cost = {
        **who,
        "method": one["method"],
        "ratio": one["ratio"],
        "runtime": row["runtime"],
        "memory_bytes": row["memory_bytes"]["total"],
        "memory_times": times.get("memory_total"),
        "file_bytes": row["file_bytes"],
        "energy_estimated": row["energy_estimated"],
        "energy_source": row["energy_source"],
        "host_id": row["host_id"],
    }
    for name, (figure, key) in figures.items():
        if figure is not None:
            low, high = figure["ci95"]
            cost |= {name: figure[key], f"{name}_low": low, f"{name}_high": high}
    return cost


def _notes(found: Mapping[str, Any], agent: str) -> dict[str, str]:
    chosen, baseline = found["chosen"], found["baseline"]
    times = baseline["weight_bytes"] / chosen["weight_bytes"]
    kept = chosen.get("retention")
    said = f"Chosen for {agent}: {chosen['method']}, {chosen['weight_bytes']:,} bytes of weights"
    if chosen["method"] != BASELINE and kept:
        low, high = kept["normalized_ci95"]
        said += (
            f", {times:.1f} times smaller than the float policy. On fresh seeds it keeps "
            f"{kept['normalized']:.1%} [{low:.1%}, {high:.1%}] of the return over "
            f"{kept['episodes']:,} episodes"
        )
    notes = {f"What the squeeze of {agent} chose": f"{said}."}
    if front := found.get("front"):
        notes[f"The front of the squeeze of {agent}"] = (
            f"None is both smaller and better than one of these, by size: {', '.join(front)}."
        )
    failed = [one for one in found["candidates"] if one.get("problem")]
    for one in failed:
        notes[f"{one['method']} could not be made for {agent}"] = str(one["problem"])
    for name, behaviour in (found.get("behaviour") or {}).items():
        notes[f"Behaviour of {name} for {agent} beyond the return"] = ", ".join(
            f"{key.replace('_', ' ')} {value:.3g}"
            for key, value in behaviour.items()
            if isinstance(value, int | float)
        )
    return notes
