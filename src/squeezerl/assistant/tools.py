"""What a language model may call: figures from the results and the paper, and a plot of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from squeezerl.analysis.methods import BASELINE, method_record
from squeezerl.analysis.published import ALGORITHMS, ENVIRONMENTS, QUANTIZED
from squeezerl.analysis.retention import mean_share
from squeezerl.assistant import figures as fig
from squeezerl.assistant.questions import (
    compared_cells,
    find_algorithms,
    find_cells,
    find_environments,
    find_methods,
)
from squeezerl.assistant.results import Results
from squeezerl.assistant.results_passages import policy_name
from squeezerl.errors import InvalidArgumentError
from squeezerl.methods.recipe import known_records

Tool = Callable[..., fig.Figures]


def tools_for(results: Results | None, plots: Path | None) -> dict[str, Tool]:
    """The tools by name; their docstrings and signatures are what the model is told.

    None of them writes anything but `plot`, whose file's name the model cannot choose.

    Args:
        results: of the user; without them only the paper's figures can be asked for.
        plots: the folder for pictures; `None` for none.
    """

    def paper_figures(policies: str) -> fig.Figures:
        """Returns from the paper's Tables 1 and 2.

        `policies` says in words which, for example "SAC on Humanoid, PTDQ and QAT".
        """
        text = policies.lower()
        return fig.paper_figures(
            fig.Cells(
                environments=find_environments(text, ENVIRONMENTS),
                algorithms=find_algorithms(text, ALGORITHMS),
                methods=find_methods(text, known_records(), (BASELINE, *QUANTIZED, fig.PRUNED)),
            )
        )

    def compute_retention(
        compressed_return: float, baseline_return: float, random_return: float
    ) -> fig.Figures:
        """The normalised retention (R - R_random) / (R_baseline - R_random) of mean returns."""
        if baseline_return <= random_return:
            raise InvalidArgumentError(
                "the baseline is no better than random, so there is nothing to retain"
            )
        row = {
            "agent": "", "algorithm": "", "env_id": "", "mean_return": compressed_return,
            "baseline_return": baseline_return, "random_return": random_return,
            "retention": mean_share(compressed_return, baseline_return, random_return),
        }  # fmt: skip
        return fig.Figures(
            title="Retention of the given returns",
            note="(R - R_random) / (R_baseline - R_random).",
            frame=pd.DataFrame([row]),
            columns=("mean_return", "baseline_return", "random_return", "retention"),
        )

    if results is None:
        return {tool.__name__: tool for tool in (paper_figures, compute_retention)}
    known = results

    def query_results(policies: str, quantities: list[str]) -> fig.Figures:
        """Figures from the user's results.

        `policies` says in words which, for example "PPO on Hopper, L2 at 30 %"; "" is all.
        `quantities` are some of: retention, mean_return, verdict, weight_bytes, file_bytes,
        weight_times, latency_s, latency_times, energy_j, energy_times, memory_bytes.
        """
        return fig.query_results(known, find_cells(policies.lower(), known), quantities)

    def best_methods(
        policies: str, quantity: str, least: bool, keep_percent: float | None = None
    ) -> fig.Figures:
        """For each agent the method with the least or most of a quantity of `query_results`.

        With `keep_percent`, only methods whose whole 95 % interval of the retention reaches it.
        """
        threshold = None if keep_percent is None else keep_percent / 100
        cells = find_cells(policies.lower(), known)
        return fig.best_methods(known, cells, quantity, least=least, threshold=threshold)

    def compare_with_paper(policies: str) -> fig.Figures:
        """The user's changes of the return beside those of the paper's tables."""
        return fig.compare_with_paper(known, compared_cells(policies.lower(), known))

    def plot(policies: str, quantity_x: str, quantity_y: str) -> fig.Figures:
        """A picture of two quantities of the policies against each other, one mark for each."""
        assert plots is not None
        cells = find_cells(policies.lower(), known)
        found = fig.query_results(known, cells, [quantity_x, quantity_y])
        return _plotted(found, plots)

    allowed = [query_results, best_methods, compare_with_paper, paper_figures, compute_retention]
    return {tool.__name__: tool for tool in (*allowed, *((plot,) if plots is not None else ()))}


def _plotted(found: fig.Figures, folder: Path) -> fig.Figures:
    from matplotlib.figure import Figure

    name_x, name_y = found.columns
    picture = Figure(figsize=(6, 4), layout="constrained")
    axes = picture.subplots()
    for number, (method, rows) in enumerate(found.frame.groupby("method", sort=False)):
        style = {record.name: record for record in known_records()}.get(str(method))
        style = style or method_record(str(method), number)
        axes.plot(
            rows[name_x], rows[name_y], linestyle="", marker=style.marker, color=style.color,
            label=style.short,
        )  # fmt: skip
    if len(found.frame) <= 12:
        for row in found.frame.to_dict("records"):
            axes.annotate(
                f"{row['agent']} {policy_name(row)}", (row[name_x], row[name_y]), fontsize=6
            )
    axes.set(xlabel=fig.QUANTITIES[name_x].title, ylabel=fig.QUANTITIES[name_y].title)
    axes.legend(fontsize=7)
    folder.mkdir(parents=True, exist_ok=True)
    number = 1 + sum(1 for _ in folder.glob("plot-*.png"))
    path = folder / f"plot-{number}.png"
    picture.savefig(path, dpi=150)
    return fig.Figures(
        title=f"{found.title}; the picture is {path}",
        note=found.note,
        frame=found.frame,
        columns=found.columns,
    )
