"""The picture of studies/paper-compressed.yaml, and its table, with the host's facts beside them.

    make paper-results
    python scripts/paper_page.py out/paper-compressed.db --output results/paper

writes recovery.png and README.md: what compression costs each agent as the study did it (in one
shot), and where the policy may learn from the agent afterwards.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from squeezerl.analysis.cells import cells
from squeezerl.analysis.methods import BASELINE
from squeezerl.artifacts.output import write_file
from squeezerl.jobs.open import open_store
from squeezerl.report.document import (
    Block,
    Code,
    Document,
    Figure,
    Heading,
    Link,
    Paragraph,
    Table,
)
from squeezerl.report.renderers import render
from squeezerl.report.text import DASH
from squeezerl.studies.results import load_study

STUDY = "paper-compressed"
ENVIRONMENTS = ("Hopper", "HalfCheetah", "Ant", "Humanoid", "HumanoidStandup")
ONE_SHOT, RECOVERED = "#D55E00", "#0072B2"
LOWEST, HIGHEST = -0.1, 1.3  # that the picture shows; what is beyond stands at its edge


class Pair(NamedTuple):
    """Two policies of about the same bytes: in one shot, if there is one, and recovered."""

    title: str
    one_shot: str | None
    recovered: str
    ratio: float | None = None


PAIRS = (
    Pair("int8", "ptsq-naive", "bits-8+recover"),
    Pair("half of the neurons removed", "l2", "l2+recover", 0.5),
    Pair("70 % of the neurons removed", "l2", "l2+recover", 0.7),
    Pair("a student of 32-32 neurons in int8", None, "distill-32x32+bits-8"),
)
RUNTIMES = {"ort": "ONNX Runtime", "native": "native"}
# What the tables show, in their order.
NAMES = {
    "float": "the agent",
    "ptdq-naive": "PTDQ, one scale per layer",
    "ptsq-naive": "PTSQ, one scale per layer",
    "ptdq": "PTDQ",
    "ptsq": "PTSQ",
    "qat": "QAT, learned on",
    "bits-8+recover": "int8, recovered",
    "l1": "L1",
    "l2": "L2",
    "l2+recover": "L2, recovered",
    "distill-64x64": "student 64-64",
    "distill-32x32+bits-8": "student 32-32, int8",
}
RATIOS = (0.1, 0.3, 0.5, 0.7)


def complete(frame: pd.DataFrame) -> pd.DataFrame:
    """The agents of which every policy was evaluated: an interrupted study has others as well."""
    policies = frame.groupby("agent").method.transform("size")
    return frame[policies == policies.max()]


def of_method(frame: pd.DataFrame, method: str, ratio: float | None) -> pd.DataFrame:
    """One row for each agent."""
    same = frame[frame.method == method]
    same = same[same.ratio.isna() if ratio is None else same.ratio == ratio]
    return same.set_index("agent")


def draw(frame: pd.DataFrame, file: Path) -> None:
    """One line for each agent in a panel for each pair."""
    order = {name: place for place, name in enumerate(ENVIRONMENTS)}
    whose = frame.drop_duplicates("agent").set_index("agent")
    place_of = whose.env_id.str.split("-").str[0].map(order)
    agents = sorted(whose.index, key=lambda agent: (place_of[agent], agent))
    heights = {agent: -line - 0.7 * place_of[agent] for line, agent in enumerate(agents)}
    figure, panels = plt.subplots(
        1, len(PAIRS), figsize=(11, 1.6 + 0.22 * len(agents)), sharey=True, layout="constrained"
    )
    for axes, pair in zip(panels, PAIRS, strict=True):
        recovered = of_method(frame, pair.recovered, pair.ratio)
        first = recovered
        if pair.one_shot is not None:
            first = of_method(frame, pair.one_shot, pair.ratio)
        for agent in agents:
            if agent not in recovered.index or agent not in first.index:
                continue
            height, row = heights[agent], recovered.loc[agent]
            start, end = np.clip([first.retention[agent], row.retention], LOWEST, HIGHEST)
            axes.plot([start, end], [height] * 2, color="0.75", linewidth=1.2, zorder=1)
            if pair.one_shot is not None:
                axes.plot(start, height, "o", color=ONE_SHOT, markersize=5)
            bounds = np.clip([row.retention_low, row.retention_high], LOWEST, HIGHEST)
            axes.plot(bounds, [height] * 2, color=RECOVERED, linewidth=1)
            axes.plot(end, height, "D", color=RECOVERED, markersize=4.5)
        axes.axvline(1, color="0.6", linewidth=0.8)
        axes.axvline(0.9, color="0.6", linewidth=0.8, linestyle=":")
        times = recovered.weight_times.median()
        axes.set_title(f"{pair.title}\n({times:.1f} times smaller)", fontsize=9)
        axes.set_xlim(LOWEST - 0.04, HIGHEST + 0.04)
        axes.set_xticks([0, 0.5, 1], ["0", "50 %", "100 %"])
        axes.set_xlabel("share of the agent's return", fontsize=9)
        axes.set_yticks(
            list(heights.values()),
            [f"{whose.algorithm[a].upper()} {whose.env_id[a].split('-')[0]}" for a in agents],
            fontsize=8,
        )
        axes.tick_params(axis="y", length=0)
    figure.legend(
        handles=[
            plt.Line2D([], [], color=color, marker=marker, linestyle="", label=label)
            for color, marker, label in (
                (ONE_SHOT, "o", "as the study did it, in one shot"),
                (RECOVERED, "D", "after learning from the agent, with the 95 % interval"),
            )
        ],
        loc="outside lower center", ncols=2, frameon=False, fontsize=9,
    )  # fmt: skip
    figure.savefig(file, dpi=110)


def table(frame: pd.DataFrame) -> Table:
    """What each way keeps, over all agents."""
    swept = set(frame.method[frame.ratio.notna()])
    plain = [(name, None) for name in NAMES if name not in swept and name != BASELINE]
    rows = []
    for method, ratio in (*plain, *((name, r) for r in RATIOS for name in NAMES if name in swept)):
        same = of_method(frame, method, ratio)
        if same.empty:
            continue
        verdicts = same.verdict.value_counts()
        rows.append(
            (
                NAMES[method] + ("" if ratio is None else f", {100 * ratio:.0f} %"),
                f"{same.weight_times.median():.1f}",
                *(f"{100 * same.retention.quantile(q):.0f}" for q in (0, 0.25, 0.5)),
                *(str(verdicts.get(verdict, 0)) for verdict in ("keeps", "undecided", "loses")),
            )
        )
    return Table(
        header=(
            *("method", "times smaller", "worst agent", "lower quartile", "median"),
            *("keep 90 %", "undecided", "lose"),
        ),
        rows=tuple(rows),
    )


def costs_table(costs: pd.DataFrame) -> Table:
    """The time of a decision in each runtime, and how many times less than the agent's own."""
    runtimes = [name for name in RUNTIMES if name in set(costs.runtime)]
    rows = []
    for method, name in NAMES.items():
        same = costs[costs.method == method]
        if same.empty:
            continue
        row = [name + (", the most that keeps 90 %" if same.ratio.notna().any() else "")]
        for runtime in runtimes:
            here = same[same.runtime == runtime]
            row += [_spread(1e6 * here.latency_s, 2), _spread(here.latency_times, 1)]
        rows.append(tuple(row))
    header = [f"{RUNTIMES[name]}, {what}" for name in runtimes for what in ("µs", "times faster")]
    return Table(header=("method", *header), rows=tuple(rows))


def _what_it_costs(costs: pd.DataFrame, hosts: Mapping[str, str]) -> tuple[Block, ...]:
    where = " and ".join(sorted({hosts[host] for host in costs.host_id}))
    return (
        Heading("Time of a decision"),
        Paragraph(
            f"Of {costs.agent.nunique()} agents the median, and the least and the most, on "
            f"{where}. Times faster are against the agent itself in the same runtime, measured "
            "side by side. Where neurons were removed it is the percentage that the study's rule "
            "picks, where none keeps 90 % the smallest."
        ),
        costs_table(costs),
    )


def _spread(values: pd.Series[float], digits: int) -> str:
    """The median, and the least and the most."""
    values = values.dropna()
    if values.empty:
        return DASH
    middle, least, most = (f"{value:.{digits}f}" for value in values.quantile([0.5, 0, 1]))
    return f"{middle} ({least} to {most})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("store", type=Path, help="the study's SQLite file")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    with open_store(f"sqlite:///{options.store}") as store:
        data = load_study(store, STUDY)
    frame = complete(cells(data, np.random.default_rng(0)))
    costs = data.costs[data.costs.agent.isin(frame.agent)]
    kept = len(list((options.output / "agents").glob("*/*/manifest.json")))
    count = frame.agent.nunique()
    hosts = {
        key: f"{host['cpu']}, {host['cores_available']} cores" for key, host in data.hosts.items()
    }
    options.output.mkdir(parents=True, exist_ok=True)
    draw(frame, options.output / "recovery.png")
    document = Document(
        title="What compression costs the study's agents",
        blocks=(
            Figure(title="Share of the return that is kept", path="recovery.png"),
            Paragraph(
                f"{count} agents, each trained once"
                f"{'' if count == kept else f'; {kept - count} more are not compressed yet'}. "
                "Shares are the normalised retention (0 is a random policy) over 100 episodes, the "
                "same start states for all. Each policy was made once."
            ),
            table(frame),
            Paragraph(
                "Times smaller are medians of the bytes of weights, biases, scales and normaliser, "
                "and shares are in percent. An agent keeps or loses 90 % where the 95 % interval "
                "over the episodes says so."
            ),
            *(() if costs.empty else _what_it_costs(costs, hosts)),
            Paragraph(
                (
                    "The agents are in ",
                    Link("agents", "agents/README.md"),
                    ", all figures, tables and findings in ",
                    Link("compressed", "compressed/report.md"),
                    f". Made on {' and '.join(sorted(set(hosts.values())))}, with ",
                    Code("make paper-results"),
                    ".",
                )
            ),
        ),
    )
    write_file(options.output / "README.md", render(document).encode())


if __name__ == "__main__":
    main()
