"""A squeeze from a log: its JSON, its document, and the files that it leaves behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from squeezerl.artifacts.artifact import read_artifact
from squeezerl.records import to_json
from squeezerl.report.action_report import (
    NO_RETURN,
    action_blocks,
    action_json,
    demand_text,
    format_share,
    verdict_text,
)
from squeezerl.report.deployment import deployment
from squeezerl.report.document import Block, Code, Document, Heading, Paragraph, Table, Text
from squeezerl.report.profile_report import (
    measured_cells,
    measured_columns,
    profile_blocks,
    profile_json,
)
from squeezerl.report.renderers import render
from squeezerl.report.squeeze_report import what_was_chosen
from squeezerl.report.text import DASH
from squeezerl.search.candidates import BASELINE
from squeezerl.search.result import LogSqueezeResult, LogTrial


def write_log_squeeze_report(result: LogSqueezeResult, folder: Path) -> None:
    """Write report.md, report.html and results.json; paths in them are relative to `folder`."""
    text = json.dumps(log_squeeze_json(result, Path()), indent=1)
    (folder / "results.json").write_text(text + "\n", encoding="utf-8")
    document = log_squeeze_document(result, folder)
    for renderer, name in (("markdown", "report.md"), ("html", "report.html")):
        (folder / name).write_text(render(document, renderer, folder), encoding="utf-8")


def log_squeeze_json(result: LogSqueezeResult, root: Path) -> dict[str, Any]:
    """A squeeze; artifacts are given as paths below `root`."""
    profile = _measured(result)
    measured = {row["artifact"]: row for row in profile["rows"]} if profile else {}
    trials = [_trial_json(trial, root, measured) for trial in result.trials]
    by_candidate = dict(zip((trial.candidate for trial in result.trials), trials, strict=True))
    baseline = {
        "recipe": BASELINE.recipe.text,
        "method": BASELINE.name,
        "weight_bytes": result.baseline_size.weight_bytes,
        "file_bytes": result.baseline_size.file_bytes,
        "artifact": str(root / "candidates" / BASELINE.name),
        "profile": measured.get(BASELINE.name),
        "recorded": result.original.recorded,
    }
    chosen = by_candidate.get(result.chosen, baseline) | {"artifact": str(root)}
    confirmation = None if result.confirmation is None else action_json(result.confirmation)
    return {
        "agent": result.source.to_json(),
        "observations": to_json(result.log),
        "keep_actions": result.demand.text,
        "seed": result.seed,
        "baseline": baseline,
        "candidates": trials,
        "chosen": chosen | {"confirmation": confirmation},
        "guarantee": "actions",
        "budget_s": result.budget_s,
        "max_bytes": result.max_bytes,
        "host": to_json(result.host),
        "energy_problem": profile["energy_problem"] if profile else None,
        "measurement_problem": result.measurement_problem,
    }


def _trial_json(trial: LogTrial, root: Path, measured: dict[str, Any]) -> dict[str, Any]:
    recipe = trial.candidate.recipe
    return {
        "recipe": recipe.text,
        "attempt": trial.candidate.attempt,
        "method": recipe.record.name,
        "ratio": recipe.ratio,
        "weight_bytes": trial.size.weight_bytes if trial.size else None,
        "file_bytes": trial.size.file_bytes if trial.size else None,
        "actions": None if trial.kept is None else action_json(trial.kept),
        "artifact": str(root / trial.artifact) if trial.artifact else None,
        "profile": measured.get(trial.candidate.name),
        "problem": trial.problem,
    }


def log_summary(result: LogSqueezeResult) -> str:
    """What was chosen and why, in a sentence or two."""
    if result.confirmation is None:
        return f"{_nothing(result)} The float policy is the artifact."
    return (
        f"{what_was_chosen(result)} Of "
        f"{result.confirmation.decisions:,} decisions that played no part in the choice, "
        f"{format_share(result.confirmation)} are {demand_text(result.confirmation)}. This is no "
        "guarantee on the return."
    )


def _nothing(result: LogSqueezeResult) -> str:
    limit = "" if result.max_bytes is None else f" of at most {result.max_bytes:,} bytes"
    text = f"Nothing smaller{limit} was confirmed to keep {result.demand.text} of the actions."
    most = result.max_bytes or result.baseline_size.weight_bytes
    near = [t for t in result.trials if t.kept and t.size and t.size.weight_bytes <= most]
    best = max(near, key=lambda trial: trial.kept.share.estimate if trial.kept else 0, default=None)
    if best is None or best.kept is None or best.size is None:
        return text
    return (
        f"{text} The best is {best.candidate.name} ({best.size.weight_bytes:,} bytes, in "
        f"{best.artifact}): {format_share(best.kept)} of {best.kept.decisions:,} decisions, "
        f"{verdict_text(best.kept)}."
    )


def log_squeeze_document(result: LogSqueezeResult, folder: Path) -> Document:
    """The whole report; paths in it are relative to the folder, which has the artifact."""
    measured = _measured(result)
    blocks: list[Block] = [Paragraph(log_summary(result)), Paragraph(NO_RETURN)]
    if (recorded := _recorded(result)) is not None:
        blocks.append(Paragraph(recorded))
    blocks += [
        log_candidates_table(result, measured),
        Paragraph(
            "The table's shares are of the part of the log that is chosen by, the fifth before the "
            "last. Policies were fitted to the three fifths before it, and the choice was "
            "confirmed on the last one."
        ),
    ]
    if result.confirmation is not None:
        blocks += [Heading("What was confirmed"), *action_blocks(result.confirmation)]
    if result.measurement_problem is not None:
        blocks.append(Paragraph(f"Nothing was measured: {result.measurement_problem}"))
    elif measured is not None:
        blocks += [Heading("Measured"), *profile_blocks(measured)]
    return Document(
        title=f"Squeezed from a log: {result.source.label.upper()}",
        blocks=(
            *blocks,
            *deployment(read_artifact(folder), has_c=(folder / "c").is_dir()),
            _facts(result),
        ),
    )


def log_squeeze_result(result: LogSqueezeResult) -> Document:
    """What the command line shows."""
    recorded = _recorded(result)
    return Document(
        title="Squeezed",
        blocks=(
            log_candidates_table(result, _measured(result)),
            Paragraph(log_summary(result)),
            *(() if recorded is None else (Paragraph(recorded),)),
        ),
    )


def log_candidates_table(result: LogSqueezeResult, measured: dict[str, Any] | None) -> Table:
    """All that was tried, by size, the float policy first."""
    columns, cells = measured_columns(measured), measured_cells(measured)
    none = (DASH,) * len(columns)
    before = result.baseline_size
    header = ("candidate", "bytes", "times smaller", "file", "decisions kept", *columns, "verdict")
    rows: list[tuple[str, ...]] = [
        (
            BASELINE.name,
            f"{before.weight_bytes:,}",
            "1.0",
            f"{before.file_bytes:,}",
            "100 %",
            *cells.get(BASELINE.name, none),
            "baseline",
        )
    ]
    for trial in sorted(result.trials, key=lambda t: -(t.size.weight_bytes if t.size else 0)):
        name = trial.candidate.name
        if trial.kept is None or trial.size is None:
            rows.append((name, *(DASH,) * 4, *none, trial.problem or "failed"))
            continue
        rows.append(
            (
                name,
                f"{trial.size.weight_bytes:,}",
                f"{before.weight_bytes / trial.size.weight_bytes:,.1f}",
                f"{trial.size.file_bytes:,}",
                format_share(trial.kept),
                *cells.get(name, none),
                trial.kept.verdict + (", chosen" if trial.candidate == result.chosen else ""),
            )
        )
    return Table(header=header, rows=tuple(rows), left=(0, len(header) - 1))


def _recorded(result: LogSqueezeResult) -> str | None:
    """How near the float policy is to what the log recorded, which shows a log of another one."""
    share = result.original.recorded
    if share is None:
        return None
    text = (
        f"Of the actions that the log holds, the float policy's are near enough to "
        f"{100 * share:.1f} % in the last fifth."
    )
    if share < result.demand.share:
        text += (
            " Is this log that of this policy, with the same scaling of observations and actions, "
            "and without noise?"
        )
    return text


def _measured(result: LogSqueezeResult) -> dict[str, Any] | None:
    return None if result.profile is None else profile_json(result.profile)


def _facts(result: LogSqueezeResult) -> Table:
    source, host, log = result.source, result.host, result.log
    rows: dict[str, Text] = {
        "policy": (Code(source.path), f" ({source.kind})"),
        "sha256": Code(source.sha256),
        "log": (
            Code(log.origin),
            f", {log.count:,} rows, sha256 ",
            Code(log.sha256),
        ),
        "demand": result.demand.text,
        "seed": str(result.seed),
        "host": f"{host.cpu}, {host.cores} cores, {host.system}, Python {host.python}",
        "libraries": ", ".join(f"{name} {version}" for name, version in host.libraries.items()),
    }
    return Table(header=("", ""), rows=tuple(rows.items()), left=(0, 1))
