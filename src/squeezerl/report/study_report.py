"""What a study leaves behind for people: a report, its tables and its figures."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from squeezerl.analysis.findings import overall_verdicts
from squeezerl.analysis.frames import StudyData
from squeezerl.analysis.study_analysis import StudyAnalysis, analyse
from squeezerl.artifacts.output import new_folder
from squeezerl.report.comparison_tables import comparison_tables
from squeezerl.report.html_page import html_page
from squeezerl.report.intervals import bounds, estimate
from squeezerl.report.other_tables import (
    aggregates_table,
    costs_table,
    runs_table,
    score_frame,
    score_table,
)
from squeezerl.report.return_tables import (
    cells_table,
    pruned_tables,
    returns_tables,
)
from squeezerl.report.study_figures import draw_study_figures
from squeezerl.report.study_markdown import FailedJob, study_markdown
from squeezerl.report.study_tables import StudyTable, write_table

REPORT_JSON = "study.json"
_VERSION = 1


def write_study_report(
    data: StudyData,
    folder: Path,
    *,
    force: bool = False,
    seed: int = 0,
    unfinished: Mapping[str, int] | None = None,
    failures: Sequence[FailedJob] = (),
) -> None:
    """Write report.md, index.html, study.json, tables/ and figures/ into a new folder.

    The same data and seed give the same files. A study that is not finished is reported as far as
    it went.

    Args:
        data: of the study.
        folder: to be made, whole or not at all.
        force: whether a report that stands there is replaced.
        seed: of the bootstrap's resamples.
        unfinished: jobs that are not done, by state ("pending", "running", "blocked").
        failures: jobs that failed for good.

    Raises:
        OutputError: if the folder cannot be written, or must not be replaced.
    """
    with new_folder(folder, force=force, marker=REPORT_JSON) as work:
        analysis = analyse(data, seed)
        tables = study_tables(data, analysis)
        (work / "tables").mkdir()
        for table in tables:
            write_table(table, work / "tables")
        (work / "figures").mkdir()
        pictures = draw_study_figures(
            data, analysis.cells, analysis.aggregates, analysis.profiles, work / "figures"
        )
        text = study_markdown(
            data, analysis, {table.name: table for table in tables}, pictures,
            seed=seed, unfinished=unfinished or {}, failures=failures,
        )  # fmt: skip
        (work / "report.md").write_text(text, encoding="utf-8")
        page = html_page(text, work, f"Study: {data.name}")
        (work / "index.html").write_text(page, encoding="utf-8")
        content = json.dumps(study_json(data, analysis, seed), indent=1, allow_nan=False)
        (work / REPORT_JSON).write_text(content + "\n", encoding="utf-8")


def study_tables(data: StudyData, analysis: StudyAnalysis) -> list[StudyTable]:
    """Every table of the report."""
    return [
        runs_table(data, analysis.cells),
        *returns_tables(analysis.returns),
        *pruned_tables(analysis.pruned),
        *comparison_tables(analysis.comparison, analysis.percentages),
        aggregates_table(analysis.aggregates),
        costs_table(data.costs),
        score_table(analysis.cards, best=True),
        score_table(analysis.cards),
        cells_table(analysis.cells),
    ]


def study_json(data: StudyData, analysis: StudyAnalysis, seed: int) -> dict[str, Any]:
    """Findings and score cards for programs; the tables' figures are in their CSV."""
    return {
        "version": _VERSION,
        "study": data.name,
        "seed": seed,
        "findings": {
            runtime: [
                {
                    "number": finding.number,
                    "part": finding.part,
                    "claim": finding.claim,
                    "hypothesis": finding.hypothesis,
                    "statistic": finding.statistic,
                    "estimate": estimate(finding.estimate),
                    "ci95": bounds(finding.estimate),
                    "verdict": finding.verdict,
                    "evidence": finding.evidence,
                    "cells": finding.samples,
                }
                for finding in found
            ]
            for runtime, found in analysis.findings.items()
        },
        "overall": {
            runtime: {str(number): verdict for number, verdict in overall_verdicts(found).items()}
            for runtime, found in analysis.findings.items()
        },
        "score_cards": [
            {name: _plain(value) for name, value in row.items()}
            for row in score_frame(analysis.cards).to_dict("records")
        ],
    }


def _plain(value: Any) -> Any:
    """As JSON has it; unknown is null."""
    return None if isinstance(value, float) and math.isnan(value) else value
