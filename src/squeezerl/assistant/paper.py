"""Passages about the study that the project starts from: facts, and each cell of its tables."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from typing import Any

import yaml

from squeezerl.analysis.published import (
    QUANTIZED,
    SOURCE,
    published_best,
    published_pruned,
    published_quantized,
)
from squeezerl.analysis.retention import THRESHOLD
from squeezerl.assistant.passage import Passage


def paper_passages() -> list[Passage]:
    """The facts, then counts over the tables, then one passage for each cell."""
    file = resources.files("squeezerl.assistant") / "paper.yaml"
    facts = yaml.safe_load(file.read_text(encoding="utf-8"))
    return [*(_fact(fact) for fact in facts), *_counts(), *_quantized_cells(), *_pruned_cells()]


def _fact(fact: dict[str, Any]) -> Passage:
    who = "our reading of " if fact.get("ours") else ""
    return _passage(fact["id"], fact["title"], fact["text"], f"{who}{SOURCE}, {fact['section']}")


def _counts() -> Iterator[Passage]:
    table = published_quantized()
    keeps = {name: table[name] >= THRESHOLD * table["baseline"] for name in QUANTIZED}
    best = sum(keeps.values()) > 0
    said = ", ".join(f"{int(keeps[name].sum())} with {name.upper()}" for name in QUANTIZED)
    yield _passage(
        "table1-counts",
        "How many cells of Table 1 keep 90 % after quantization",
        f"Of the {len(table)} cells of Table 1, the mean return is at least {THRESHOLD:.0%} of the "
        f"baseline's in {said}, and in {int(best.sum())} with the best of the three.",
        f"counted from {SOURCE}, Table 1",
    )
    table = published_pruned()
    short = int((table["pruned"] < THRESHOLD * table["baseline"]).sum())
    yield _passage(
        "table2-counts",
        "How many of the chosen prunings miss the 90 % rule",
        f"In {short} of the {len(table)} cells of Table 2 the return of the pruned model is less "
        f"than {THRESHOLD:.0%} of the baseline's, which breaks the study's own rule.",
        f"counted from {SOURCE}, Table 2",
    )


def _quantized_cells() -> Iterator[Passage]:
    for row in published_quantized().to_dict("records"):
        name = f"{row['algorithm']} on {row['environment']}"
        said = "; ".join(
            f"{method.upper()} {row[method]:,.2f} ({row[method] / row['baseline']:.0%})"
            for method in QUANTIZED
        )
        yield _passage(
            f"table1-{_cell(row)}",
            f"Returns of quantized (int8) {name} in the paper's Table 1",
            f"{name}: baseline {row['baseline']:,.2f}; {said}, each with its share of that.",
            f"{SOURCE}, Table 1",
            about=(row["algorithm"], row["environment"]),
        )


def _pruned_cells() -> Iterator[Passage]:
    best = published_best().set_index(["algorithm", "environment"])
    for row in published_pruned().to_dict("records"):
        name = f"{row['algorithm']} on {row['environment']}"
        chosen = best.loc[row["algorithm"], row["environment"]]
        share = row["pruned"] / row["baseline"]
        yield _passage(
            f"table2-{_cell(row)}",
            f"Pruning of {name} in the paper's Tables 2 and 3",
            f"{name}: the return was {row['baseline']:,.2f} before and {row['pruned']:,.2f} after "
            f"pruning ({share:.0%}). L1 reached {row['l1_ratio']:.0%}, L2 {row['l2_ratio']:.0%}; "
            f"Table 3 names {str(chosen['norm']).upper()} at {chosen['ratio']:.0%} as the best.",
            f"{SOURCE}, Tables 2 and 3",
            about=(row["algorithm"], row["environment"]),
        )


def _cell(row: dict[Any, Any]) -> str:
    return f"{row['algorithm']}-{row['environment']}".lower()


def _passage(
    name: str, title: str, text: str, source: str, about: tuple[str, str] | None = None
) -> Passage:
    return Passage(
        id=f"paper:{name}",
        title=title,
        text=text.strip(),
        source=source,
        kind="paper",
        about=about,
    )
