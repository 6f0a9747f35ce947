"""Passages about the user's results: findings, policies, score cards, each with its interval."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from squeezerl.analysis.frames import interval_of
from squeezerl.assistant.passage import Passage
from squeezerl.assistant.results import Results
from squeezerl.methods.recipe import known_records
from squeezerl.report.text import (
    algorithm_label,
    format_interval,
    format_number_interval,
    format_si_interval,
    format_times_interval,
)


def results_passages(results: Results) -> list[Passage]:
    """All that was found, in order: what it rests on, findings, policies, cards, comparisons."""
    return [
        *_basis(results),
        *_findings(results),
        *_notes(results),
        *_policies(results),
        *_cards(results),
        *_comparisons(results),
    ]


def policy_name(row: Mapping[Any, Any]) -> str:
    """For example "l2-30"."""
    return str(row["method"]) + ("" if pd.isna(row["ratio"]) else f"-{100 * row['ratio']:g}")


def _basis(results: Results) -> Iterator[Passage]:
    cells = results.cells
    methods = ", ".join(dict.fromkeys(cells["method"]))
    agents = ", ".join(
        f"{agent} ({int(seeds)} {'training' if seeds == 1 else 'trainings'})"
        for agent, seeds in cells.groupby("agent")["train_seeds"].max().items()
    )
    yield _passage(
        results,
        "basis",
        f"How far the results of {results.name} can be trusted: how well the agents were trained",
        f"{results.basis} Agents: {agents}. Methods: {methods}. How far the results can be trusted "
        "is a matter of how many trainings and episodes there are and of how many agents count as "
        "trained.",
        "basis",
    )


def _findings(results: Results) -> Iterator[Passage]:
    several = len(results.findings) > 1
    for runtime, found in results.findings.items():
        end = f"-{runtime}" if several else ""
        verdicts = "; ".join(
            f"finding {number} {verdict}" for number, verdict in results.overall[runtime].items()
        )
        yield _passage(
            results,
            f"findings{end}",
            f"The paper's findings tested on {results.name}: the verdicts",
            f"{verdicts} (costs in {runtime}). {results.basis}",
            "findings",
        )
        for one in found:
            label = f"{one['number']}{one['part']}"
            figure = ""
            if one["estimate"] is not None and one["ci95"]:
                low, high = one["ci95"]
                figure = f" {one['statistic']}: {one['estimate']:.3g} [{low:.3g}, {high:.3g}]."
            yield _passage(
                results,
                f"finding-{label}{end}",
                f"Finding {label} in {results.name}: {one['claim']}",
                f"{one['verdict']}, from {one['cells']} cells. {one['evidence']}{figure} "
                f"What is tested: {one['hypothesis']}",
                f"finding {label}",
            )


def _notes(results: Results) -> Iterator[Passage]:
    for number, (title, text) in enumerate(results.notes.items(), 1):
        yield _passage(results, f"note-{number}", title, text, "results.json")


def _labelled(frame: pd.DataFrame) -> Iterator[tuple[dict[Any, Any], str, str]]:
    """Each row, its policy's name, and that with the label which questions may use."""
    labels = {record.name: record.label for record in known_records()}
    for row in frame.to_dict("records"):
        name = policy_name(row)
        label = labels.get(str(row["method"]))
        yield row, name, f"{name}, {label}," if label else name


def _policies(results: Results) -> Iterator[Passage]:
    costs = {
        key: list(rows.to_dict("records"))
        for key, rows in results.costs.groupby(["agent", "method", "ratio"], dropna=False)
    }
    by_policy = {_key(*key): rows for key, rows in costs.items()}
    for row, name, labelled in _labelled(results.cells):
        measured = by_policy.get(_key(row["agent"], row["method"], row["ratio"]), ())
        yield _passage(
            results,
            f"cell:{row['agent']}:{name}",
            f"{algorithm_label(row['algorithm'])} on {row['env_id']} with {labelled}: return, "
            "retention, size and cost",
            " ".join((*_kept(row), *(_cost(cost) for cost in measured))),
            f"cells, {row['agent']}, {name}",
            row,
        )


def _key(agent: Any, method: Any, ratio: Any) -> tuple[str, str, float | None]:
    return str(agent), str(method), None if pd.isna(ratio) else round(float(ratio), 6)


def _kept(row: Mapping[Any, Any]) -> Iterator[str]:
    if (returned := interval_of(row, "mean_return")) is not None:
        yield (
            f"Mean return {format_number_interval(returned)} over {row['episodes']} episodes of "
            f"each of {row['train_seeds']} trainings (95 % interval over {row['over']})."
        )
    if row["trained"] is False or row["trained"] == "False":
        yield "The baseline does not count as trained, so nothing is said of what was kept."
    elif (kept := interval_of(row, "retention")) is not None:
        yield f"Retention {format_interval(kept)} of the float policy's return."
    if isinstance(row["verdict"], str):
        yield f"Verdict for {row['threshold']:.0%}: {row['verdict']}."
    if not pd.isna(row["weight_bytes"]):
        yield (
            f"{row['weight_bytes']:,.0f} bytes of weights, {row['file_bytes']:,.0f} in the file; "
            f"{row['weight_times']:.2f} times smaller than float."
        )


def _cost(row: Mapping[Any, Any]) -> str:
    said = [f"In {row['runtime']}:"]
    for name, unit in (("latency_s", "s"), ("energy_j", "J"), ("memory_bytes", "B")):
        if (figure := interval_of(row, name)) is not None:
            noun = name.partition("_")[0]
            estimated = " (estimated)" if noun == "energy" and row["energy_estimated"] else ""
            said.append(f"{noun} {format_si_interval(figure, unit)}{estimated},")
    if (times := interval_of(row, "latency_times")) is not None:
        said.append(f"{format_times_interval(times)} faster than float,")
    return " ".join(said).rstrip(",:") + "."


def _cards(results: Results) -> Iterator[Passage]:
    several = results.cards["runtime"].nunique() > 1
    for row, name, labelled in _labelled(results.cards):
        where = "" if pd.isna(row["runtime"]) else f" in {row['runtime']}"
        score = ""
        if not pd.isna(row["score_low"]):
            total = "unknown" if pd.isna(row["score"]) else f"{row['score']:.2f}"
            score = f"Score {total}, between {row['score_low']:.2f} and {row['score_high']:.2f}. "
        yield _passage(
            results,
            f"card:{row['agent']}:{name}" + (f":{row['runtime']}" if several else ""),
            f"Score card: should {labelled} of {algorithm_label(row['algorithm'])} on "
            f"{row['env_id']} be deployed{where}?",
            f"{score}{row['recommendation']}",
            f"score-cards, {row['agent']}, {name}",
            row,
        )


def _comparisons(results: Results) -> Iterator[Passage]:
    for row in results.comparison.to_dict("records"):
        change = interval_of(row, "change")
        ours = "is not known" if change is None else f"by {format_interval(change)}"
        yield _passage(
            results,
            f"paper:{row['agent']}:{row['method']}",
            f"{row['method']} of {algorithm_label(row['algorithm'])} on {row['env_id']} beside the "
            "paper",
            f"The paper's return changed by {row['published_change']:.1%}, ours {ours}. Whether "
            f"90 % are kept: {row['keeps_agrees']}. Direction of the change: "
            f"{row['direction_agrees']}.",
            f"comparison, {row['agent']}, {row['method']}",
            row,
        )


def _passage(
    results: Results,
    name: str,
    title: str,
    text: str,
    where: str,
    row: Mapping[Any, Any] | None = None,
) -> Passage:
    return Passage(
        id=f"results:{name}",
        title=title,
        text=text.strip(),
        source=f"{results.source}: {where}",
        kind="results",
        about=None if row is None else (str(row["algorithm"]), str(row["env_id"])),
    )
