"""How small each agent of a folder becomes within a budget, and what it keeps on fresh seeds.

Prints JSON: per agent the chosen recipe, bytes before and after, retention with its 95 % interval
on episodes that the search never saw, and seconds; then the geometric mean of the ratios:

    python benchmarks/frontier.py                 # the published agents, 10 minutes each
    python benchmarks/frontier.py --agents DIR --budget 3m --retain 0.95 --seed 1
    python benchmarks/frontier.py --only ppo/Hopper --seed 1 --keep results/frontier
    python benchmarks/frontier.py --table results/frontier      # what was kept, in Markdown

With `--keep`, each row is a file of its own, and an agent that has one is left out.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from squeezerl.agents.load import Agent, load_agent
from squeezerl.api import squeeze
from squeezerl.errors import EnvError, SqueezeRLError
from squeezerl.evaluation.environment import Environment
from squeezerl.host.facts import host_facts
from squeezerl.records import to_json

PUBLISHED = Path(__file__).resolve().parents[2] / "shared" / "agents"


def environment_of(agent: Agent) -> Environment:
    """The environment of the training, or the next version of it that exists here."""
    source = agent.source
    base, _, version = str(source.env_id).rpartition("-v")
    for number in range(int(version), int(version) + 3):
        try:
            environment = Environment.find(f"{base}-v{number}", source.env_kwargs)
            environment.check_fits(agent.network)
        except EnvError as error:
            problem = error
            continue
        return environment
    raise problem


def measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The row of one agent."""
    agent = load_agent(folder)
    environment = environment_of(agent)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        data = squeeze(
            agent,
            env=environment,
            output=Path(name) / "out",
            retain=options.retain,
            budget=options.budget,
            seed=options.seed,
            measure=False,
        ).to_json()
    seconds = time.perf_counter() - start
    chosen, before = data["chosen"], data["baseline"]
    kept = chosen["retention"] or {}
    return {
        "env_id": environment.id,
        "recipe": chosen.get("recipe", "float"),
        "met": data["chosen"]["confirmation"] is not None,
        "weight_bytes": [before["weight_bytes"], chosen["weight_bytes"]],
        "file_bytes": [before["file_bytes"], chosen["file_bytes"]],
        "ratio": round(before["weight_bytes"] / chosen["weight_bytes"], 1),
        "retention": kept.get("normalized"),
        "retention_ci95": kept.get("normalized_ci95"),
        "fresh_episodes": kept.get("episodes"),
        "seconds": round(seconds, 1),
        "budget": options.budget,
        "retain": options.retain,
        "seed": options.seed,
        "host": to_json(host_facts()),
    }


def table(folder: Path) -> str:
    """All rows that were kept."""
    lines = [
        "| agent | seed | recipe | bytes | times smaller | retention [95 %] | budget |",
        "|---|---:|---|---:|---:|---:|---:|",
    ]
    for file in sorted(folder.glob("*.json")):
        row = json.loads(file.read_text(encoding="utf-8"))
        agent, recipe = file.stem.rpartition("-seed")[0], row["recipe"].replace("|", "\\|")
        kept = "none smaller"
        if row["met"]:
            low, high = row["retention_ci95"]
            kept = f"{row['retention']:.1%} [{100 * low:.1f}, {100 * high:.1f}]"
        size = f"{row['weight_bytes'][1]:,} | {row['ratio']:,.0f}"
        lines.append(
            f"| {agent} | {row['seed']} | `{recipe}` | {size} | {kept} | {row['budget']} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--agents", type=Path, default=PUBLISHED)
    parser.add_argument("--only", default="", help="a regular expression on ALGORITHM/FOLDER")
    parser.add_argument("--budget", default="10m")
    parser.add_argument("--retain", type=float, default=0.95)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for one file per agent and seed")
    parser.add_argument("--table", type=Path, help="folder of such files to print as a table")
    options = parser.parse_args()
    if options.table:
        print(table(options.table))
        return
    rows: dict[str, Any] = {}
    for folder in sorted(options.agents.glob("*/*_*")):
        name = f"{folder.parent.name}/{folder.name}"
        if not re.search(options.only, name):
            continue
        kept = None
        if options.keep:
            kept = options.keep / f"{name.replace('/', '-')}-seed{options.seed}.json"
        if kept is not None and kept.exists():
            continue
        print(name, file=sys.stderr)
        try:
            rows[name] = measure(folder, options)
        except SqueezeRLError as error:
            rows[name] = {"problem": str(error)}
            continue
        if kept is not None:
            options.keep.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps(rows[name], indent=1) + "\n", encoding="utf-8")
    ratios = [row["ratio"] for row in rows.values() if "ratio" in row]
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios)) if ratios else None
    print(json.dumps({"geometric_mean_ratio": mean, "agents": rows}, indent=1))


if __name__ == "__main__":
    main()
