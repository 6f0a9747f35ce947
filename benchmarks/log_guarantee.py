"""How often a log is said to show that a policy keeps its decisions when it does not.

Published agents are played for a log of 30,000 rows; policies are fitted to its first 9,000. In
the others, the tolerance is set so that just too few decisions are kept, or so many that a judge
should say so. Each of many overlapping windows is then judged by the bounds of
`evaluation/actions.py`, and by those over fewer decisions. Prints JSON, for each demand and number
of rows the share of windows in which "keeps" is said:

    python benchmarks/log_guarantee.py
    python benchmarks/log_guarantee.py --agents DIR --steps 3000
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from squeezerl.agents.load import load_agent
from squeezerl.analysis.sequential import ERROR
from squeezerl.analysis.shares import correlation_time, share_interval
from squeezerl.evaluation.actions import independent_every
from squeezerl.evaluation.environment import Environment
from squeezerl.evaluation.log import Log
from squeezerl.host.facts import host_facts
from squeezerl.network.arithmetic import act
from squeezerl.network.network import Network
from squeezerl.pipeline.make import make_artifact
from squeezerl.records import to_json
from squeezerl.runtimes.onnx_runtime import load_network

Floats = npt.NDArray[np.float64]
AGENTS = {
    "ppo/Hopper-v3_1": "Hopper-v4",
    "ppo/HalfCheetah-v3_1": "HalfCheetah-v4",
    "ppo/LunarLanderContinuous-v2_1": "LunarLanderContinuous-v3",
}
PUBLISHED = Path(__file__).resolve().parents[2] / "shared" / "agents"
ROWS, FITTED, WINDOWS = 30_000, 9_000, 39
DEMANDS, LENGTHS = (0.9, 0.99), (1_000, 2_000, 6_000)
# One bound alone; and with a second one over fewer decisions, by the order of those that deviate,
# by that of the library, and by how far all are off.
RULES = ("exact", "order", "library", "size")


def recorded(network: Network, place: Environment) -> npt.NDArray[np.float32]:
    """What a policy observes while it acts, (ROWS, features)."""
    actor, env = load_network(network), place.make()
    seed, rows = 0, list[npt.NDArray[np.float32]]()
    observation, _ = env.reset(seed=seed)
    while len(rows) < ROWS:
        rows.append(np.asarray(observation, np.float32))
        observation, _, terminated, truncated, _ = env.step(actor.act(rows[-1][None])[0])
        if terminated or truncated:
            seed += 1
            observation, _ = env.reset(seed=seed)
    env.close()
    return np.array(rows)


def deviations(name: str, agents: Path, steps: int) -> Iterator[Floats]:
    """How far each decision of a policy is off in its worst dimension, beyond what it learned."""
    agent, place = load_agent(agents / name), Environment.find(AGENTS[name])
    rows = recorded(agent.network, place)
    log = Log(observations=rows[:FITTED], actions=None, origin="played")
    wanted = act(agent.network, rows[FITTED:])
    for recipe in ("prune:l2:0.1", "int8:static", f"distill:16x16:relu:steps={steps}"):
        made = make_artifact(agent, recipe, log=log).network
        yield np.abs(act(made, rows[FITTED:]) - wanted).max(axis=1).astype(np.float64)


def keeps(times: Floats, wanted: float) -> dict[str, bool]:
    """What each rule says of decisions that are so many times their tolerance off."""
    inside = times <= 1
    count, kept = len(times), int(inside.sum())
    exact = share_interval(kept, count, ERROR).low >= wanted

    def over(time: float) -> bool:
        return exact and share_interval(kept / time, count / time, ERROR).low >= wanted

    order = correlation_time(inside.astype(np.float64))
    size = max(order, correlation_time(np.minimum(times, 1)))
    said = (exact, over(order), over(independent_every(times)), over(size))
    return dict(zip(RULES, said, strict=True))


def judged(far: Floats, wanted: float, true: float, rows: int) -> dict[str, float]:
    """The share of windows in which each rule says "keeps", where that share is really kept."""
    tolerance = np.quantile(far, true, method="lower")
    starts = np.linspace(0, len(far) - rows, WINDOWS).astype(int)
    said = [keeps(far[start : start + rows] / tolerance, wanted) for start in starts]
    return {rule: round(float(np.mean([each[rule] for each in said])), 4) for rule in RULES}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--agents", type=Path, default=PUBLISHED)
    parser.add_argument("--steps", type=int, default=12_000, help="that the student learns")
    arguments = parser.parse_args()
    found = []
    for name in AGENTS:
        for number, far in enumerate(deviations(name, arguments.agents, arguments.steps)):
            for wanted in DEMANDS:
                for rows in LENGTHS:
                    for what, true in (("wrong", wanted), ("right", 1 - 0.3 * (1 - wanted))):
                        said = judged(far, wanted, true, rows)
                        key = {"agent": name, "policy": number, "asked": wanted, "rows": rows}
                        found.append({**key, "keeping": what, **said})
    summary = [
        {
            "asked": wanted,
            "rows": rows,
            "keeping": what,
            **{rule: round(float(np.mean([e[rule] for e in mine])), 4) for rule in RULES},
        }
        for wanted in DEMANDS
        for rows in LENGTHS
        for what in ("wrong", "right")
        if (
            mine := [
                e for e in found if (e["asked"], e["rows"], e["keeping"]) == (wanted, rows, what)
            ]
        )
    ]
    print(json.dumps({"host": to_json(host_facts()), "summary": summary, "all": found}, indent=1))


if __name__ == "__main__":
    main()
