"""Train agents in float and for int8, and compare that with quantizing the float ones afterwards.

    python benchmarks/qat_against_ptq.py --output results/training --runs out/training

Every cell (algorithm, environment, seed) is trained twice with the same published hyperparameters
and the same steps: in float, and with `--qat int8`. The float agent is then quantized in two ways,
PTDQ and PTSQ. All of them play the same 100 episodes, and so does a random policy. Trainings that
are complete in `--runs` are not repeated, interrupted ones are continued.

`naive` adds QAT with one scale per tensor and no warm-up, to see what the difference is.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from squeezerl.agents.load import load_agent
from squeezerl.analysis.aggregate import final_return_spread
from squeezerl.analysis.retention import retention
from squeezerl.analysis.timing import mean_t_interval
from squeezerl.api import compress, load_actor
from squeezerl.evaluation.environment import Environment
from squeezerl.evaluation.evaluate import calibrate, evaluate
from squeezerl.evaluation.reference_actors import RandomActor
from squeezerl.host.facts import host_facts
from squeezerl.records import EvaluationRecord, to_json
from squeezerl.report.document import Block, Document, Paragraph, Table
from squeezerl.report.renderers import render
from squeezerl.report.text import format_interval, format_return
from squeezerl.runtimes.base import Actor

ON_POLICY = ("trpo", "ppo")
OFF_POLICY = ("ddpg", "td3", "sac")
ENVIRONMENTS = ("HalfCheetah-v4", "Hopper-v4")
EPISODES = 100
_MODES: dict[str, tuple[str, ...]] = {
    "float": (),
    "int8": ("--qat", "int8"),
    "naive": ("--qat", "int8", "--qat-naive", "--qat-warmup", "0"),
}
# Table 1 of arXiv 2407.04803: mean return of the baseline and after QAT.
STUDY = {
    ("trpo", "HalfCheetah-v4"): (978.48, 287.94),
    ("trpo", "Hopper-v4"): (164.06, 7.49),
    ("ppo", "HalfCheetah-v4"): (1542.98, 432.21),
    ("ppo", "Hopper-v4"): (8.33, 92.32),
    ("ddpg", "HalfCheetah-v4"): (4475.62, 937.53),
    ("ddpg", "Hopper-v4"): (1419.69, 996.61),
    ("td3", "HalfCheetah-v4"): (8333.37, 4169.07),
    ("td3", "Hopper-v4"): (3596.54, 1826.21),
    ("sac", "HalfCheetah-v4"): (10460.06, 6163.8),
    ("sac", "Hopper-v4"): (2539.05, 2998.79),
}


@dataclass(frozen=True)
class Cell:
    """One algorithm in one environment with one seed."""

    algorithm: str
    env_id: str
    seed: int
    steps: int

    def folder(self, runs: Path, mode: str) -> Path:
        return runs / f"{self.algorithm}-{self.env_id}-{mode}-s{self.seed}"


def train(cell: Cell, mode: str, runs: Path) -> None:
    """Train or go on training; what the command prints stays beside the folder."""
    folder = cell.folder(runs, mode)
    log = folder.with_name(f"{folder.name}.json")
    if (folder / f"{cell.env_id}.zip").is_file() and log.is_file() and log.stat().st_size:
        return
    command = [sys.executable, "-c", "from squeezerl.cli import main; main()", "train"]
    command += [cell.algorithm, cell.env_id, "--steps", str(cell.steps), "--seed", str(cell.seed)]
    command += ["--eval-episodes", "20", "--resume", "--json", "-o", str(folder), *_MODES[mode]]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    log.write_text(done.stdout, encoding="utf-8")


def judge(cell: Cell, runs: Path, modes: list[str]) -> dict[str, Any]:
    """All policies of a cell on the same episodes."""
    environment = Environment.find(cell.env_id)
    agent = load_agent(cell.folder(runs, "float"))
    baseline = load_actor(agent)
    observations, _ = calibrate(baseline, environment)
    actors: dict[str, Actor] = {"random": RandomActor(environment, seed=0)}
    actors["float"] = baseline
    for method in ("ptdq", "ptsq"):
        actors[method] = load_actor(compress(agent, method, observations=observations))
    for mode in modes:
        if mode != "float":
            name = "qat" if mode == "int8" else f"qat-{mode}"
            actors[name] = load_actor(cell.folder(runs, mode) / "int8")
            actors[f"{name}-master"] = load_actor(cell.folder(runs, mode))
    records = {
        name: evaluate(actor, environment, episodes=EPISODES) for name, actor in actors.items()
    }
    kept = {name: _retention(records, name) for name in records if name not in ("random", "float")}
    return {
        "algorithm": cell.algorithm,
        "env_id": cell.env_id,
        "seed": cell.seed,
        "steps": cell.steps,
        "training_seconds": {mode: _training(cell, runs, mode)["seconds"] for mode in modes},
        "study": dict(zip(("baseline", "qat"), STUDY[cell.algorithm, cell.env_id], strict=True)),
        "records": records,
        "retention": kept,
        "evaluations": {mode: _evaluations(cell.folder(runs, mode)) for mode in modes},
    }


def _evaluations(folder: Path) -> dict[str, list[float]]:
    """Steps and mean return of the evaluations while it learned."""
    with np.load(folder / "evaluations.npz", allow_pickle=False) as file:
        return {
            "steps": file["timesteps"].tolist(),
            "mean_returns": file["results"].mean(axis=1).round(1).tolist(),
        }


def _training(cell: Cell, runs: Path, mode: str) -> dict[str, Any]:
    folder = cell.folder(runs, mode)
    content: dict[str, Any] = json.loads(folder.with_name(f"{folder.name}.json").read_text())
    return content


def _retention(records: dict[str, EvaluationRecord], name: str) -> Any:
    return retention(
        records[name].returns,
        records["float"].returns,
        records["random"].returns,
        threshold=0.9,
        rng=np.random.default_rng(0),
    )


def table(rows: list[dict[str, Any]]) -> str:
    """Returns of each run, and what each kind of int8 keeps of the float policy's."""
    names = [name for name in rows[0]["records"] if not name.endswith("-master")]
    returns = Table(
        header=(
            *("algorithm", "environment", "seed", "steps", "minutes float / int8"),
            *("study: float / QAT", *names),
        ),
        rows=tuple(
            (
                row["algorithm"].upper(),
                row["env_id"],
                str(row["seed"]),
                f"{row['steps']:,}",
                " / ".join(f"{s / 60:.1f}" for s in list(row["training_seconds"].values())[:2]),
                f"{row['study']['baseline']:,.0f} / {row['study']['qat']:,.0f}",
                *(format_return(row["records"][name]) for name in names),
            )
            for row in rows
        ),
        left=(0, 1),
    )
    kinds = [name for name in names if name not in ("random", "float")]
    retention_title = "Retention of the float policy's return, normalised by random:"
    retentions = Table(
        header=("algorithm", "environment", "seed", *kinds),
        rows=tuple(
            (
                row["algorithm"].upper(),
                row["env_id"],
                str(row["seed"]),
                *(format_interval(row["retention"][kind].normalized) for kind in kinds),
            )
            for row in rows
        ),
        left=(0, 1),
    )
    blocks = (
        returns,
        Paragraph(retention_title),
        retentions,
        *_over_seeds(rows),
        *_falls(rows),
    )
    return render(Document(title="", blocks=blocks))


def _falls(rows: list[dict[str, Any]]) -> list[Block]:
    """How often a policy lost while learning what it had been able to do."""
    lines = []
    for row in rows:
        for mode, curve in row["evaluations"].items():
            returns = np.array(curve["mean_returns"])
            best = np.maximum.accumulate(returns)
            fell = np.flatnonzero(returns < best / 2)
            at = ", ".join(f"{curve['steps'][i] // 1000}k" for i in fell)
            lines.append(
                (
                    row["algorithm"].upper(),
                    row["env_id"],
                    mode,
                    str(row["seed"]),
                    f"{best[-1]:,.0f}",
                    f"{returns[-1]:,.0f}",
                    f"{len(fell)} of {len(returns)}",
                    at or "-",
                )
            )
    header = ("algorithm", "environment", "mode", "seed", "best", "last", "fallen", "at steps")
    title = "Evaluations while learning, and those below half of the best one until then:"
    return [Paragraph(title), Table(header=header, rows=tuple(lines), left=(0, 1, 2, 7))]


def _over_seeds(rows: list[dict[str, Any]]) -> list[Block]:
    """QAT minus float, seed by seed, where there are several seeds."""
    cells: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        cells.setdefault((row["algorithm"], row["env_id"]), []).append(row)
    lines = []
    for (algorithm, env_id), group in cells.items():
        if len(group) < 2:
            continue
        returns = {
            name: np.array([row["records"][name].mean_return for row in group])
            for name in ("float", "qat")
        }
        difference = mean_t_interval(returns["qat"] - returns["float"])
        assert difference is not None
        spread = {
            name: final_return_spread(values, np.random.default_rng(0))
            for name, values in returns.items()
        }
        lines.append(
            (
                algorithm.upper(),
                env_id,
                str(len(group)),
                f"{returns['float'].mean():,.0f}",
                f"{returns['qat'].mean():,.0f}",
                f"{difference.estimate:,.0f} [{difference.low:,.0f}, {difference.high:,.0f}]",
                f"{spread['float'].estimate:,.0f}",
                f"{spread['qat'].estimate:,.0f}",
            )
        )
    if not lines:
        return []
    header = (
        *("algorithm", "environment", "seeds", "float", "QAT", "QAT - float [95 %]"),
        *("IQR float", "IQR QAT"),
    )
    title = "Over the seeds (Student's t; interquartile range of the final return):"
    return [Paragraph(title), Table(header=header, rows=tuple(lines), left=(0, 1))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--algorithms", nargs="+", default=[*ON_POLICY, *OFF_POLICY])
    parser.add_argument("--envs", nargs="+", default=list(ENVIRONMENTS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--on-policy-steps", type=int, default=300_000)
    parser.add_argument("--off-policy-steps", type=int, default=50_000)
    parser.add_argument("--modes", nargs="+", default=["float", "int8"], choices=list(_MODES))
    parser.add_argument("--workers", type=int, default=2, help="trainings at the same time")
    parser.add_argument("--runs", type=Path, default=Path("out/training"))
    parser.add_argument("--output", type=Path, default=Path("results/training"))
    arguments = parser.parse_args()
    arguments.runs.mkdir(parents=True, exist_ok=True)
    cells = [
        Cell(
            algorithm,
            env_id,
            seed,
            arguments.on_policy_steps if algorithm in ON_POLICY else arguments.off_policy_steps,
        )
        for algorithm in arguments.algorithms
        for env_id in arguments.envs
        for seed in range(arguments.seeds)
    ]
    jobs = [(cell, mode, arguments.runs) for cell in cells for mode in arguments.modes]
    with ThreadPoolExecutor(arguments.workers) as pool:
        for finished in as_completed([pool.submit(train, *job) for job in jobs]):
            finished.result()
    rows = [judge(cell, arguments.runs, arguments.modes) for cell in cells]
    arguments.output.mkdir(parents=True, exist_ok=True)
    host = host_facts()
    data = {"host": to_json(host), "rows": to_json(rows)}
    (arguments.output / "results.json").write_text(json.dumps(data) + "\n", encoding="utf-8")
    text = "\n".join(
        [
            "# QAT against PTQ",
            "",
            f"Each policy played {EPISODES} complete episodes, the same for all. Made on "
            f"{host.cpu}, {host.cores} cores, {host.system}, Python {host.python}, with "
            + ", ".join(f"{name} {version}" for name, version in host.libraries.items())
            + f"; {arguments.workers} trainings at a time, so minutes are no measurement.",
            "",
            table(rows),
        ]
    )
    (arguments.output / "report.md").write_text(text, encoding="utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
