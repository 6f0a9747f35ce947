"""The picture and the table of studies/matched-bytes.yaml, with the host's facts beside them.

    squeezerl study run studies/matched-bytes.yaml
    python scripts/matched_bytes_page.py matched-bytes.db --output results/matched-bytes

writes retention.png and README.md. Agents of which something is still missing are left out.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from squeezerl.analysis.cells import cells
from squeezerl.analysis.hierarchy import key_of
from squeezerl.artifacts.output import write_file
from squeezerl.host.facts import host_facts
from squeezerl.jobs.open import open_store
from squeezerl.methods.recipe import Recipe
from squeezerl.report.document import Code, Document, Figure, Paragraph, Table
from squeezerl.report.renderers import render
from squeezerl.report.text import DASH
from squeezerl.studies.reading.study_file import read_study
from squeezerl.studies.results import load_study

STUDY = Path(__file__).resolve().parents[1] / "studies" / "matched-bytes.yaml"
COLORS = {"pruned": "#D55E00", "pruned, recovered": "#0072B2", "distilled": "#009E73"}
MARKERS = {8: "o", 4: "s", 3: "^", 2: "v"}
SMALL = 1_000  # bytes: between the two sizes of the study


def kinds_of(recipe: Recipe) -> dict[str, object]:
    """How a recipe makes a network small, in how many bits, and whether it then learns."""
    steps = {step.kind: step for step in recipe.steps}
    pruned = "pruned, recovered" if "recover" in steps else "pruned"
    return {
        "family": "distilled" if "distill" in steps else pruned,
        "bits": int(steps["bits"].values["weights"]),
        "tuned": "finetune" in steps,
    }


def policies(store: Path) -> pd.DataFrame:
    """One row for each policy of the agents that are complete: its kinds, bytes and retention."""
    study = read_study(STUDY)
    recipes = {key_of(each.method, each.ratio): each.recipe for each in study.variants}
    with open_store(f"sqlite:///{store}") as opened:
        found = cells(load_study(opened, study.name), np.random.default_rng(study.seed))
    rows = [
        {**row._asdict(), **kinds_of(recipes[key])}
        for row in found.itertuples(index=False)
        if (key := key_of(row.method, row.ratio)) in recipes and not math.isnan(row.retention)
    ]
    frame = pd.DataFrame(rows)
    counts = frame.groupby("agent").size()
    complete = frame[frame.agent.map(counts) == counts.max()].copy()
    complete["agent"] = complete.agent.str.removesuffix("_1")
    complete["is_small"] = complete.weight_bytes < SMALL
    return complete


def draw(frame: pd.DataFrame, file: Path) -> None:
    """One panel for each agent: retention against bytes."""
    agents = sorted(frame.agent.unique())
    figure, panels = plt.subplots(
        1, len(agents), figsize=(3.1 * len(agents), 3.8), sharey=True, squeeze=False
    )
    for axes, agent in zip(panels[0], agents, strict=True):
        for row in frame[frame.agent == agent].itertuples():
            # Policies of equal bytes stand beside each other.
            place = 0.5 * (list(MARKERS).index(row.bits) - 1.5)
            place += 2.2 * (list(COLORS).index(row.family) - 1) + 0.2 * row.tuned
            axes.errorbar(
                row.weight_bytes * 1.05**place,
                row.retention,
                yerr=[
                    [max(0.0, row.retention - row.retention_low)],
                    [max(0.0, row.retention_high - row.retention)],
                ],
                marker=MARKERS[row.bits],
                color=COLORS[row.family],
                markerfacecolor=COLORS[row.family] if row.tuned else "white",
                markersize=5,
                linewidth=1,
            )
        axes.axhline(1, color="0.6", linewidth=0.8)
        axes.axhline(0.95, color="0.6", linewidth=0.8, linestyle=":")
        axes.set_xscale("log")
        axes.set_xticks([500, 1_000, 2_000], ["500", "1,000", "2,000"])
        axes.minorticks_off()
        axes.set_title(agent, fontsize=9)
        axes.set_xlabel("bytes of the policy")
    panels[0][0].set_ylabel("share of the agent's return")
    handles = [
        *(
            plt.Line2D([], [], color=color, marker="o", linestyle="", label=family)
            for family, color in COLORS.items()
        ),
        *(
            plt.Line2D([], [], color="0.3", marker=marker, linestyle="", label=f"{bits} bits")
            for bits, marker in MARKERS.items()
        ),
        plt.Line2D(
            [], [], color="0.3", marker="o", markerfacecolor="white", linestyle="",
            label="hollow: before fine-tuning",
        ),
    ]  # fmt: skip
    figure.legend(handles=handles, loc="lower center", ncols=4, frameon=False, fontsize=8)
    figure.tight_layout(rect=(0, 0.13, 1, 1))
    figure.savefig(file, dpi=110)


def table(frame: pd.DataFrame) -> Table:
    """What each way keeps, one column for each agent."""
    agents = sorted(frame.agent.unique())
    rows = []
    for is_small in (False, True):
        for family in COLORS:
            for bits in MARKERS:
                for tuned in (False, True):
                    same = frame[
                        (frame.is_small == is_small)
                        & (frame.family == family)
                        & (frame.bits == bits)
                        & (frame.tuned == tuned)
                    ]
                    if same.empty:
                        continue
                    kept = {
                        row.agent: f"{100 * row.retention:.1f} "
                        f"[{100 * row.retention_low:.1f}, {100 * row.retention_high:.1f}]"
                        for row in same.itertuples()
                    }
                    size = f"{same.weight_bytes.min():,.0f} to {same.weight_bytes.max():,.0f}"
                    tuning = "fine-tuned" if tuned else ""
                    cells = (kept.get(agent, DASH) for agent in agents)
                    rows.append((size, family, str(bits), tuning, *cells))
    return Table(header=("bytes", "network", "bits", "", *agents), rows=tuple(rows), left=(1, 3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("store", type=Path, help="the study's SQLite file")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    frame, host = policies(options.store), host_facts()
    options.output.mkdir(parents=True, exist_ok=True)
    draw(frame, options.output / "retention.png")
    document = Document(
        title="What compression costs at equal bytes",
        blocks=(
            Figure(title="Share of the return that is kept, against bytes", path="retention.png"),
            Paragraph(
                "Normalised retention in percent (0 is a random policy) over 100 episodes, the "
                "same start states for all, with 95 % bootstrap intervals. Each policy was made "
                "once, so the intervals say nothing about other seeds. In the picture, policies of "
                "equal bytes stand beside each other."
            ),
            table(frame),
            Paragraph(
                (
                    f"Made on {host.cpu}, {host.cores_available} cores, with ",
                    Code("make matched-bytes-results"),
                    ".",
                )
            ),
        ),
    )
    write_file(options.output / "README.md", render(document).encode())


if __name__ == "__main__":
    main()
