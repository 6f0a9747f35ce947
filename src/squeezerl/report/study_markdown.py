"""The report of a study as Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from squeezerl.analysis.figure_data import untrained_agents
from squeezerl.analysis.finding import Finding
from squeezerl.analysis.findings import overall_verdicts
from squeezerl.analysis.frames import StudyData
from squeezerl.analysis.published import SOURCE
from squeezerl.analysis.study_analysis import StudyAnalysis
from squeezerl.report.other_tables import label_text
from squeezerl.report.study_figures import Picture
from squeezerl.report.study_tables import StudyTable, escape_markdown, markdown_lines
from squeezerl.report.text import markdown_table

_SHOWN = 100  # rows; longer tables are files beside the report
_ERROR_LINES = 12


@dataclass(frozen=True, kw_only=True)
class FailedJob:
    """A job that failed for good: its kind, its label, the traceback, how often it was tried."""

    kind: str
    label: Mapping[str, Any] | str
    error: str
    attempts: int


def study_markdown(
    data: StudyData,
    analysis: StudyAnalysis,
    tables: Mapping[str, StudyTable],
    pictures: Sequence[Picture],
    *,
    seed: int,
    unfinished: Mapping[str, int],
    failures: Sequence[FailedJob],
) -> str:
    """The whole report; paths in it are relative to its folder.

    Args:
        data: of the study.
        analysis: of it.
        tables: by name.
        pictures: that were drawn or left out.
        seed: of the resampling.
        unfinished: jobs that are not done, by state.
        failures: jobs that failed.
    """
    drawn = {picture.name: picture for picture in pictures}
    figures = [name for name in drawn if name.startswith("figure")]
    after = [name for name in ("retention", "tickets") if name in drawn]
    curves = [name for name in drawn if name.startswith("curves")]

    def table(*names: str) -> list[str]:
        return [line for name in names if name in tables for line in _table(tables[name])]

    def picture(names: Sequence[str]) -> list[str]:
        return [line for name in names for line in _picture(drawn[name])]

    lines = [
        f"# Study: {escape_markdown(data.name)}",
        "",
        *_summary(data, analysis, unfinished, failures),
        "## Findings of the published study, tested here",
        "",
        *_findings(analysis.findings),
        "## What was run",
        "",
        *table("runs"),
        *_untrained(analysis),
        *picture(curves),
        "## Returns of quantized policies",
        "",
        *table("table1", "table1-retention"),
        "## Returns of pruned policies",
        "",
        *table("table2-mean", "table2-interval"),
        *picture(after),
        "## Best pruning",
        "",
        *table("table3-mean", "table3-interval"),
        "## Over all cells",
        "",
        *table("aggregates"),
        *picture(["iqm", "profiles"]),
        "## What a decision takes",
        "",
        *picture(figures),
        *table("costs"),
        "## Beside the published tables",
        "",
        *_agreement(analysis),
        *table("comparison", "comparison-percentages"),
        "## Score cards",
        "",
        *table("score-cards-best", "score-cards"),
        "## Every policy",
        "",
        *table("cells"),
        *_failures(failures),
        "## Hosts and method",
        "",
        *_hosts(data),
        f"Intervals are 95 %. Those of returns and retention come from a hierarchical bootstrap: "
        "trainings are resampled and, within each, episodes paired by seed with the float policy's "
        "and the random policy's; where an agent was trained once they are over its episodes and "
        "say nothing about other trainings. Over several trainings they are Student's t with the "
        "bootstrap's standard error, and so are those of means over cells; shares of cells have "
        "exact binomial ones. Those of latency and energy are over independent "
        f"processes on one host, as `squeezerl profile` measures. All resampling is from seed "
        f"{seed}: the same results give the same report. Tables are in `tables/` as Markdown, "
        "LaTeX and CSV, figures in `figures/` as PNG and SVG.",
        "",
    ]
    return "\n".join(lines)


def _summary(
    data: StudyData,
    analysis: StudyAnalysis,
    unfinished: Mapping[str, int],
    failures: Sequence[FailedJob],
) -> list[str]:
    cells, untrained = analysis.cells, untrained_agents(analysis.cells)
    agents = cells["agent"].nunique()
    episodes = int(data.returns["returns"].map(len).sum())
    said = [
        f"{agents} {'cell' if agents == 1 else 'cells'} of algorithm and environment, "
        f"{len(data.returns):,} evaluated policies, {episodes:,} episodes, "
        f"{len(data.costs):,} measured policies, {len(data.trainings):,} trainings."
    ]
    if untrained:
        said.append(
            f"In {len(untrained)} the baseline is not clearly better than a random policy: these "
            "cells are shown as untrained and count in nothing that is said of returns."
        )
    left = ", ".join(f"{count:,} {state}" for state, count in unfinished.items() if count)
    if left:
        said.append(f"**The study is not complete: {left} jobs.**")
    if failures:
        said.append(f"{len(failures):,} {'job' if len(failures) == 1 else 'jobs'} failed (below).")
    return [*_paragraph(" ".join(said)), *_verdict_list(analysis)]


def _verdict_list(analysis: StudyAnalysis) -> list[str]:
    runtime, found = next(iter(analysis.findings.items()))
    counts = Counter(overall_verdicts(found).values())
    words = ", ".join(f"{counts[name]} {name}" for name in ("supported", "refuted", "undecided"))
    return _paragraph(f"Of the published study's six findings: {words} (costs in {runtime}).")


def _findings(found: Mapping[str, tuple[Finding, ...]]) -> list[str]:
    lines = _paragraph(
        f"The findings of {SOURCE}, each split into hypotheses that can fail. A finding is "
        "supported if all of its parts are, refuted if one is, else undecided; with too few "
        "trained cells a part that is about all of them stays undecided."
    )
    for runtime, several in found.items():
        if len(found) > 1:
            lines += [f"### Costs in {escape_markdown(runtime)}", ""]
        overall = overall_verdicts(several)
        rows = [
            (
                finding.label,
                escape_markdown(finding.claim),
                f"**{finding.verdict}**",
                escape_markdown(finding.evidence),
                str(finding.samples),
            )
            for finding in several
        ]
        header = ("", "claim", "verdict", "evidence", "cells")
        lines += [*markdown_table(header, rows, left=(0, 1, 2, 3)), ""]
        verdicts = "; ".join(f"{number}: {verdict}" for number, verdict in overall.items())
        lines += _paragraph(f"Together: {verdicts}.")
    lines += ["What each part tests:", ""]
    several = next(iter(found.values()))
    lines += [
        f"- **{finding.label}** {escape_markdown(finding.hypothesis)} "
        f"Statistic: {escape_markdown(finding.statistic)}."
        for finding in several
    ]
    return [*lines, ""]


def _table(table: StudyTable) -> list[str]:
    files = " · ".join(f"[{end}](tables/{table.name}.{end})" for end in ("md", "tex", "csv"))
    lines = [f"### {escape_markdown(table.title)}", ""]
    if not table.rows:
        return [*lines, "Nothing to show: the study has no such results.", ""]
    if len(table.rows) > _SHOWN:
        return [*lines, f"{len(table.rows):,} rows: {files}.", "", table.note, ""]
    return [*lines, *markdown_lines(table), "", f"{table.note} {files}", ""]


def _picture(picture: Picture) -> list[str]:
    title = escape_markdown(picture.title)
    if picture.left_out is not None:
        return [f"*{title}* is left out: {picture.left_out}.", ""]
    link = f"[SVG](figures/{picture.name}.svg)"
    return [f"![{title}](figures/{picture.name}.png)", "", f"*{picture.caption}* {link}", ""]


def _untrained(analysis: StudyAnalysis) -> list[str]:
    agents = sorted(untrained_agents(analysis.cells))
    if not agents:
        return []
    names = ", ".join(escape_markdown(agent) for agent in agents)
    return _paragraph(f"Untrained, and thus without retention, verdict or score: {names}.")


def _agreement(analysis: StudyAnalysis) -> list[str]:
    frame = analysis.comparison
    if frame.empty:
        return _paragraph("No cell of this study is in the published tables.")
    lines = []
    for column, words in (
        ("direction_agrees", "direction of the change"),
        ("keeps_agrees", "whether 90 % of the return are kept"),
    ):
        counts = Counter(frame[column])
        names = ("agrees", "differs", "undecided", "untrained", "missing")
        said = ", ".join(f"{counts[name]} {name}" for name in names if counts[name])
        lines.append(f"- {words}: {said} (of {len(frame)})")
    others = sorted({env_id for env_id in frame["env_id"] if not env_id.endswith("-v4")})
    if others:
        lines.append(
            f"- the published figures are of v4 environments; {', '.join(others)} "
            f"{'is another task' if len(others) == 1 else 'are other tasks'}: there directions may "
            "be compared, returns may not"
        )
    return [*lines, ""]


def _failures(failures: Sequence[FailedJob]) -> list[str]:
    if not failures:
        return []
    lines = ["## Failed jobs", ""]
    for failure in failures:
        error = failure.error.strip().splitlines()[-_ERROR_LINES:]
        lines += [
            f"**{escape_markdown(failure.kind)}**: {escape_markdown(label_text(failure.label))}, "
            f"{failure.attempts} {'attempt' if failure.attempts == 1 else 'attempts'}",
            "",
            *(f"    {line}" for line in error or ["no message"]),
            "",
        ]
    return lines


def _hosts(data: StudyData) -> list[str]:
    used = set(data.returns["host_id"]) | set(data.costs["host_id"])
    used |= set(data.trainings["host_id"])
    lines = []
    for host_id, facts in sorted(data.hosts.items()):
        if host_id not in used:
            continue
        known = {name: value for name, value in facts.items() if value not in (None, "", [], {})}
        libraries = known.pop("libraries", {})
        known.pop("id", None)
        said = ", ".join(f"{name} {_fact(value)}" for name, value in known.items())
        lines.append(f"- `{host_id}`: {escape_markdown(said)}")
        if libraries:
            named = ", ".join(f"{name} {version}" for name, version in sorted(libraries.items()))
            lines.append(f"    - {escape_markdown(named)}")
    return [*lines, ""] if lines else _paragraph("No facts of the hosts are known.")


def _fact(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_fact(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return " ".join(str(one) for one in value)
    return str(value)


def _paragraph(text: str) -> list[str]:
    return [text, ""]
