"""A whole study's time against what Stable-Baselines3's `evaluate_policy` takes for its episodes.

    python benchmarks/study_against_sb3.py studies/published.yaml --folder out/published

Runs the study (compressing and evaluating, all of it, from an empty store) and takes the time.
Then, on the same machine, SB3 plays some episodes of every agent with one environment, as its users
do. What it would have taken for the study is the steps that the study
played divided by the steps per second that SB3 made with that agent: its time hardly depends on
how good or how small a policy is. A random policy is charged nothing. Prints JSON.

It unpickles the agents' files, as SB3 does: for agents that you trust.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from sb3_reference import evaluate_with_sb3, load_with_sb3

import squeezerl
from squeezerl.errors import InvalidArgumentError
from squeezerl.host.facts import host_facts
from squeezerl.jobs.open import open_store
from squeezerl.records import to_json
from squeezerl.studies.reading.study_file import read_study


def run_from_nothing(study: Path, folder: Path, workers: int | None) -> tuple[Any, float]:
    """The finished study and the seconds that it took."""
    if folder.exists() and any(folder.iterdir()):
        raise InvalidArgumentError(f"{folder}: not empty, so the time would not be that of it all")
    folder.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    run = squeezerl.run_study(
        study,
        store=f"sqlite:///{folder / 'study.db'}",
        artifacts=str(folder / "artifacts"),
        workers=workers,
    )
    return run, time.perf_counter() - start


def played_steps(run: Any) -> tuple[dict[str, int], float]:
    """Environment steps by agent, and seconds of all evaluation jobs."""
    steps: dict[str, int] = defaultdict(int)
    seconds = 0.0
    with open_store(run.store) as store:
        for row in store.results(run.name, ("evaluate",), arrays=False):
            steps[row.label["agent"]] += row.content["steps"]
            seconds += row.seconds
    return steps, seconds


def sb3_rate(folder: Path, env_id: str, rounds: int, episodes: int) -> list[float]:
    """Environment steps per second of `evaluate_policy`, round by round."""
    model, venv = load_with_sb3(folder, env_id)
    rates = []
    for _ in range(rounds):
        _, steps, seconds = evaluate_with_sb3(model, venv, episodes)
        rates.append(steps / seconds)
    venv.close()
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("study", type=Path, help="a study of agents that exist, rl-zoo folders")
    parser.add_argument("--folder", type=Path, required=True, help="new, for store and artifacts")
    parser.add_argument("--workers", type=int, help="default: one a core")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--episodes", type=int, default=5, help="of SB3 in each round")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)  # the fastest setting for SB3 at batch size 1
    run, study_s = run_from_nothing(arguments.study, arguments.folder, arguments.workers)
    steps, evaluating_s = played_steps(run)
    agents: list[dict[str, Any]] = []
    for agent in read_study(arguments.study).agents:
        path = Path(agent.agent.source.path)
        rates = sb3_rate(path, agent.place.env_id, arguments.rounds, arguments.episodes)
        agents.append(
            {
                "agent": agent.name,
                "env_id": agent.place.env_id,
                "steps": steps[agent.name],
                "sb3_steps_per_second": rates,
                "sb3_s": steps[agent.name] / statistics.median(rates),
            }
        )
    sb3_s = sum(agent["sb3_s"] for agent in agents)
    report = {
        "host": to_json(host_facts()),
        "study": run.name,
        "jobs": to_json(run.counts),
        "workers": arguments.workers or os.cpu_count(),
        "study_s": study_s,
        "evaluation_jobs_s": evaluating_s,
        "steps": sum(steps.values()),
        "steps_of_random_policies": steps.get("", 0),
        "sb3_s": sb3_s,
        "times_faster": sb3_s / study_s,
        "agents": agents,
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
