"""Put the picture and the table of studies/matched-bytes.yaml into docs/.

    squeezerl study run studies/matched-bytes.yaml
    python scripts/matched_bytes_page.py matched-bytes.db

writes results/matched-bytes/retention.png, and the table between two markers of
docs/matched-bytes.md. Only agents of which everything was run are shown.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from squeezerl.analysis.retention import retention
from squeezerl.host.facts import host_facts
from squeezerl.jobs.open import open_store
from squeezerl.methods.bits import Bits
from squeezerl.methods.distillation import Distillation
from squeezerl.methods.finetuning import FineTuning
from squeezerl.methods.recipe import Recipe
from squeezerl.methods.recovery import Recovery
from squeezerl.records import Interval
from squeezerl.studies.reading.study_file import read_study
from squeezerl.studies.results import load_study

ROOT = Path(__file__).resolve().parents[1]
STUDY = ROOT / "studies" / "matched-bytes.yaml"
PICTURE = ROOT / "results" / "matched-bytes" / "retention.png"
PAGE = ROOT / "docs" / "matched-bytes.md"
START = "<!-- By scripts/matched_bytes_page.py, from studies/matched-bytes.yaml. -->"
END = "<!-- End of the figures. -->"

FAMILIES = {"pruned": "#D55E00", "pruned, recovered": "#0072B2", "distilled": "#009E73"}
MARKERS = {"8": "o", "4": "s", "3": "^", "2": "v"}


@dataclass(frozen=True)
class Point:
    """One compressed policy: how it was made, its bytes, and what it keeps."""

    family: str
    bits: str
    tuned: bool
    weight_bytes: int
    kept: Interval


def point_of(recipe: Recipe, weight_bytes: int, kept: Interval) -> Point:
    """The point of a recipe in the picture."""
    steps = {type(step): step for step in recipe.steps}
    bits = steps[Bits]
    assert isinstance(bits, Bits)
    plain = "pruned, recovered" if Recovery in steps else "pruned"
    return Point(
        family="distilled" if Distillation in steps else plain,
        bits=bits.weights,
        tuned=FineTuning in steps,
        weight_bytes=weight_bytes,
        kept=kept,
    )


def points_of(returns: Any, recipes: dict[str, Recipe]) -> list[Point]:
    """All points of one agent; `returns` are its rows and those of its environment."""
    baseline = returns[returns.method == "float"].returns.iloc[0]
    points = []
    for row in returns.itertuples():
        if row.method in recipes:
            found = retention(
                row.returns, baseline, baseline * 0, threshold=0.95, rng=np.random.default_rng(0)
            )
            if found.ratio is not None:
                recipe = recipes[row.method]
                points.append(point_of(recipe, int(row.weight_bytes), found.ratio))
    return points


def draw(agents: dict[str, list[Point]]) -> None:
    """One panel per agent: retention against bytes."""
    figure, panels = plt.subplots(
        1, len(agents), figsize=(3.1 * len(agents), 3.6), sharey=True, squeeze=False
    )
    for axes, (name, points) in zip(panels[0], agents.items(), strict=True):
        for point in points:
            color = FAMILIES[point.family]
            # Policies of equal bytes stand beside each other.
            place = list(FAMILIES).index(point.family) + 0.4 * point.tuned - 1.2
            low = max(0.0, point.kept.estimate - point.kept.low)
            high = max(0.0, point.kept.high - point.kept.estimate)
            axes.errorbar(
                point.weight_bytes * 1.05**place,
                point.kept.estimate,
                yerr=[[low], [high]],
                marker=MARKERS[point.bits],
                color=color,
                markerfacecolor=color if point.tuned else "white",
                markersize=5,
                linewidth=1,
            )
        axes.axhline(1, color="0.6", linewidth=0.8)
        axes.axhline(0.95, color="0.6", linewidth=0.8, linestyle=":")
        axes.set_xscale("log")
        axes.set_xticks([500, 1_000, 2_000], ["500", "1,000", "2,000"])
        axes.minorticks_off()
        axes.set_title(name, fontsize=9)
        axes.set_xlabel("bytes of the policy")
    panels[0][0].set_ylabel("share of the agent's return")
    handles = [
        *(
            plt.Line2D([], [], color=color, marker="o", linestyle="", label=family)
            for family, color in FAMILIES.items()
        ),
        *(
            plt.Line2D([], [], color="0.3", marker=m, linestyle="", label=f"{bits} bits")
            for bits, m in MARKERS.items()
        ),
        plt.Line2D(
            [], [], color="0.3", marker="o", markerfacecolor="white", linestyle="",
            label="hollow: before fine-tuning",
        ),
    ]  # fmt: skip
    figure.legend(handles=handles, loc="lower center", ncols=4, frameon=False, fontsize=8)
    figure.tight_layout(rect=(0, 0.12, 1, 1))
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURE, dpi=130)


def table(agents: dict[str, list[Point]]) -> str:
    """What each way keeps, one column per agent."""
    ways = sorted(
        {(p.family, p.bits, p.tuned, is_small(p)) for points in agents.values() for p in points},
        key=lambda way: (way[3], list(FAMILIES).index(way[0]), -int(way[1]), way[2]),
    )
    lines = [
        ["bytes", "network", "bits", "fine-tuned", *agents],
        ["---:", "---", "---:", "---", *["---:"] * len(agents)],
    ]
    for family, bits, tuned, small in ways:
        found = [
            [
                p
                for p in points
                if (p.family, p.bits, p.tuned, is_small(p)) == (family, bits, tuned, small)
            ]
            for points in agents.values()
        ]
        sizes = [point.weight_bytes for points in found for point in points]
        size = f"{min(sizes):,}–{max(sizes):,}"
        cells = [
            f"{p[0].kept.estimate:.2f} [{p[0].kept.low:.2f}, {p[0].kept.high:.2f}]" if p else "–"
            for p in found
        ]
        lines.append([size, family, bits, "yes" if tuned else "no", *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def is_small(point: Point) -> bool:
    """Whether it is of the smaller of the study's two sizes."""
    return point.weight_bytes < 1_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("store", type=Path)
    options = parser.parse_args()
    study = read_study(STUDY)
    # Recipes of one method that differ in the share of neurons are of one kind in the picture.
    recipes = {variant.method: variant.recipe for variant in study.variants}
    with open_store(f"sqlite:///{options.store}") as store:
        returns = load_study(store, study.name).returns
    agents = {
        str(name).removesuffix("_1"): points_of(rows, recipes)
        for name, rows in returns.groupby("agent")
        if name
    }
    complete = max(len(points) for points in agents.values())
    agents = {name: points for name, points in agents.items() if len(points) == complete}
    draw(agents)
    host = host_facts()
    text = "\n\n".join(
        (
            START,
            "![Retention against bytes](../results/matched-bytes/retention.png)",
            table(agents),
            "100 episodes each, from the same start states; 95 % bootstrap intervals of ratios of "
            "mean returns. One training per cell, so they say nothing about other seeds. Made on "
            f"{host.cpu} with {host.cores_available} cores.",
            END,
        )
    )
    page = PAGE.read_text(encoding="utf-8")
    before, after = page.split(START)[0], page.split(END)[1]
    PAGE.write_text(before + text + after, encoding="utf-8")


if __name__ == "__main__":
    main()
