"""`squeezerl study results` and `report`: what a study has found so far."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from squeezerl.cli.console import JsonOption, print_json, print_table, reports_errors, say
from squeezerl.cli.study_options import StoreOption, StudyArgument
from squeezerl.errors import InvalidArgumentError

if TYPE_CHECKING:
    import pandas as pd


@reports_errors
def results(
    name: StudyArgument,
    store: StoreOption = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Every policy's size, return and retention, as far as the study is.

    Example: squeezerl study results quickstart --csv
    """
    if csv and as_json:
        raise InvalidArgumentError("choose --csv or --json")
    import numpy as np

    from squeezerl.studies.run import find_study, open_existing

    study_name, url = find_study(name, store)
    with open_existing(url) as opened:
        from squeezerl.analysis.cells import cells
        from squeezerl.studies.results import load_study

        data = load_study(opened, study_name)
    table = cells(data, np.random.default_rng(0))
    if csv:
        sys.stdout.write(table.to_csv(index=False))
        return
    if as_json:
        rows = [
            {key: _plain(value) for key, value in row.items()} for row in table.to_dict("records")
        ]
        print_json({"study": study_name, "cells": rows})
        return
    print_table(
        ("agent", "method", "bytes", "return [95 %]", "retention [95 %]", "verdict at 90 %"),
        [_cell_row(row) for _, row in table.iterrows()],
        left=(0, 1),
    )


@reports_errors
def report(
    name: StudyArgument,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="DIR", help="Folder to write.", show_default=False),
    ],
    store: StoreOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the report at DIR.")] = False,
) -> None:
    """Tables, figures and tested findings, as far as the study is.

    Example: squeezerl study report quickstart -o quickstart-report
    """
    from squeezerl.studies.run import find_study, open_existing

    study_name, url = find_study(name, store)
    with open_existing(url) as opened:
        from squeezerl.report.study_report import FailedJob, write_study_report
        from squeezerl.studies.results import load_study

        data = load_study(opened, study_name)
        counts = opened.counts(study_name)
        failures = opened.failures(study_name)
    if data.returns.empty:
        raise InvalidArgumentError(f"{study_name}: no evaluation is done yet; see study status")
    write_study_report(
        data,
        output,
        force=force,
        unfinished={
            state: count
            for state in ("pending", "running", "blocked")
            if (count := getattr(counts, state))
        },
        failures=[
            FailedJob(
                kind=failure.job.kind,
                label=failure.label,
                error=failure.error,
                attempts=failure.attempts,
            )
            for failure in failures
        ],
    )
    say(f"{output / 'report.md'}")


def _cell_row(row: pd.Series) -> tuple[str, ...]:
    ratio = _plain(row["ratio"])
    method = row["method"] if ratio is None else f"{row['method']} {ratio:.0%}"

    def interval(name: str, times: float, digits: int, unit: str) -> str:
        values = [_plain(row[f"{name}{bound}"]) for bound in ("", "_low", "_high")]
        if values[0] is None:
            return "–"
        estimate, low, high = (
            "–" if value is None else f"{value * times:,.{digits}f}" for value in values
        )
        return f"{estimate}{unit} [{low}, {high}]"

    trained, verdict = _plain(row["trained"]), _plain(row["verdict"])
    size = _plain(row["file_bytes"])
    return (
        str(row["agent"]),
        method,
        "–" if size is None else f"{size:,.0f}",
        interval("mean_return", 1, 1, ""),
        interval("retention", 100, 1, " %"),
        "untrained" if trained is False else str(verdict or "–"),
    )


def _plain(value: Any) -> Any:
    """What JSON takes: missing values as `None`, numpy's numbers as Python's."""
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and value != value else value
