"""How often a policy that does not keep its return is said to keep it, and what finding out costs.

Real agents play against copies of themselves with noise on their weights, some hundred episodes
each. From these returns, whole comparisons are drawn again and again: the episodes of a start state
stay together, and a constant is added to a copy's returns so that its retention is just below the
threshold, two points above it, or far below. Prints JSON:

    python benchmarks/guarantee.py                # returns are kept in out/guarantee
    python benchmarks/guarantee.py --agents DIR --episodes 600 --trials 2000

`single` has one comparison by each of four tests: ours (group-sequential, O'Brien-Fleming), the
percentile bootstrap with Bonferroni's correction that it replaced, an asymptotic confidence
sequence (arXiv 2103.06476, equation 7) and betting (arXiv 2010.09686). `squeeze` is the whole
choice as a squeeze makes it: all copies are judged, and those that pass must pass again on other
episodes, each attempt with half the error of the one before.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from squeezerl.agents.load import load_agent
from squeezerl.analysis.retention import fewest_to_keep
from squeezerl.analysis.sequential import ERROR, SequentialTest, doubling
from squeezerl.evaluation.environment import Environment
from squeezerl.evaluation.evaluate import evaluate
from squeezerl.evaluation.reference_actors import RandomActor
from squeezerl.network.network import Network
from squeezerl.runtimes.base import Actor
from squeezerl.runtimes.onnx_runtime import load_network

Floats = npt.NDArray[np.float64]
# What a test says of differences, (limit,), and how many of them it looked at.
Decide = Callable[[Floats], tuple[str | None, int]]
AGENTS = {
    "ppo/Hopper-v3_1": "Hopper-v4",
    "trpo/Hopper-v3_1": "Hopper-v4",
    "ppo/LunarLanderContinuous-v2_1": "LunarLanderContinuous-v3",
    "ppo/HalfCheetah-v3_1": "HalfCheetah-v4",
}
PUBLISHED = Path(__file__).resolve().parents[2] / "shared" / "agents"
THRESHOLD, GLANCE, FIRST, COPIES = 0.95, 25, 100, 5
LEVELS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)
TARGETS = {"just below": 0.945, "at": 0.95, "two points above": 0.97, "four points above": 0.99,
           "ten points below": 0.85, "half": 0.5}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Pool:
    """Returns on the same seeds: (episodes,), and (copies, episodes) of the noisy copies."""

    baseline: Floats
    random: Floats
    copies: Floats

    @property
    def gain(self) -> float:
        return float(self.baseline.mean() - self.random.mean())

    @property
    def retentions(self) -> Floats:
        kept: Floats = (self.copies.mean(axis=1) - self.random.mean()) / self.gain
        return kept

    def differences(self, retention: float) -> Floats:
        """Of each copy, shifted so that its true retention is the one given; in gains."""
        shifted = self.copies + (retention - self.retentions[:, np.newaxis]) * self.gain
        compared = shifted - THRESHOLD * self.baseline - (1 - THRESHOLD) * self.random
        return np.asarray(compared / self.gain)


def collect(folder: Path, env_id: str, episodes: int) -> Pool:
    """Play an agent, the random policy, and copies that keep 85 to 99 %."""
    network, environment = load_agent(folder).network, Environment.find(env_id)

    def returns(actor: Actor, count: int, seed: int = 0) -> Floats:
        return np.array(evaluate(actor, environment, episodes=count, seed=seed).returns)

    baseline = returns(load_network(network), episodes)
    random = returns(RandomActor(environment, 0), episodes)
    gain = baseline.mean() - random.mean()
    copies: list[Floats] = []
    for copy in noisy_copies(network):
        actor = load_network(copy)
        kept = (returns(actor, 60, 10_000_000).mean() - random.mean()) / gain
        if 0.85 < kept < 0.99:
            copies.append(returns(actor, episodes))
        if len(copies) == COPIES:
            break
    return Pool(baseline, random, np.array(copies))


def noisy_copies(network: Network) -> Iterator[Network]:
    """The network with more and more noise, in proportion to each weight."""
    for number, level in enumerate(LEVELS):
        rng = np.random.default_rng(number)
        for _ in range(3):
            layers = []
            for layer in network.layers:
                assert isinstance(layer.weight, np.ndarray)
                noise = 1 + level * rng.standard_normal(layer.weight.shape)
                layers.append(
                    dataclasses.replace(layer, weight=(layer.weight * noise).astype(np.float32))
                )
            yield network.replace(layers=tuple(layers))


def kept(folder: Path, env_id: str, episodes: int, cache: Path) -> Pool:
    """The pool of an agent, from the cache if it was played before."""
    file = cache / f"{folder.parent.name}-{folder.name}-{episodes}.npz"
    if not file.exists():
        cache.mkdir(parents=True, exist_ok=True)
        np.savez(file, **dataclasses.asdict(collect(folder, env_id, episodes)))
    with np.load(file) as arrays:
        return Pool(**arrays)


@functools.cache
def sequential(limit: int, error: float = ERROR, first: int = GLANCE) -> Decide:
    """Ours."""
    test = SequentialTest(looks(limit, first), error)

    def decide(differences: Floats) -> tuple[str | None, int]:
        for look in test.looks:
            side = test.look(differences[:look])
            if side == "below" or (side == "above" and look >= fewest_to_keep(THRESHOLD)):
                return side, look
        return None, look

    return decide


def looks(limit: int, first: int) -> tuple[int, ...]:
    return tuple(sorted({first, *doubling(FIRST, limit)}))


def bootstrap(limit: int, rng: np.random.Generator) -> Decide:
    """What the sequential test replaced."""
    steps = looks(limit, GLANCE)
    tail = ERROR / len(steps)

    def decide(differences: Floats) -> tuple[str | None, int]:
        for look in steps:
            shares = rng.multinomial(look, np.full(look, 1 / look), size=2_000) / look
            low, high = np.quantile(shares @ differences[:look], [tail, 1 - tail])
            if low >= 0 and look >= fewest_to_keep(THRESHOLD):
                return "above", look
            if high < 0:
                return "below", look
        return None, look

    return decide


def confidence_sequence(limit: int) -> Decide:
    """An asymptotic confidence sequence that is tightest at half the limit, after each episode."""
    counts = np.arange(1, limit + 1)
    error = 2 * ERROR
    scale = (-2 * math.log(error) + math.log(-2 * math.log(error) + 1)) / (limit / 2)
    growth = counts * scale + 1
    reach = np.sqrt(2 * growth / (counts**2 * scale) * np.log(np.sqrt(growth) / error))

    def decide(differences: Floats) -> tuple[str | None, int]:
        means = np.cumsum(differences) / counts
        variances = np.maximum(np.cumsum(differences**2) / counts - means**2, 0)
        bounds = reach * np.sqrt(variances)
        above = (means >= bounds) & (counts >= fewest_to_keep(THRESHOLD))
        below = (means < -bounds) & (counts >= GLANCE)
        ends = np.flatnonzero(above | below)
        if not len(ends):
            return None, limit
        return ("above" if above[ends[0]] else "below"), int(ends[0]) + 1

    return decide


def betting(limit: int, low: float, high: float) -> Decide:
    """Two gamblers with variance-adaptive bets on differences that have bounds."""

    def decide(differences: Floats) -> tuple[str | None, int]:
        above = below = mean = total = 0.0
        spread = variance = ((high - low) / 4) ** 2
        for count, value in enumerate(differences[:limit], start=1):
            bet = mean / (variance + mean**2)
            above += math.log1p(min(max(bet, 0.0), 0.75 / -low) * value)
            below += math.log1p(-min(max(-bet, 0.0), 0.75 / high) * value)
            if above >= -math.log(ERROR) and count >= fewest_to_keep(THRESHOLD):
                return "above", count
            if below >= -math.log(ERROR):
                return "below", count
            total += value
            mean = total / (count + 1)
            spread += (value - mean) ** 2
            variance = spread / (count + 1)
        return None, limit

    return decide


def single(pool: Pool, limit: int, trials: int, rng: np.random.Generator) -> dict[str, Any]:
    """One comparison, by each test and true retention; all copies alike."""
    found: dict[str, Any] = {}
    for name, target in TARGETS.items():
        differences = pool.differences(target)
        low = min(1.2 * float(differences.min()), -0.01)
        high = max(1.2 * float(differences.max()), 0.01)
        tests: dict[str, tuple[Decide, int]] = {
            "group-sequential": (sequential(limit), trials),
            "bootstrap, Bonferroni": (bootstrap(limit, rng), trials // 5),
            "confidence sequence": (confidence_sequence(limit), trials),
            "betting": (betting(limit, low, high), trials // 5),
        }
        found[name] = {}
        for label, (decide, count) in tests.items():
            each = max(1, count // len(differences))
            ends = [
                decide(row[rng.integers(len(row), size=limit)])
                for row in differences
                for _ in range(each)
            ]
            found[name][label] = summary([side for side, _ in ends], [n for _, n in ends])
    return found


def squeeze(pool: Pool, limit: int, trials: int, rng: np.random.Generator) -> dict[str, Any]:
    """The choice among all copies of one retention, confirmed on other episodes."""
    judge = sequential(limit)
    found = {}
    for name, target in TARGETS.items():
        differences = pool.differences(target)
        chosen: list[str | None] = []
        episodes: list[int] = []
        for _ in range(trials):
            seeds, fresh = rng.integers(differences.shape[1], size=(2, limit))
            played, attempts, end = 0, 0, None
            for row in rng.permutation(len(differences)):
                side, count = judge(differences[row, seeds])
                played += count
                if side != "above":
                    continue
                confirm = sequential(limit, ERROR / 2**attempts, first=FIRST)
                end, count = confirm(differences[row, fresh])
                played, attempts = played + count, attempts + 1
                if end == "above":
                    break
            chosen.append(end if end == "above" else None)
            episodes.append(played)
        found[name] = summary(chosen, episodes)
    return found


def summary(sides: list[str | None], episodes: list[int]) -> dict[str, float]:
    """Shares of the trials, and the mean number of episodes of the policies that are judged."""
    return {
        "keeps": round(sides.count("above") / len(sides), 4),
        "loses": round(sides.count("below") / len(sides), 4),
        "episodes": round(float(np.mean(episodes)), 1),
        "trials": len(sides),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--agents", type=Path, default=PUBLISHED)
    parser.add_argument("--episodes", type=int, default=600, help="played of each policy")
    parser.add_argument("--trials", type=int, default=2_000)
    parser.add_argument("--limits", type=int, nargs="+", default=[400, 1_600])
    parser.add_argument("--cache", type=Path, default=Path("out/guarantee"))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    results = {}
    for name, env_id in AGENTS.items():
        if not (options.agents / name).is_dir():
            continue
        pool = kept(options.agents / name, env_id, options.episodes, options.cache)
        results[name] = {
            "copies": pool.retentions.round(4).tolist(),
            "deviation": pool.differences(THRESHOLD).std(axis=1).round(3).tolist(),
            "limits": {
                limit: {
                    "single": single(pool, limit, options.trials, rng),
                    "squeeze": squeeze(pool, limit, options.trials, rng),
                }
                for limit in options.limits
            },
        }
    print(json.dumps({"threshold": THRESHOLD, "error": ERROR, "agents": results}, indent=1))


if __name__ == "__main__":
    main()
