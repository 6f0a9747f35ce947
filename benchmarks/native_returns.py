"""Returns in the native runtime beside those in ONNX Runtime, on the same seeds.

The agents and recipes are those of `latency.py --agents`. For each, the mean return in both
runtimes and the mean of the paired differences, with 95 % intervals, and the number of episodes
whose return is the same to the bit. Prints JSON:

    python benchmarks/native_returns.py
    python benchmarks/native_returns.py --episodes 20 --agent trpo/Hopper-v3_1
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np
from latency import RECIPES, Agent, compressed, find_agents

from squeezerl.analysis.bootstrap import mean_interval
from squeezerl.evaluation.evaluate import evaluate
from squeezerl.host.facts import host_facts
from squeezerl.records import to_json
from squeezerl.runtimes.native import NativeActor
from squeezerl.runtimes.onnx_runtime import load_network


def measure_agent(agent: Agent, episodes: int) -> dict[str, Any]:
    """Returns by recipe."""
    artifact, environment, observations = agent.read()
    found: dict[str, Any] = {}
    for name, network in compressed(artifact.network, observations).items():
        actors = {"ort": load_network(network), "native": NativeActor(network)}
        returns = {
            runtime: np.array(evaluate(actor, environment, episodes=episodes).returns)
            for runtime, actor in actors.items()
        }
        difference = returns["native"] - returns["ort"]
        found[name] = {runtime: _interval(values) for runtime, values in returns.items()} | {
            "difference": _interval(difference),
            "equal_episodes": int((difference == 0).sum()),
        }
    return {"agent": agent.name, "env_id": environment.id, "returns": found}


def _interval(values: Any) -> Any:
    return to_json(mean_interval(values, np.random.default_rng(0)))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--agent", action="append", help="the end of a name; default: all")
    parser.add_argument("--episodes", type=int, default=100)
    arguments = parser.parse_args()
    chosen = [
        agent
        for agent in find_agents()
        if arguments.agent is None or agent.name.endswith(tuple(arguments.agent))
    ]
    report = {
        "host": to_json(host_facts()),
        "episodes": arguments.episodes,
        "first_seed": 0,
        "recipes": RECIPES,
        "results": [measure_agent(agent, arguments.episodes) for agent in chosen],
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
