"""What a study leaves behind for people: a report, its tables and its figures."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from squeezerl.analysis.figure_data import untrained_agents
from squeezerl.analysis.finding import UNDECIDED, Finding, overall_verdicts
from squeezerl.analysis.frames import StudyData, plain
from squeezerl.analysis.published import SOURCE
from squeezerl.analysis.study_analysis import StudyAnalysis, analyse
from squeezerl.artifacts.output import new_folder
from squeezerl.jobs.job import Failure
from squeezerl.records import to_json
from squeezerl.report import document as doc
from squeezerl.report.chart_picture import draw_chart
from squeezerl.report.paper_tables import comparison_tables, pruned_tables, returns_tables
from squeezerl.report.renderers import render
from squeezerl.report.renderers.json import document_json
from squeezerl.report.study_figures import Pictures, draw_study_figures
from squeezerl.report.study_first import first_screen
from squeezerl.report.study_tables import (
    aggregates_table,
    cells_table,
    costs_table,
    runs_table,
    score_frame,
    score_table,
    trainings_tables,
)
from squeezerl.report.text import algorithm_label, bounds, estimate

REPORT_JSON = "study.json"
_VERSION = 1
_MOST_ROWS = 100  # longer tables are files beside the report
_ERROR_LINES = 12


def write_study_report(
    data: StudyData,
    folder: Path,
    *,
    force: bool = False,
    seed: int = 0,
    unfinished: Mapping[str, int] | None = None,
    failures: Sequence[Failure] = (),
) -> None:
    """Write report.md, index.html, study.json, tables/ and figures/ into a new folder.

    The same data and seed give the same files. A study that is not finished is reported as far as
    it went.

    Args:
        data: of the study.
        folder: to be made, whole or not at all.
        force: whether a report that is already there may be replaced.
        seed: of the bootstrap's resamples.
        unfinished: how many jobs are not done, by state ("pending", "running", "blocked").
        failures: jobs that failed for good.

    Raises:
        OutputError: if the folder cannot be written, or must not be replaced.
    """
    with new_folder(folder, force=force, marker=REPORT_JSON) as work:
        analysis = analyse(data, seed)
        tables = {table.name: table for table in study_tables(data, analysis)}
        (work / "tables").mkdir()
        for table in tables.values():
            write_table(table, work / "tables")
        (work / "figures").mkdir()
        pictures = draw_study_figures(data, analysis, work)
        document = study_document(
            data, analysis, tables, pictures,
            seed=seed, unfinished=unfinished or {}, failures=failures,
        )  # fmt: skip
        for figure in doc.charts(document.blocks):
            draw_chart(figure, work / figure.path)
        for renderer, name in (("markdown", "report.md"), ("html", "index.html")):
            (work / name).write_text(render(document, renderer, work), encoding="utf-8")
        content = study_json(data, analysis, seed) | {"report": document_json(document)}
        text = json.dumps(content, indent=1, allow_nan=False)
        (work / REPORT_JSON).write_text(text + "\n", encoding="utf-8")


def write_table(table: doc.Table, folder: Path) -> None:
    """Write `name`.md, .tex and .csv; the CSV is the tidy data, in full precision."""
    untitled = doc.Document(title=table.title, blocks=(replace(table, title=""),))
    captioned = doc.Document(title="", blocks=(table,))
    for renderer, document, suffix in (("markdown", untitled, "md"), ("latex", captioned, "tex")):
        path = folder / f"{table.name}.{suffix}"
        path.write_text(render(document, renderer, folder), encoding="utf-8")
    if table.frame is not None:
        table.frame.to_csv(folder / f"{table.name}.csv", index=False, lineterminator="\n")


def study_tables(data: StudyData, analysis: StudyAnalysis) -> list[doc.Table]:
    """All tables of the report."""
    methods = data.methods
    return [
        runs_table(data, analysis.cells),
        *returns_tables(analysis.returns, methods),
        *pruned_tables(analysis.pruned, data.swept_methods, methods),
        *comparison_tables(analysis.comparison, analysis.percentages, methods),
        aggregates_table(analysis.aggregates, methods),
        *trainings_tables(analysis.trainings, analysis.robustness, methods),
        costs_table(data.costs, methods),
        score_table(analysis.cards, methods, best=True),
        score_table(analysis.cards, methods),
        cells_table(analysis.cells, methods),
    ]


def study_json(data: StudyData, analysis: StudyAnalysis, seed: int) -> dict[str, Any]:
    """Findings and score cards for programs; the figures of the tables are in their CSV files."""
    return {
        "version": _VERSION,
        "study": data.name,
        "seed": seed,
        "basis": analysis.basis,
        "findings": {
            runtime: [
                to_json(one) | {"estimate": estimate(one.estimate), "ci95": bounds(one.estimate)}
                for one in found
            ]
            for runtime, found in analysis.findings.items()
        },
        "overall": {
            runtime: {str(number): verdict for number, verdict in overall_verdicts(found).items()}
            for runtime, found in analysis.findings.items()
        },
        "score_cards": [
            {name: plain(value) for name, value in row.items()}
            for row in score_frame(analysis.cards).to_dict("records")
        ],
    }


def study_document(
    data: StudyData,
    analysis: StudyAnalysis,
    tables: Mapping[str, doc.Table],
    pictures: Pictures,
    *,
    seed: int,
    unfinished: Mapping[str, int],
    failures: Sequence[Failure],
) -> doc.Document:
    """The whole report; paths in it are relative to its folder.

    Args:
        data: of the study.
        analysis: of it.
        tables: by name.
        pictures: that were drawn or left out, by name.
        seed: of the resampling.
        unfinished: how many jobs are not done, by state.
        failures: jobs that failed.
    """

    def table(*names: str) -> list[doc.Block]:
        return [block for name in names for block in _linked(tables[name])]

    def picture(*starts: str) -> list[doc.Block]:
        return [shown for name, shown in pictures.items() if name.startswith(starts)]

    blocks: list[doc.Block] = [
        *first_screen(data, analysis),
        *_summary(data, unfinished, failures, analysis),
        doc.Heading("Over all cells"),
        *table("aggregates"),
        *picture("iqm", "profiles"),
        doc.Heading("What was run"),
        *table("runs"),
        *_untrained(analysis),
        *picture("curves"),
        *table(*(name for name in ("trainings", "robustness") if tables[name].rows)),
        doc.Heading("Returns of quantized policies"),
        *table("table1", "table1-retention"),
        doc.Heading("Returns of pruned policies"),
        *table("table2-mean", "table2-interval"),
        *picture("retention", "tickets"),
        doc.Heading("Best pruning"),
        *table("table3-mean", "table3-interval"),
        doc.Heading("What a decision takes"),
        *picture("figure"),
        *table("costs"),
        doc.Heading("Findings of the published study, tested here"),
        *_findings(analysis),
        doc.Heading("Beside the published tables"),
        *_agreement(analysis),
        *table("comparison", "comparison-percentages"),
        doc.Heading("Score cards"),
        *table("score-cards-best", "score-cards"),
        doc.Heading("Every policy"),
        *table("cells"),
        *_failures(failures),
        doc.Heading("Hosts and method"),
        *_hosts(data),
        _method(seed),
    ]
    return doc.Document(title=f"Study: {data.name}", blocks=tuple(blocks))


def _method(seed: int) -> doc.Paragraph:
    return doc.Paragraph(
        (
            "Intervals are 95 %. Those of returns and retention come from a hierarchical "
            "bootstrap: trainings are resampled and, within each, episodes paired by seed with "
            "those of the float policy and the random policy. Where an agent was trained once, "
            "they are over its episodes and say nothing about other trainings. Over several "
            "trainings they are Student's t with the bootstrap's standard error, as are those of "
            "means over cells; shares of cells have exact binomial intervals. Intervals of latency "
            "and energy are over independent processes on one host, as ",
            doc.Code("squeezerl profile"),
            f" measures. All resampling is from seed {seed}: the same results give the same "
            "report. Tables are in ",
            doc.Code("tables/"),
            " as Markdown, LaTeX and CSV, figures in ",
            doc.Code("figures/"),
            " as PNG and SVG.",
        )
    )


def _summary(
    data: StudyData,
    unfinished: Mapping[str, int],
    failures: Sequence[Failure],
    analysis: StudyAnalysis,
) -> list[doc.Block]:
    agents, untrained = analysis.cells["agent"].nunique(), untrained_agents(analysis.cells)
    episodes = int(data.returns["returns"].map(len).sum())
    said: list[doc.Inline] = [
        f"{agents} {'cell' if agents == 1 else 'cells'} of algorithm and environment, "
        f"{len(data.returns):,} evaluated policies, {episodes:,} episodes, "
        f"{len(data.costs):,} measured policies, {len(data.trainings):,} trainings."
    ]
    if untrained:
        said.append(
            f" In {len(untrained)} the baseline does not count as trained: these cells are shown "
            "as untrained and count in nothing that is said of returns."
        )
    left = ", ".join(f"{count:,} {state}" for state, count in unfinished.items() if count)
    if left:
        said += [" ", doc.Strong(f"The study is not complete: {left} jobs.")]
    if failures:
        said.append(f" {len(failures):,} {'job' if len(failures) == 1 else 'jobs'} failed (below).")
    return [doc.Paragraph(tuple(said))]


def _findings(analysis: StudyAnalysis) -> list[doc.Block]:
    blocks: list[doc.Block] = [
        doc.Paragraph(
            f"The findings of {SOURCE}, each split into hypotheses that can fail. A finding is "
            "supported if all of its parts are, refuted if one is, else undecided; with too few "
            "trained cells, a part that is about all of them stays undecided. The verdicts are "
            f"about the agents of this study and no stronger than these. {analysis.basis}"
        ),
    ]
    for runtime, several in analysis.findings.items():
        if len(analysis.findings) > 1:
            blocks.append(doc.Heading(f"Costs in {runtime}", 3))
        blocks.append(doc.Items(_verdicts(several)))
        rows = tuple(
            (
                finding.label,
                finding.claim,
                doc.Strong(finding.verdict),
                finding.evidence,
                str(finding.cells),
            )
            for finding in several
        )
        header = ("", "claim", "verdict", "evidence", "cells")
        evidence = doc.Table(header=header, rows=rows, left=(0, 1, 2, 3))
        blocks.append(doc.Folded(f"The evidence of each part, costs in {runtime}", (evidence,)))
    tested = tuple(
        (
            doc.Strong(finding.label),
            f" {finding.hypothesis} Statistic: {finding.statistic}.",
        )
        for finding in next(iter(analysis.findings.values()))
    )
    return [*blocks, doc.Folded("What each part tests", (doc.Items(tested),))]


def _verdicts(several: Sequence[Finding]) -> tuple[doc.Text, ...]:
    """One line for each finding that is decided, and one for all that are not."""
    overall = overall_verdicts(several)
    lines: list[doc.Text] = []
    for number, verdict in overall.items():
        if verdict != UNDECIDED:
            parts: dict[str, list[str]] = {}
            for one in several:
                if one.number == number:
                    parts.setdefault(one.claim, []).append(f"{one.label} {one.verdict}")
            claims = " ".join(f"{claim} ({', '.join(said)})" for claim, said in parts.items())
            lines.append((doc.Strong(f"{number} {verdict}"), f": {claims}"))
    left = [str(number) for number, verdict in overall.items() if verdict == UNDECIDED]
    if left:
        lines.append((doc.Strong("Undecided"), f": {', '.join(left)}, for the reasons below."))
    return tuple(lines)


def _linked(table: doc.Table) -> list[doc.Block]:
    """A table with links to its files, or only the links if it is long."""
    files = (doc.Link(end, f"tables/{table.name}.{end}") for end in ("md", "tex", "csv"))
    links = tuple(part for link in files for part in (" · ", link))[1:]
    if not table.rows:
        return [
            doc.Heading(table.title, 3),
            doc.Paragraph("Nothing to show: the study has no such results."),
        ]
    if len(table.rows) > _MOST_ROWS:
        return [
            doc.Heading(table.title, 3),
            doc.Paragraph((f"{len(table.rows):,} rows: ", *links, ".")),
            doc.Paragraph(table.note),
        ]
    return [replace(table, note=(*doc.inlines(table.note), " ", *links))]


def _untrained(analysis: StudyAnalysis) -> list[doc.Block]:
    names = ", ".join(sorted(untrained_agents(analysis.cells)))
    if not names:
        return []
    return [
        doc.Paragraph(
            (
                f"Untrained, and thus without retention, verdict or score: {names}. Actions are "
                "deterministic here; whether an agent needs the noise of its training, ",
                doc.Code("squeezerl evaluate AGENT --stochastic"),
                " shows.",
            )
        )
    ]


def _agreement(analysis: StudyAnalysis) -> list[doc.Block]:
    frame = analysis.comparison
    if frame.empty:
        return [doc.Paragraph("No cell of this study is in the published tables.")]
    items = []
    for column, words in (
        ("direction_agrees", "direction of the change"),
        ("keeps_agrees", "whether 90 % of the return are kept"),
    ):
        counts = Counter(frame[column])
        names = ("agrees", "differs", "undecided", "untrained", "missing")
        said = ", ".join(f"{counts[name]} {name}" for name in names if counts[name])
        items.append(f"{words}: {said} (of {len(frame)})")
    others = sorted({env_id for env_id in frame["env_id"] if not env_id.endswith("-v4")})
    if others:
        are = "is another task" if len(others) == 1 else "are other tasks"
        items.append(
            f"the published figures are of v4 environments; {', '.join(others)} {are}: there "
            "directions may be compared, returns may not"
        )
    return [doc.Items(tuple(items))]


def _failures(failures: Sequence[Failure]) -> Iterable[doc.Block]:
    if failures:
        yield doc.Heading("Failed jobs")
    for failure in failures:
        attempts = "attempt" if failure.attempts == 1 else "attempts"
        yield doc.Paragraph(
            (
                doc.Strong(failure.job.kind),
                f": {_label(failure.label)}, {failure.attempts} {attempts}",
            )
        )
        error = failure.error.strip().splitlines()[-_ERROR_LINES:]
        yield doc.Preformatted("\n".join(error or ["no message"]))


def _label(label: Mapping[str, Any]) -> str:
    """A job's label in one line, without what the kind and the method's name say already."""
    named = {key: value for key, value in label.items() if value not in (None, "")}
    named = {key: value for key, value in named.items() if key not in ("role", "record")}
    if "algorithm" in named:
        named["algorithm"] = algorithm_label(str(named["algorithm"]))
    return ", ".join(
        f"{key} {value if isinstance(value, str) else json.dumps(value)}"
        for key, value in named.items()
    )


def _hosts(data: StudyData) -> list[doc.Block]:
    items: list[tuple[doc.Inline, ...]] = []
    for host_id, facts in sorted(data.hosts.items()):
        known = {name: value for name, value in facts.items() if value not in (None, "", [], {})}
        libraries = known.pop("libraries", {})
        known.pop("id", None)
        said = ", ".join(f"{name} {_fact(value)}" for name, value in known.items())
        named = ", ".join(f"{name} {version}" for name, version in sorted(libraries.items()))
        more = (". ", doc.Emphasis("Libraries:"), f" {named}") if named else ()
        items.append((doc.Code(host_id), f": {said}", *more))
    return [
        doc.Items(tuple(items)) if items else doc.Paragraph("No facts about the hosts are known.")
    ]


def _fact(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_fact(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return " ".join(str(one) for one in value)
    return str(value)
