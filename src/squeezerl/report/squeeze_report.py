"""A squeeze: its JSON, its document, its picture, and the files that it leaves behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from squeezerl.analysis.retention import fewest_to_keep
from squeezerl.evaluation.referee import Judgement
from squeezerl.records import MethodRecord, Retention, to_json
from squeezerl.report.behaviour_report import behaviour_blocks, behaviour_json
from squeezerl.report.document import (
    Block,
    Code,
    Document,
    Figure,
    Heading,
    Paragraph,
    Table,
    Text,
)
from squeezerl.report.evaluation_report import drawn_note, evaluation_summary, retention_json
from squeezerl.report.profile_report import (
    measured_cells,
    measured_columns,
    profile_blocks,
    profile_json,
)
from squeezerl.report.renderers import render
from squeezerl.report.text import DASH, format_interval, format_return, more_needed
from squeezerl.search.candidates import BASELINE
from squeezerl.search.result import SqueezeResult, Trial


def write_squeeze_report(result: SqueezeResult, folder: Path) -> None:
    """Write report.md, results.json and pareto.png; paths in them are relative to `folder`."""
    text = json.dumps(squeeze_json(result, Path()), indent=1)
    (folder / "results.json").write_text(text + "\n", encoding="utf-8")
    draw_pareto(result, folder / "pareto.png")
    report = render(squeeze_document(result), "markdown", folder)
    (folder / "report.md").write_text(report, encoding="utf-8")


def squeeze_json(result: SqueezeResult, root: Path) -> dict[str, Any]:
    """A squeeze; artifacts are given as paths below `root`.

    `profile` is the row of `profile_json` for ONNX Runtime and `native_profile` that for the native
    runtime, null for candidates that were not measured.
    """
    trials = {trial.candidate: trial for trial in result.trials}
    profile = measured_json(result)
    measured: _Measured = {}
    for row in profile["rows"] if profile else ():
        measured.setdefault(row["artifact"], {})[_PROFILES[row["runtime"]]] = row
    if result.chosen == BASELINE:
        chosen: dict[str, Any] = {
            "method": BASELINE.name,
            "ratio": None,
            "weight_bytes": result.baseline_size.weight_bytes,
            "file_bytes": result.baseline_size.file_bytes,
            "retention": None,
            **_profiles(measured, BASELINE.name),
        }
    else:
        # The confirmation is the honest figure: the choice was made among thirty by the other.
        assert result.confirmation is not None
        selection = _trial_json(trials[result.chosen], root, measured)
        chosen = selection | {
            "retention": retention_json(result.confirmation.retention),
            "selection_retention": selection["retention"],
            **evaluation_summary(result.confirmation.record),
        }
    return {
        "agent": result.source.to_json(),
        "env_id": result.environment.id,
        "env_kwargs": dict(result.environment.kwargs),
        "backend": result.environment.backend,
        "calibration": to_json(result.calibration),
        "retain": result.retain,
        "episodes": result.episodes,
        "max_episodes": result.max_episodes,
        "seed": result.seed,
        "noise_seed": result.baseline_record.noise_seed,
        "baseline": {
            "method": BASELINE.name,
            "weight_bytes": result.baseline_size.weight_bytes,
            "file_bytes": result.baseline_size.file_bytes,
            "artifact": str(root / "candidates" / BASELINE.name),
            **_profiles(measured, BASELINE.name),
            **evaluation_summary(result.baseline_record),
        },
        "random": evaluation_summary(result.random_record),
        "candidates": [_trial_json(trial, root, measured) for trial in result.trials],
        "chosen": chosen
        | {"artifact": str(root), "confirmation": _confirmation_json(result.confirmation)},
        "front": [candidate.name for candidate in result.front],
        "behaviour": {name: behaviour_json(found) for name, found in result.behaviour.items()}
        or None,
        "budget_s": result.budget_s,
        "max_bytes": result.max_bytes,
        "host": to_json(result.host),
        "energy_problem": profile["energy_problem"] if profile else None,
        "measurement_problem": result.measurement_problem,
    }


# A row of the profile's JSON, by the candidate and the key that it has in the squeeze's.
_Measured = dict[str, dict[str, Any]]
_PROFILES = {"ort": "profile", "native": "native_profile"}


def _profiles(measured: _Measured, name: str) -> dict[str, Any]:
    return {key: measured.get(name, {}).get(key) for key in _PROFILES.values()}


def _trial_json(trial: Trial, root: Path, measured: _Measured) -> dict[str, Any]:
    return {
        "recipe": trial.recipe.text,
        "attempt": trial.attempt,
        "method": trial.recipe.record.name,
        "ratio": trial.recipe.ratio,
        "weight_bytes": trial.size.weight_bytes if trial.size else None,
        "file_bytes": trial.size.file_bytes if trial.size else None,
        "retention": retention_json(trial.judgement.retention) if trial.judgement else None,
        "artifact": str(root / trial.artifact) if trial.artifact else None,
        **_profiles(measured, trial.name),
        "problem": trial.problem,
        **(evaluation_summary(trial.judgement.record) if trial.judgement else {}),
    }


def _confirmation_json(judgement: Judgement | None) -> dict[str, Any] | None:
    if judgement is None:
        return None
    return {
        "seed": judgement.record.seed,
        "retention": retention_json(judgement.retention),
        **evaluation_summary(judgement.record),
    }


def squeeze_document(result: SqueezeResult) -> Document:
    """The whole report; paths in it are relative to the squeeze's folder."""
    measured = measured_json(result)
    return Document(
        title=f"Squeezed: {result.source.label.upper()} on {result.environment.id}",
        blocks=(
            Paragraph(summary(result)),
            *drawn_note(result.baseline_record),
            Figure(title="Retention against bytes", path="pareto.png"),
            candidates_table(result, measured),
            Paragraph(
                "Retention is (R − R_random) / (R_baseline − R_random), ratio is R / R_baseline; "
                "both with a 95 % bootstrap interval over episodes paired by seed with the float "
                "policy's. Returns are over each row's own episodes. The verdict is for a "
                f"retention of {result.retain:.0%} and comes from a sequential test: over all "
                "looks together, a candidate that keeps less is said to keep in at most 2.5 % of "
                "cases, and one that keeps more to lose in at most as many. Keeping takes at least "
                f"{fewest_to_keep(result.retain)} episodes. "
                "The first line gives the chosen candidate's retention on other episodes than "
                "those of the table."
            ),
            *behaviour_blocks(result.behaviour),
            *_measurements(measured, result.measurement_problem),
            _facts(result),
        ),
    )


def squeeze_result(result: SqueezeResult) -> Document:
    """What the command line shows: the candidates, the choice, and what was not measured."""
    problem = result.measurement_problem
    blocks: list[Block] = [
        candidates_table(result, measured_json(result)),
        Paragraph(summary(result)),
    ]
    if problem is not None:
        blocks.append(Paragraph(_unmeasured(problem)))
    return Document(title="Squeezed", blocks=tuple(blocks))


def measured_json(result: SqueezeResult) -> dict[str, Any] | None:
    """The JSON of what was measured, `None` if nothing was."""
    return None if result.profile is None else profile_json(result.profile)


def candidates_table(result: SqueezeResult, measured: dict[str, Any] | None = None) -> Table:
    """All that was tried, by size, the float policy first.

    Args:
        result: of the squeeze.
        measured: what `measured_json` gives, for its columns.
    """
    columns = measured_columns(measured)
    cells = measured_cells(measured)
    none = (DASH,) * len(columns)
    header = ("candidate", "bytes", "times smaller", "file", "return [95 %]", "retention [95 %]",
              "ratio [95 %]", "episodes", *columns, "verdict")  # fmt: skip
    baseline = (
        BASELINE.name,
        f"{result.baseline_size.weight_bytes:,}",
        "1.0",
        f"{result.baseline_size.file_bytes:,}",
        format_return(result.baseline_record),
        "100 %",
        "100 %",
        str(len(result.baseline_record.episodes)),
        *cells.get(BASELINE.name, none),
        "baseline",
    )
    trials = sorted(result.trials, key=lambda t: -(t.size.weight_bytes if t.size else 0))
    rows = (_row(trial, result, cells.get(trial.name, none)) for trial in trials)
    return Table(header=header, rows=(baseline, *rows), left=(0, len(header) - 1))


def _row(trial: Trial, result: SqueezeResult, measured: tuple[str, ...]) -> tuple[str, ...]:
    if trial.judgement is None or trial.size is None:
        return (trial.name, *(DASH,) * 7, *measured, trial.problem or "failed")
    retention = trial.judgement.retention
    return (
        trial.name,
        f"{trial.size.weight_bytes:,}",
        f"{result.baseline_size.weight_bytes / trial.size.weight_bytes:,.1f}",
        f"{trial.size.file_bytes:,}",
        format_return(trial.judgement.record),
        format_interval(retention.normalized),
        format_interval(retention.ratio),
        str(retention.episodes),
        *measured,
        f"{retention.verdict}{more_needed(retention)}"
        + (", chosen" if trial.candidate == result.chosen else ""),
    )


def summary(result: SqueezeResult) -> str:
    """What was chosen and why, in a sentence or two."""
    if result.confirmation is None:
        return f"{_nothing(result)} The float policy is the artifact."
    trial = next(trial for trial in result.trials if trial.candidate == result.chosen)
    assert trial.size is not None
    size, before = trial.size.weight_bytes, result.baseline_size.weight_bytes
    return (
        f"Chosen: {result.chosen.name}, {size:,} bytes ({before / size:,.1f} times smaller than "
        f"the float policy's {before:,}; the file has {trial.size.file_bytes:,}). On fresh seeds "
        f"it keeps {_confirmed(result.confirmation.retention)}."
    )


def _nothing(result: SqueezeResult) -> str:
    """That nothing meets the demand, and what comes nearest to it."""
    limit = "" if result.max_bytes is None else f" of at most {result.max_bytes:,} bytes"
    text = (
        f"Nothing smaller{limit} was confirmed to keep {result.retain:.0%} of the return within "
        f"{result.max_episodes} episodes."
    )
    near = [
        (kept.estimate, trial)
        for trial in result.trials
        if trial.size is not None
        and trial.judgement is not None
        and (kept := trial.judgement.retention.normalized) is not None
        and trial.size.weight_bytes <= (result.max_bytes or result.baseline_size.weight_bytes)
    ]
    if not near:
        return text
    _, best = max(near, key=lambda each: each[0])
    assert best.judgement is not None and best.size is not None  # noqa: PT018
    retention = best.judgement.retention
    return (
        f"{text} The best is {best.name} ({best.size.weight_bytes:,} bytes, in {best.artifact}): "
        f"{_confirmed(retention)}{more_needed(retention)}."
    )


def _confirmed(retention: Retention) -> str:
    return (
        f"{format_interval(retention.normalized)} of the return over {retention.episodes} episodes"
    )


def _unmeasured(problem: str) -> str:
    return f"Latency, memory and energy were not measured: {problem}"


def _measurements(measured: dict[str, Any] | None, problem: str | None) -> tuple[Block, ...]:
    if problem is not None:
        return (Paragraph(_unmeasured(problem)),)
    if measured is None:
        return ()
    return (
        Heading("Measured"),
        Paragraph(
            "One decision on this host, in ONNX Runtime (ort) and in SqueezeRL's own runtime "
            "(native), for the float policy, the chosen candidate and the smallest others that do "
            "not lose the return."
        ),
        *profile_blocks(measured),
    )


def _facts(result: SqueezeResult) -> Table:
    source, host, confirmation = result.source, result.host, result.confirmation
    trained_on = source.env_id or "unknown"
    fresh = DASH if confirmation is None else str(confirmation.record.seed)
    rows: dict[str, Text] = {
        "agent": (Code(source.path), f" ({source.algorithm}, trained on {trained_on})"),
        "sha256": Code(source.sha256),
        "return of the float policy": format_return(result.baseline_record),
        "return of a random policy": format_return(result.random_record),
        "environment": f"{result.environment.id}, run by {result.environment.backend}",
        "seeds": f"from {result.seed}; confirmation from {fresh}",
        "host": f"{host.cpu}, {host.cores} cores, {host.system}, Python {host.python}",
        "libraries": ", ".join(f"{name} {version}" for name, version in host.libraries.items()),
    }
    return Table(header=("", ""), rows=tuple(rows.items()), left=(0, 1))


class ParetoPoint(NamedTuple):
    """The bytes of a candidate's weights, and its normalised retention with its interval."""

    name: str
    method: MethodRecord
    weight_bytes: int
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
                    trial.name,
                    trial.recipe.record,
                    trial.size.weight_bytes,
                    interval.estimate,
                    interval.low,
                    interval.high,
                    trial.candidate == result.chosen,
                )
            )
    return tuple(points)


def draw_pareto(result: SqueezeResult, path: Path) -> None:
    """Draw the points to a picture; its format follows from the name (PNG, SVG, PDF)."""
    from matplotlib.figure import Figure

    points = pareto_points(result)
    kept = result.confirmation.retention.normalized if result.confirmation else None
    fresh = f"{kept.estimate:.1%} on fresh seeds" if kept else ""
    figure = Figure(figsize=(8, 5), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    axes.axhline(
        result.retain, color="0.4", linestyle="--", linewidth=1, label=f"asked: {result.retain:.0%}"
    )
    for method in dict.fromkeys(point.method for point in points):
        chosen = [point for point in points if point.method == method]
        retentions = [point.retention for point in chosen]
        axes.errorbar(
            [point.weight_bytes / 1000 for point in chosen],
            retentions,
            # A percentile interval may exclude the estimate by a hair.
            yerr=[
                [max(0.0, point.retention - point.low) for point in chosen],
                [max(0.0, point.high - point.retention) for point in chosen],
            ],
            fmt=method.marker, color=method.color, label=method.label, markersize=6,
            capsize=2, linewidth=1,
        )  # fmt: skip
    axes.plot(
        result.baseline_size.weight_bytes / 1000, 1.0, marker="*", markersize=14, color="black",
        linestyle="none", label="float policy",
    )  # fmt: skip
    for point in points:
        if point.chosen:
            axes.annotate(
                f"chosen: {point.name}, {point.weight_bytes:,} bytes\n{fresh}",
                (point.weight_bytes / 1000, point.retention),
                xytext=(12, -34), textcoords="offset points",
                arrowprops={"arrowstyle": "->", "color": "0.3"},
            )  # fmt: skip
    axes.set_xscale("log")
    ticks = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
    low, high = axes.get_xlim()
    axes.set_xticks([t for t in ticks if low <= t <= high], minor=False)
    axes.get_xaxis().set_major_formatter(lambda value, _: f"{value:g}")
    axes.get_xaxis().set_minor_formatter(lambda value, _: "")
    axes.set_xlabel("weights, biases, scales and normaliser (kB, logarithmic)")
    axes.set_ylabel("retention: 0 is random, 1 is the float policy")
    axes.set_title(f"{result.source.label.upper()} on {result.environment.id}", loc="left")
    axes.grid(visible=True, color="0.9")
    axes.legend(frameon=False, fontsize=9)
    figure.savefig(path)
