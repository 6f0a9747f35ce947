"""What a squeeze leaves behind for people: `report.md`, `results.json` and a picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from squeezerl.analysis.retention import fewest_to_keep
from squeezerl.records import Retention
from squeezerl.report.contract import squeeze_json
from squeezerl.report.pareto import draw_pareto
from squeezerl.report.profile_contract import profile_json
from squeezerl.report.profile_table import measured_cells, measured_columns, profile_markdown
from squeezerl.report.text import format_interval, format_return, markdown_table
from squeezerl.search.result import SqueezeResult, Trial
from squeezerl.search.squeeze import BASELINE


def write_squeeze_report(result: SqueezeResult, folder: Path) -> None:
    """Write the three files; paths in them are relative to `folder`."""
    text = json.dumps(squeeze_json(result, Path()), indent=1)
    (folder / "results.json").write_text(text + "\n", encoding="utf-8")
    draw_pareto(result, folder / "pareto.png")
    (folder / "report.md").write_text(squeeze_markdown(result), encoding="utf-8")


def measured_json(result: SqueezeResult) -> dict[str, Any] | None:
    """The JSON of what was measured, if anything was."""
    return None if result.profile is None else profile_json(result.profile)


def table_header(measured: dict[str, Any] | None = None) -> tuple[str, ...]:
    """Titles of `table_rows`."""
    return (
        "candidate",
        "bytes",
        "times smaller",
        "return [95 %]",
        "retention [95 %]",
        "ratio [95 %]",
        "episodes",
        *measured_columns(measured),
        "verdict",
    )


def table_rows(
    result: SqueezeResult, measured: dict[str, Any] | None = None
) -> list[tuple[str, ...]]:
    """The table of all that was tried, by size, the float policy first.

    `measured` is what `measured_json` gave, for its columns.
    """
    cells = measured_cells(measured)
    none = ("–",) * len(measured_columns(measured))
    baseline = (
        BASELINE.name,
        f"{result.baseline_size.file_bytes:,}",
        "1.0",
        format_return(result.baseline_record),
        "100 %",
        "100 %",
        str(len(result.baseline_record.episodes)),
        *cells.get(BASELINE.name, none),
        "baseline",
    )
    trials = sorted(result.trials, key=lambda t: -(t.size.file_bytes if t.size else 0))
    return [
        baseline,
        *(_row(trial, result, cells.get(trial.recipe.name, none)) for trial in trials),
    ]


def _row(trial: Trial, result: SqueezeResult, measured: tuple[str, ...]) -> tuple[str, ...]:
    if trial.judgement is None or trial.size is None:
        return (trial.recipe.name, *"––––––", *measured, trial.problem or "failed")
    retention = trial.judgement.retention
    return (
        trial.recipe.name,
        f"{trial.size.file_bytes:,}",
        f"{result.baseline_size.file_bytes / trial.size.file_bytes:.1f}",
        format_return(trial.judgement.record),
        format_interval(retention.normalized),
        format_interval(retention.ratio),
        str(retention.episodes),
        *measured,
        f"{retention.verdict}" + (", chosen" if trial.recipe == result.chosen else ""),
    )


def summary(result: SqueezeResult) -> str:
    """What was chosen and why, in a sentence or two."""
    if result.confirmation is None:
        return (
            f"Nothing smaller was confirmed to keep {result.retain:.0%} of the return within "
            f"{result.max_episodes} episodes; the float policy is the artifact."
        )
    trial = next(trial for trial in result.trials if trial.recipe == result.chosen)
    assert trial.size is not None
    size, float_size = trial.size.file_bytes, result.baseline_size.file_bytes
    return (
        f"Chosen: {result.chosen.name}, {size:,} bytes ({float_size / size:.1f} times smaller than "
        f"the float policy's {float_size:,}). On fresh seeds it keeps "
        f"{_confirmed(result.confirmation.retention)}."
    )


def _confirmed(retention: Retention) -> str:
    return (
        f"{format_interval(retention.normalized)} of the return over {retention.episodes} episodes"
    )


def squeeze_markdown(result: SqueezeResult) -> str:
    """The report as Markdown."""
    source, host = result.source, result.host
    measured = measured_json(result)
    header = table_header(measured)
    trained_on = source.env_id or "unknown"
    lines = [
        f"# Squeezed: {source.label.upper()} on {result.environment.id}",
        "",
        summary(result),
        "",
        "![Retention against bytes](pareto.png)",
        "",
        *markdown_table(header, table_rows(result, measured), left=(0, len(header) - 1)),
        "",
        "Retention is (R − R_random) / (R_baseline − R_random), ratio is R / R_baseline; both with "
        "a 95 % bootstrap interval over episodes paired by seed with the float policy's. Returns "
        "are over each row's own episodes. The verdict is for a retention of "
        f"{result.retain:.0%} and comes from an interval that is wider, since undecided candidates "
        "are looked at again: keeps (all of it above, over at least "
        f"{fewest_to_keep(result.retain)} episodes), loses (all of it below), undecided. The first "
        "line gives the chosen candidate's retention on other episodes than those of the table. "
        "Candidates are the study's own methods with its one-shot settings, quantized per channel.",
        "",
        *_measurements(measured, result.measurement_problem),
        "| | |",
        "| --- | --- |",
        f"| agent | `{source.path}` ({source.label}, trained on {trained_on}) |",
        f"| sha256 | `{source.sha256}` |",
        f"| return of the float policy | {format_return(result.baseline_record)} |",
        f"| return of a random policy | {format_return(result.random_record)} |",
        f"| environment | {result.environment.id}, run by {result.environment.backend} |",
        f"| seeds | from {result.seed}; confirmation from {_confirmation_seed(result)} |",
        f"| host | {host.cpu}, {host.cores} cores, {host.system}, Python {host.python} |",
        f"| libraries | {', '.join(f'{k} {v}' for k, v in host.libraries.items())} |",
        "",
    ]
    return "\n".join(lines)


def _measurements(measured: dict[str, Any] | None, problem: str | None) -> list[str]:
    if problem is not None:
        return [f"Latency, memory and energy were not measured: {problem}", ""]
    if measured is None:
        return []
    return [
        "## Measured",
        "",
        "One decision in ONNX Runtime on this host, for the float policy, the chosen candidate and "
        "the smallest others that do not lose the return.",
        "",
        profile_markdown(measured),
    ]


def _confirmation_seed(result: SqueezeResult) -> str:
    return "–" if result.confirmation is None else str(result.confirmation.record.seed)
