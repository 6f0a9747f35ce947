"""What compression buys per decision: the study's methods in three runtimes, on published agents.

For each agent: the float policy, PTDQ, PTSQ, L2 pruning at 50 %, and the same network with one
neuron in each hidden layer, which shows what is left when there is nothing left to compress. Each
in Stable-Baselines3's `predict`, torch and ONNX Runtime. Writes a JSON and a Markdown file for each
agent, and prints what the agents have in common as JSON:

    python benchmarks/profile_agents.py -o results/profile               # takes an hour or so
    python benchmarks/profile_agents.py ppo/Hopper-v3_1:Hopper-v4 -o out/profile --seconds 1
    python benchmarks/profile_agents.py --compare results/profile/first-run results/profile
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from rich.progress import Progress

from squeezerl.agents.load import Agent, load_agent
from squeezerl.api import profile
from squeezerl.evaluation.environment import Environment
from squeezerl.network.network import Layer, Network, as_float
from squeezerl.pipeline.make import make_artifact
from squeezerl.report.profile_report import profile_json, profile_markdown

PUBLISHED = Path(__file__).resolve().parents[2] / "shared" / "agents"
DEFAULT = (
    "sac/HalfCheetah-v3_1:HalfCheetah-v4",
    "trpo/Hopper-v3_1:Hopper-v4",
    "ppo/HalfCheetah-v3_1:HalfCheetah-v4",
)
RECIPES = {
    "float": "float",
    "ptdq": "int8:dynamic",
    "ptsq": "int8:static",
    "l2-50": "prune:l2:0.5",
}
RUNTIMES = ("sb3", "torch", "ort")


def one_neuron(network: Network) -> Network:
    """The same network with one neuron in each hidden layer."""
    layers, inputs = [], slice(None)
    for layer in network.layers:
        outputs = slice(None) if layer is network.layers[-1] else slice(1)
        weight, bias = as_float(layer.weight), as_float(layer.bias)
        layers.append(
            Layer(
                weight=weight[outputs, inputs].copy(),
                bias=bias[outputs].copy(),
                activation=layer.activation,
            )
        )
        inputs = slice(1)
    return network.replace(layers=tuple(layers))


def build(agent: Agent, environment: Environment, folder: Path) -> list[Path]:
    """The artifacts, the float policy first."""
    small = dataclasses.replace(agent, network=one_neuron(agent.network))
    makers = {name: (agent, recipe) for name, recipe in RECIPES.items()}
    for name, (source, recipe) in {**makers, "one-neuron": (small, "float")}.items():
        make_artifact(source, recipe, environment=environment).save(folder / name)
    return [folder / name for name in (*RECIPES, "one-neuron")]


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
            env=environment,
            runtimes=RUNTIMES,
            seconds=options.seconds,
            precision=options.precision,
            watts_per_core=options.watts_per_core,
            episodes=True,
            seed=options.seed,
            on_progress=lambda stage, share: progress.update(
                task, description=stage, completed=share
            ),
        )
    data = profile_json(result) | {"took_s": time.perf_counter() - start}
    for named in (data["reference"], *data["rows"]):
        named["artifact"] = Path(named["artifact"]).name
    options.output.mkdir(parents=True, exist_ok=True)
    file = options.output / f"{folder.name}.json"
    file.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    title = f"# {agent.source.algorithm.upper()} on {env_id}\n\n"
    file.with_suffix(".md").write_text(title + profile_markdown(data), encoding="utf-8")
    return data


def shares(data: dict[str, Any]) -> dict[str, Any]:
    """What of a decision's time, energy and memory is the library's, by runtime.

    What one neuron needs is the library's; what the whole network needs beyond it is the model's.
    """
    found = {}
    for runtime in RUNTIMES:
        rows = {row["artifact"]: row for row in data["rows"] if row["runtime"] == runtime}
        full, floor = rows["float"], rows["one-neuron"]
        memory = full["memory_bytes"]
        found[runtime] = {
            "time_of_library": floor["latency_s"]["median"] / full["latency_s"]["median"],
            "memory_of_library": 1
            - (memory["model"] - floor["memory_bytes"]["model"]) / memory["total"],
            "weights_in_memory": full["weight_bytes"] / memory["total"],
        }
        if full["energy_j_per_decision"]:
            found[runtime]["energy_of_library"] = (
                floor["energy_j_per_decision"]["mean"] / full["energy_j_per_decision"]["mean"]
            )
    return found


def compare(first: Path, second: Path) -> dict[str, Any]:
    """Whether two runs agree: the second's figures in the first's intervals, and how far apart."""
    rows = []
    for file in sorted(first.glob("*.json")):
        runs = [
            {
                (row["artifact"], row["runtime"]): row
                for row in json.loads((folder / file.name).read_text(encoding="utf-8"))["rows"]
                if row["latency_s"]
            }
            for folder in (first, second)
        ]
        for key in runs[0].keys() & runs[1].keys():
            for figure, name in (("latency_s", "median"), ("energy_j_per_decision", "mean")):
                one, two = (run[key][figure] for run in runs)
                if one is None or two is None:
                    continue
                rows.append(
                    {
                        "agent": file.stem,
                        "row": list(key),
                        "figure": figure,
                        "values": [one[name], two[name]],
                        "ci95": [one["ci95"], two["ci95"]],
                        "difference": two[name] / one[name] - 1,
                        "second_in_first": one["ci95"][0] <= two[name] <= one["ci95"][1],
                        "intervals_overlap": one["ci95"][0] <= two["ci95"][1]
                        and two["ci95"][0] <= one["ci95"][1],
                    }
                )
            totals = [run[key]["memory_bytes"]["total"] for run in runs]
            rows.append(
                {
                    "agent": file.stem,
                    "row": list(key),
                    "figure": "memory_total",
                    "values": totals,
                    "difference": totals[1] / totals[0] - 1,
                }
            )
    figures = sorted({row["figure"] for row in rows})
    summary = {
        figure: {
            "rows": len(same := [row for row in rows if row["figure"] == figure]),
            "second_in_first": sum(row.get("second_in_first", False) for row in same),
            "intervals_overlap": sum(row.get("intervals_overlap", False) for row in same),
            "largest_difference": max(abs(row["difference"]) for row in same),
        }
        for figure in figures
    }
    return {"summary": summary, "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("agents", nargs="*", metavar="FOLDER:ENV", default=DEFAULT)
    parser.add_argument("-o", "--output", type=Path, default=Path("out") / "profile")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--precision", type=float, default=0.05)
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
