"""Environment steps per second: our evaluation against Stable-Baselines3's `evaluate_policy`.

All are measured in turn, several rounds in one process: SB3 with one environment, our evaluation of
the float policy and of static and dynamic int8 in ONNX Runtime and in the native runtime, and
EnvPool alone with constant actions (the most that could be reached). Prints JSON with medians and
the ratios of each round:

    python benchmarks/evaluation_throughput.py                       # published agents, or ours
    python benchmarks/evaluation_throughput.py path/ppo/Hopper-v3_1:Hopper-v4
    python benchmarks/evaluation_throughput.py path/ppo/Hopper-v3_1:Hopper-v4 --squeezed out
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import time
import warnings
from pathlib import Path
from typing import Any

import envpool
import numpy as np
import torch
from sb3_reference import evaluate_with_sb3, load_with_sb3

from squeezerl.agents.load import demo_agent_path
from squeezerl.api import compress, load_actor
from squeezerl.evaluation.environment import Environment
from squeezerl.evaluation.evaluate import evaluate
from squeezerl.host.facts import host_facts
from squeezerl.records import to_json

PUBLISHED = Path(__file__).resolve().parents[2] / "shared" / "agents"
DEFAULT = ("sac/HalfCheetah-v3_1:HalfCheetah-v4", "trpo/Hopper-v3_1:Hopper-v4")


def constant_actions(env_id: str, environments: int, steps: int) -> float:
    """Steps per second of EnvPool alone, all cores, with the action zero."""
    pool = envpool.make(
        env_id,
        env_type="gymnasium",
        num_envs=environments,
        num_threads=os.cpu_count(),
        seed=0,
    )
    pool.reset()
    actions = np.zeros((environments, *pool.action_space.shape), dtype=pool.action_space.dtype)
    start = time.perf_counter()
    for _ in range(steps):
        pool.step(actions)
    return environments * steps / (time.perf_counter() - start)


def measure(
    folder: Path, env_id: str, squeezed: Path | None, rounds: int, episodes: int
) -> dict[str, Any]:
    environment = Environment.find(env_id)
    actors = {"ort.float": load_actor(folder)}
    for recipe in ("int8:static", "int8:dynamic"):
        artifact = compress(folder, recipe, env=environment)
        for runtime in ("ort", "native"):
            actors[f"{runtime}.{recipe}"] = load_actor(artifact, runtime=runtime)
    if squeezed is not None:
        for runtime in ("ort", "native"):
            actors[f"{runtime}.squeezed"] = load_actor(squeezed, runtime=runtime)
    model, venv = load_with_sb3(folder, env_id)
    rates: dict[str, list[float]] = {name: [] for name in ("sb3", *actors, "envpool_constant")}
    for number in range(rounds):
        _, steps, seconds = evaluate_with_sb3(model, venv, max(3, episodes // 20))
        rates["sb3"].append(steps / seconds)
        for name, actor in actors.items():
            record = evaluate(actor, environment, episodes=episodes, seed=number * episodes)
            rates[name].append(record.steps / record.seconds)
        rates["envpool_constant"].append(constant_actions(env_id, episodes, 500))
    venv.close()

    def ratio(ours: str, theirs: str) -> float:
        pairs = zip(rates[ours], rates[theirs], strict=True)
        return round(statistics.median(a / b for a, b in pairs), 2)

    return {
        "agent": f"{folder.parent.name}/{folder.name}",
        "env_id": env_id,
        "backend": environment.backend,
        "steps_per_second": {name: round(statistics.median(r)) for name, r in rates.items()},
        "ratios_to_sb3": {name: ratio(name, "sb3") for name in actors},
        "ratios_to_envpool_constant": {name: ratio(name, "envpool_constant") for name in actors},
        "dynamic_to_static": {
            name: ratio(f"{name}.int8:dynamic", f"{name}.int8:static") for name in ("ort", "native")
        },
        "rounds": {name: [round(rate) for rate in r] for name, r in rates.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("agents", nargs="*", help="FOLDER:ENV, rl-zoo folders that you trust")
    parser.add_argument("--squeezed", type=Path, nargs="*", default=[], help="one artifact each")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--episodes", type=int, default=100)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)  # the fastest setting for SB3 at batch size 1
    chosen = arguments.agents or [f"{PUBLISHED}/{name}" for name in DEFAULT if PUBLISHED.is_dir()]
    chosen = chosen or [f"{demo_agent_path()}:HalfCheetah-v5"]
    if len(arguments.squeezed) > len(chosen):
        parser.error("there are more squeezed artifacts than agents")
    results = []
    for item, artifact in itertools.zip_longest(chosen, arguments.squeezed):
        folder, _, env_id = item.rpartition(":")
        results.append(
            measure(Path(folder), env_id, artifact, arguments.rounds, arguments.episodes)
        )
    print(json.dumps({"host": to_json(host_facts()), "results": results}, indent=1))


if __name__ == "__main__":
    main()
