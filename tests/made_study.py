"""Studies that were never run, made from a seed, whose truth is known."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, get_args

import numpy as np
import pandas as pd

from squeezerl.analysis.frames import COSTS_COLUMNS, RETURNS_COLUMNS, TRAININGS_COLUMNS, StudyData
from squeezerl.methods.recipe import known_records
from squeezerl.studies.study import TicketNorm, ticket_record

RATIOS = tuple(round(0.05 * step, 2) for step in range(1, 15))
TICKET_RATIOS = (0.5,)
FIRST_SEED = 1000
# Mean returns of a random policy and of a good agent.
LEVELS = {
    "HalfCheetah-v4": (-277.0, 5000.0),
    "HumanoidStandup-v4": (33_300.0, 120_000.0),
    "Ant-v4": (-45.0, 3000.0),
    "Humanoid-v4": (110.0, 4500.0),
    "Hopper-v4": (16.0, 2500.0),
}
FALLS = ("Ant-v4", "Humanoid-v4", "Hopper-v4")  # episodes end early where the policy is bad
ALGORITHMS = ("trpo", "ppo", "ddpg", "td3", "sac")
HOST = "0a1b2c3d"
FILE_BYTES = 300_000
# How many times less than the float policy each method truly needs.
COSTS = {
    "float": {"latency": 1.0, "energy": 1.0, "memory": 1.0},
    "ptdq": {"latency": 0.95, "energy": 0.95, "memory": 0.999},
    "ptsq": {"latency": 1.1, "energy": 1.1, "memory": 0.999},
    "qat": {"latency": 1.1, "energy": 1.1, "memory": 0.999},
    "l1": {"latency": 1.05, "energy": 1.05, "memory": 1.001},
    "l2": {"latency": 1.05, "energy": 1.05, "memory": 1.001},
}

Truth = Callable[[str, str, float | None], float]
"""True normalised retention from agent, method and ratio: 1 as the float policy, 0 as random."""


def usual_truth(agent: str, method: str, ratio: float | None) -> float:
    """Quantization keeps nearly all, pruning loses with the share, retrained tickets little."""
    if ratio is not None:
        norm = method.removeprefix("ticket-")
        loss = {"l1": 1.4, "l2": 1.2, "random": 1.8}.get(norm, 1.3) * ratio**1.5
        return 1 - (0.3 if method.startswith("ticket-") else 1.0) * loss
    return {"float": 1.0, "ptdq": 0.99, "ptsq": 0.93, "qat": 0.85}.get(method, 0.95)


def made_study(
    seed: int = 0,
    *,
    algorithms: Sequence[str] = ("ppo", "sac"),
    environments: Sequence[str] = ("Hopper-v4", "HalfCheetah-v4"),
    train_seeds: int = 3,
    episodes: int = 40,
    quantized: Sequence[str] = ("ptdq", "ptsq", "qat"),
    pruned: Sequence[str] = ("l1", "l2"),
    ratios: Sequence[float] = RATIOS,
    tickets: Sequence[str] = ("ticket-l1", "ticket-l2", "ticket-random"),
    ticket_ratios: Sequence[float] = TICKET_RATIOS,
    truth: Truth = usual_truth,
    untrained: Collection[str] = (),
    noise: float = 0.1,
    seed_noise: float = 0.05,
    costs: bool = True,
    cost_times: dict[str, dict[str, float]] = COSTS,
    energy: bool = True,
    random: bool = True,
    constant: float | None = None,
) -> StudyData:
    """A study in which every policy's expected return is known.

    The expected return is random + truth * (good - random) from `LEVELS`. `noise` is the standard
    deviation between episodes and `seed_noise` that between trainings, as shares of good - random;
    a part of the former belongs to the environment's seed and is the same for all policies. With
    `train_seeds=1` there is one training of unknown seed, as for published agents. Costs have rows
    for float, the quantized and the pruned at 5, 50 and 70 %; energy is None without `energy`.

    Args:
        untrained: agents whose float policy, and all made from it, are as random ones.
        constant: what the best constant action truly earns, as a share of good - random.
    """
    rng = np.random.default_rng(seed)
    returns: list[dict[str, Any]] = []
    cost_rows: list[dict[str, Any]] = []
    trainings: list[dict[str, Any]] = []
    for env_id in environments:
        low, high = LEVELS[env_id]
        span = high - low
        shared = rng.normal(0, noise / 2, episodes)
        if random:
            values = low + span * (shared / 10 + rng.normal(0, noise / 10, episodes))
            who = _who("", "", env_id, None, "random", None)
            returns.append(who | _episodes(values, _lengths(env_id, values)))
        if constant is not None:
            values = low + span * (constant + shared * abs(constant))
            who = _who("", "", env_id, None, "constant", None)
            returns.append(who | _episodes(values, _lengths(env_id, values)))
        for algorithm in algorithms:
            agent = f"{algorithm}-{env_id}"
            for number in range(train_seeds):
                train_seed = None if train_seeds == 1 else number
                luck = 0.0 if agent in untrained else rng.normal(0, seed_noise)
                for method, ratio in _methods(quantized, pruned, ratios, tickets, ticket_ratios):
                    kept = 0.0 if agent in untrained else truth(agent, method, ratio) * (1 + luck)
                    own = rng.normal(0, noise / 2, episodes)
                    values = low + span * (kept + (shared + own) * max(abs(kept), 0.1))
                    who = _who(agent, algorithm, env_id, train_seed, method, ratio)
                    size = _file_bytes(method, ratio)
                    returns.append(who | _episodes(values, _lengths(env_id, values), size))
                    if costs and (
                        ratio is None or (method in pruned and ratio in (0.05, 0.5, 0.7))
                    ):
                        factor = dict.fromkeys(("latency", "energy", "memory"), 1.0)
                        factor |= cost_times.get(method, {})
                        cost_rows.append(who | _costs(rng, method, factor, size, energy))
                    if method in ("float", "qat") or method.startswith("ticket-"):
                        trainings.append(who | _training(rng, low, low + span * kept))
    return StudyData(
        name="made",
        returns=pd.DataFrame(returns, columns=list(RETURNS_COLUMNS)),
        costs=pd.DataFrame(cost_rows, columns=list(COSTS_COLUMNS)),
        trainings=pd.DataFrame(trainings, columns=list(TRAININGS_COLUMNS)),
        hosts={HOST: {"cpu": "A CPU", "cores": 2, "system": "Linux x86_64"}},
        methods={
            record.name: record
            for record in (*known_records(), *map(ticket_record, get_args(TicketNorm)))
        },
    )


def _methods(
    quantized: Sequence[str],
    pruned: Sequence[str],
    ratios: Sequence[float],
    tickets: Sequence[str],
    ticket_ratios: Sequence[float],
) -> list[tuple[str, float | None]]:
    return [
        ("float", None),
        *((method, None) for method in quantized),
        *((method, ratio) for method in pruned for ratio in ratios),
        *((method, ratio) for method in tickets for ratio in ticket_ratios),
    ]


def _who(
    agent: str,
    algorithm: str,
    env_id: str,
    train_seed: int | None,
    method: str,
    ratio: float | None,
) -> dict[str, Any]:
    return {
        "agent": agent,
        "algorithm": algorithm,
        "env_id": env_id,
        "train_seed": train_seed,
        "method": method,
        "ratio": ratio,
        "host_id": HOST,
    }


def _episodes(values: Any, lengths: Any, file_bytes: int | None = None) -> dict[str, Any]:
    return {
        "returns": values,
        "lengths": lengths,
        "first_seed": FIRST_SEED,
        "file_bytes": file_bytes,
        "weight_bytes": None if file_bytes is None else file_bytes - 2000,
    }


def _lengths(env_id: str, values: Any) -> Any:
    if env_id not in FALLS:
        return np.full(len(values), 1000)
    low, high = LEVELS[env_id]
    share = np.clip((values - low) / (high - low), 0.0, 1.0)
    return np.maximum(10, np.round(1000 * share)).astype(np.int64)


def _file_bytes(method: str, ratio: float | None) -> int:
    if ratio is not None:
        return round(FILE_BYTES * (1 - ratio) ** 2) + 2000
    return FILE_BYTES if method == "float" else FILE_BYTES // 4 + 1000


def _costs(
    rng: np.random.Generator,
    method: str,
    times: dict[str, float],
    size: int,
    energy: bool,
) -> dict[str, Any]:
    baseline = {"latency_s": 1e-5, "energy_j": 5e-5, "memory_bytes": 6e7}
    row: dict[str, Any] = {"runtime": "ort", "file_bytes": size}
    for name, figure in baseline.items():
        kind = name.split("_")[0]
        factor = times[kind] * (1.0 if method == "float" else 1 + rng.normal(0, 0.005))
        value = None if kind == "energy" and not energy else figure / factor
        spread = 0.0005 if kind == "memory" else 0.02
        row |= _bounded(name, value, spread)
        if kind == "memory":
            row["memory_times"] = factor
        else:
            row |= _bounded(f"{kind}_times", None if value is None else factor, spread)
    row["energy_estimated"] = True if energy else None
    row["energy_source"] = "estimate: CPU time x 5 W per core (given)" if energy else None
    return row


def _bounded(name: str, value: float | None, spread: float) -> dict[str, Any]:
    if value is None:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    return {name: value, f"{name}_low": value * (1 - spread), f"{name}_high": value * (1 + spread)}


def _training(rng: np.random.Generator, start: float, end: float) -> dict[str, Any]:
    timesteps = np.arange(1, 11) * 10_000
    curve = start + (end - start) * np.minimum(np.arange(1, 11) / 7, 1.0)
    noise = rng.normal(0, 0.05 * abs(end - start) + 1e-9, (10, 5))
    return {
        "steps": 100_000,
        "seconds": 60.0,
        "timesteps": timesteps,
        "evaluations": curve[:, np.newaxis] + noise,
    }
