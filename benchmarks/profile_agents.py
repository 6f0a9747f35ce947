"""What compression buys per decision: the study's methods in three runtimes, on published agents.

For each agent: the float policy, PTDQ, PTSQ, L2 pruning at 50 %, and the same network with one
neuron in each hidden layer, which shows what is left when there is nothing left to compress. Each
in Stable-Baselines3's `predict`, torch and ONNX Runtime. Writes a JSON and a Markdown file for each
agent, and prints what the agents have in common as JSON:

    python benchmarks/profile_agents.py -o results/profile               # takes an hour or so
    python benchmarks/profile_agents.py ppo/Hopper-v3_1:Hopper-v4 -o out/profile --seconds 1
    python benchmarks/profile_agents.py --compare results/profile out/profile
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from rich.progress import Progress

from squeezerl.agents.load import Agent, load_agent
from squeezerl.api import make_actor, profile
from squeezerl.artifacts.write import write_artifact
from squeezerl.compression.compress import compress
from squeezerl.compression.specs import specs_for
from squeezerl.evaluation.environment import Environment
from squeezerl.evaluation.evaluate import calibrate
from squeezerl.policy.parts import policy_layers
from squeezerl.policy.policy import LinearLayer, Policy
from squeezerl.report.profile_contract import profile_json
from squeezerl.report.profile_table import profile_markdown

PUBLISHED = Path(__file__).resolve().parents[2] / "shared" / "agents"
DEFAULT = (
    "sac/HalfCheetah-v3_1:HalfCheetah-v4",
    "trpo/Hopper-v3_1:Hopper-v4",
    "ppo/HalfCheetah-v3_1:HalfCheetah-v4",
)
METHODS = {"float": None, "ptdq": None, "ptsq": None, "l2-50": 0.5}
RUNTIMES = ("sb3", "torch", "ort")


def one_neuron(policy: Policy) -> Policy:
    """The same graph with one neuron in each hidden layer."""
    layers, inputs = [], slice(None)
    originals = policy_layers(policy)
    for layer in originals:
        outputs = slice(None) if layer is originals[-1] else slice(1)
        layers.append(
            LinearLayer(layer.weight[outputs, inputs], layer.bias[outputs], layer.activation)
        )
        inputs = slice(1)
    return Policy(
        layers,
        policy.head,
        normalizer=policy.normalizer,
        observation_shape=policy.observation_shape,
        action_shape=policy.action_shape,
    )


def build(agent: Agent, environment: Environment, folder: Path) -> list[Path]:
    """The artifacts, the float policy first."""
    observations, calibration = calibrate(make_actor(agent), environment)
    artifacts = []
    for name, ratio in METHODS.items():
        specs = specs_for(name.partition("-")[0], ratio)
        artifacts.append(folder / name)
        write_artifact(
            compress(agent.policy, specs, observations=observations),
            agent.source,
            artifacts[-1],
            calibration=calibration if name == "ptsq" else None,
        )
    artifacts.append(folder / "one-neuron")
    write_artifact(compress(one_neuron(agent.policy)), agent.source, artifacts[-1])
    return artifacts


def measure(path: Path, env_id: str, options: argparse.Namespace) -> dict[str, Any]:
    """One agent's profile."""
    environment = Environment.find(env_id)
    agent = load_agent(path)
    folder = Path("out") / "profile-agents" / f"{agent.source.algorithm}-{env_id}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    start = time.perf_counter()
    with Progress(disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(folder.name, total=1.0)
        result = profile(
            build(agent, environment, folder),
            environment,
            runtimes=RUNTIMES,
            seconds=options.seconds,
            watts_per_core=options.watts_per_core,
            episodes=True,
            seed=options.seed,
            on_progress=lambda stage, share: progress.update(
                task, description=stage, completed=share
            ),
        )
    data = profile_json(result) | {"took_s": time.perf_counter() - start}
    data["rows"] = [row | {"artifact": Path(row["artifact"]).name} for row in data["rows"]]
    options.output.mkdir(parents=True, exist_ok=True)
    file = options.output / f"{folder.name}.json"
    file.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    title = f"# {agent.source.algorithm.upper()} on {env_id}\n\n"
    file.with_suffix(".md").write_text(title + profile_markdown(data), encoding="utf-8")
    return data


def shares(data: dict[str, Any]) -> dict[str, Any]:
    """What of a decision's time and a process's memory is the library's, by runtime."""
    found = {}
    for runtime in RUNTIMES:
        rows = {row["artifact"]: row for row in data["rows"] if row["runtime"] == runtime}
        full, floor = rows["float"], rows["one-neuron"]
        memory = full["memory_bytes"]
        found[runtime] = {
            "time_share_of_library": floor["latency_s"]["median"] / full["latency_s"]["median"],
            "memory_share_of_library": 1 - memory["model"] / memory["total"],
            "weights_share_of_memory": full["weight_bytes"] / memory["total"],
        }
    return found


def compare(first: Path, second: Path) -> dict[str, Any]:
    """How often two runs' medians lie in each other's interval, and how far they are apart."""
    rows = []
    for file in sorted(first.glob("*.json")):
        other = json.loads((second / file.name).read_text(encoding="utf-8"))
        for a, b in zip(json.loads(file.read_text(encoding="utf-8"))["rows"], other["rows"]):  # noqa: B905
            if a["latency_s"] is None:
                continue
            assert (a["artifact"], a["runtime"]) == (b["artifact"], b["runtime"])
            one, two = a["latency_s"], b["latency_s"]
            rows.append(
                {
                    "agent": file.stem,
                    "artifact": a["artifact"],
                    "runtime": a["runtime"],
                    "median_s": [one["median"], two["median"]],
                    "ci95_s": [one["ci95"], two["ci95"]],
                    "difference": two["median"] / one["median"] - 1,
                    "second_in_first": one["ci95"][0] <= two["median"] <= one["ci95"][1],
                    "intervals_overlap": one["ci95"][0] <= two["ci95"][1]
                    and two["ci95"][0] <= one["ci95"][1],
                }
            )
    return {
        "rows": rows,
        "second_in_first": sum(row["second_in_first"] for row in rows),
        "intervals_overlap": sum(row["intervals_overlap"] for row in rows),
        "of": len(rows),
        "largest_difference": max(abs(row["difference"]) for row in rows),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("agents", nargs="*", metavar="FOLDER:ENV", default=DEFAULT)
    parser.add_argument("-o", "--output", type=Path, default=Path("out") / "profile")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--watts-per-core", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compare", nargs=2, type=Path, metavar="DIR")
    options = parser.parse_args()
    if options.compare:
        print(json.dumps(compare(*options.compare), indent=1))
        return
    found = {}
    for entry in options.agents:
        path, _, env_id = entry.partition(":")
        folder = Path(path) if Path(path).exists() else PUBLISHED / path
        if not folder.exists():
            sys.exit(f"{folder}: no such agent; the published ones are not part of the project")
        found[entry] = shares(measure(folder, env_id, options))
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
