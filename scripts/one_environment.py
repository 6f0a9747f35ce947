"""Train with one environment instead of eight, for as many gradient steps, and compare.

    python scripts/one_environment.py studies/one-environment.yaml --agents results/paper/agents \\
        --output results/paper/one-environment

The off-policy algorithms of the study take one gradient step for every 8 environment steps, where
published settings take one for each. Gradient steps are what takes the time, so the question is
which of the two learns more in as many of them. The trainings with 8 environments are those that
are kept in `--agents`, or those of a record that ends in -8 beside the others, where the agent that
is kept learned with other settings. DDPG, of which TD3 is the refined form, is left out.
Complete trainings in `--runs` are not repeated, and interrupted ones go on. `--part 1/2` and `2/2`
are for two side by side.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import signal
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from train_and_keep import RECORD, config_of, place_of, played, return_text, train_one, trained_on

from squeezerl.agents.load import load_agent
from squeezerl.analysis.bootstrap import mean_interval
from squeezerl.artifacts.output import write_file
from squeezerl.pipeline.make import make_artifact
from squeezerl.report.document import Document, Figure, Paragraph, Table
from squeezerl.report.renderers import render
from squeezerl.report.text import format_number_interval
from squeezerl.runtimes.onnx_runtime import load_network
from squeezerl.studies.reading.study_file import read_study
from squeezerl.studies.study import Training

CELLS = [
    (algorithm, env_id)
    for env_id in ("Hopper-v4", "HalfCheetah-v4")
    for algorithm in ("sac", "td3")
]
ONE, EIGHT = "#D55E00", "#0072B2"


def gradient_steps(training: Training) -> int:
    """How many a training takes: one after each step of all its environments."""
    settings = training.hyperparameters
    return (training.steps - int(settings["learning_starts"])) // int(settings["n_envs"])


def with_one(training: Training) -> Training:
    """The same training with one environment, and as many gradient steps."""
    settings = dict(training.hyperparameters) | {"n_envs": 1}
    steps = int(settings["learning_starts"]) + gradient_steps(training)
    return dataclasses.replace(training, hyperparameters=settings, steps=steps)


def record_of(training: Training, run: Path) -> dict[str, Any]:
    """What a complete training has learned, and how fast."""
    network = make_artifact(load_agent(run / "best_model.zip")).network
    with np.load(run / "evaluations.npz", allow_pickle=False) as file:
        steps, results = file["timesteps"], file["results"]
    return {
        "algorithm": training.algorithm,
        "env_id": training.place.env_id,
        "seed": training.seed,
        "steps": int(steps[-1]),
        "gradient_steps": gradient_steps(training),
        "evaluation": played(load_network(network), training.place.find()),
        "hyperparameters": dict(training.hyperparameters),
        "evaluations": {
            "steps": steps.tolist(),
            "mean_returns": results.mean(axis=1).round(1).tolist(),
        },
        **trained_on(run),
    }


def curve(record: dict[str, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Gradient steps and mean return at each evaluation."""
    settings, evaluations = record["hyperparameters"], record["evaluations"]
    waited = np.array(evaluations["steps"]) - settings["learning_starts"]
    return np.maximum(waited, 0) / settings["n_envs"], np.array(evaluations["mean_returns"])


def pairs(agents: Path, output: Path) -> dict[tuple[str, str], tuple[dict[str, Any], ...]]:
    """The records with one environment and with eight, of each cell that has both."""
    found = {}
    for algorithm, env_id in CELLS:
        eight = output / f"{algorithm}-{env_id}-8.json"
        kept = eight if eight.is_file() else agents / algorithm / env_id / RECORD
        files = output / f"{algorithm}-{env_id}.json", kept
        if all(file.is_file() for file in files):
            records = tuple(json.loads(file.read_text()) for file in files)
            # Some agents on a GPU had less time.
            if len({round(curve(record)[0][-1], -3) for record in records}) == 1:
                found[algorithm, env_id] = records
    return found


def draw(found: dict[tuple[str, str], tuple[dict[str, Any], ...]], file: Path) -> None:
    """One panel for each cell: how the return grows with the gradient steps."""
    figure, panels = plt.subplots(
        2, 2, figsize=(7, 5), sharex=True, sharey="row", layout="constrained"
    )
    for axes, cell in zip(panels.flat, CELLS, strict=True):
        axes.set_title(f"{cell[0].upper()} {cell[1].split('-')[0]}", fontsize=9)
        for record, color, label in zip(
            found.get(cell, ()), (ONE, EIGHT), ("1 environment", "8 environments"), strict=False
        ):
            axes.plot(*curve(record), color=color, label=label)
    for axes in panels[-1]:
        axes.set_xlabel("gradient steps")
    for axes in panels[:, 0]:
        axes.set_ylabel("return at evaluations")
    panels[0, 0].legend(fontsize=8)
    figure.savefig(file, dpi=110)


def page(found: dict[tuple[str, str], tuple[dict[str, Any], ...]]) -> str:
    """The returns of both, and how they differ."""
    rows = []
    for (algorithm, env_id), records in found.items():
        returns = [np.array(record["evaluation"]["returns"]) for record in records]
        difference = mean_interval(returns[1] - returns[0], np.random.default_rng(0))
        late = []
        for record in records:
            steps, means = curve(record)
            late.append(means[steps > steps[-1] / 2].mean())
        rows.append(
            (
                f"{algorithm.upper()} {env_id.split('-')[0]}",
                *(return_text(record) for record in records),
                format_number_interval(difference),
                *(f"{value:,.0f}" for value in late),
                *(f"{record['steps']:,}" for record in records),
            )
        )
    table = Table(
        header=(
            *("agent", "1 environment", "8 environments", "difference"),
            *("second half, 1", "second half, 8", "steps, 1", "steps, 8"),
        ),
        rows=tuple(rows),
    )
    blocks = (
        Figure(title="Return and gradient steps", path="curves.png"),
        Paragraph(
            "All of them take as many gradient steps; with 8 environments, these see 8 times the "
            "experience. The returns are means over 100 episodes of the policy of the best "
            "evaluation, with 95 % bootstrap intervals over these episodes; then come the means "
            "of all evaluations in the second half of the training. Each is one training with "
            "one seed, so no interval here says anything about other seeds."
        ),
        table,
    )
    return render(Document(title="One environment or eight", blocks=blocks))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("study", type=Path)
    parser.add_argument("--agents", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("out/one-environment"))
    parser.add_argument("--part", default="1/1")
    arguments = parser.parse_args()
    asked: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: asked.append(number))
    trainings = {
        (each.algorithm, each.place.env_id): with_one(each)
        for each in read_study(arguments.study).trainings
    }
    arguments.output.mkdir(parents=True, exist_ok=True)
    part, parts = map(int, arguments.part.split("/"))
    for algorithm, env_id in CELLS[part - 1 :: parts]:
        training = trainings[algorithm, env_id]
        file = arguments.output / f"{algorithm}-{env_id}.json"
        if file.is_file():
            continue
        run = place_of(arguments.runs, training)
        print(training.name, flush=True)
        if not train_one(config_of(training), run, lambda: bool(asked)):
            break
        write_file(file, (json.dumps(record_of(training, run), indent=1) + "\n").encode())
    found = pairs(arguments.agents, arguments.output)
    draw(found, arguments.output / "curves.png")
    write_file(arguments.output / "README.md", page(found).encode())


if __name__ == "__main__":
    main()
