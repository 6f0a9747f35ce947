"""Training: this library against plain Stable-Baselines3 with one environment.

    python benchmarks/training_throughput.py --algorithms ppo trpo --steps 50_000 --seeds 3

Both train the same algorithm with the same hyperparameters, rollout size, number of gradient steps
per environment step, and normalisation, seed by seed in turn, each in a fresh process with the
machine to itself. Plain Stable-Baselines3 is what a user writes: one Gymnasium environment in a
DummyVecEnv, torch with the threads that it takes by itself; and, to be fair, with one thread.

Reported are environment steps per second of learning, without imports and evaluations, with the
median of the ratios seed by seed; and the return of what was learned, played by our evaluation
engine. Off-policy algorithms count from the step at which they start to learn (10,000 on MuJoCo).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from squeezerl.agents.load import load_agent
from squeezerl.analysis.bootstrap import mean_interval
from squeezerl.api import load_actor
from squeezerl.evaluation.evaluate import evaluate
from squeezerl.host.facts import host_facts
from squeezerl.records import to_json
from squeezerl.training.hyperparameters import load_hyperparameters

_EPISODES = 50
_SIDES = ("squeezerl", "sb3", "sb3-one-thread")


def learn_with_squeezerl(algorithm: str, env_id: str, steps: int, seed: int, output: Path) -> float:
    """Steps per second of learning."""
    import squeezerl
    from squeezerl.training.result import TrainingProgress

    marks: list[tuple[int, float]] = []

    def mark(progress: TrainingProgress) -> None:
        marks.append((progress.steps, time.perf_counter()))

    config = squeezerl.TrainConfig(
        algorithm=algorithm, env=env_id, steps=steps, seed=seed, evaluations=1, eval_episodes=1
    )
    squeezerl.train(config, output=output, on_progress=mark)
    return _rate(marks, algorithm, env_id)


def learn_with_sb3(
    algorithm: str, env_id: str, steps: int, seed: int, output: Path, threads: int | None
) -> float:
    """Steps per second of learning."""
    import gymnasium
    import torch
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.monitor import Monitor
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    from squeezerl.network.policy import TORCH_ACTIVATIONS
    from squeezerl.training.algorithms import find_algorithm
    from squeezerl.training.model import schedule

    if threads is not None:
        torch.set_num_threads(threads)
    chosen = find_algorithm(algorithm)
    settings = load_hyperparameters(algorithm, env_id)
    keywords = dict(settings.model)
    for name in ("learning_rate", "clip_range"):
        if name in keywords:
            keywords[name] = schedule(keywords[name])
    if chosen.on_policy:
        keywords["n_steps"] *= settings.n_envs  # the same rollout, from one environment
    policy_kwargs = dict(settings.policy_kwargs)
    if "activation_fn" in policy_kwargs:
        policy_kwargs["activation_fn"] = TORCH_ACTIVATIONS[policy_kwargs["activation_fn"]]
    env: Any = DummyVecEnv([lambda: Monitor(gymnasium.make(env_id))])
    if settings.normalize is not None:
        env = VecNormalize(env, gamma=keywords.get("gamma", 0.99))
    if settings.noise is not None:
        from stable_baselines3.common.noise import NormalActionNoise

        shape = env.action_space.shape
        keywords["action_noise"] = NormalActionNoise(
            np.zeros(shape), np.full(shape, settings.noise[1])
        )
    model = chosen.load()(
        "MlpPolicy", env, seed=seed, policy_kwargs=policy_kwargs, device="cpu", **keywords
    )
    marks: list[tuple[int, float]] = []

    class _Marks(BaseCallback):  # type: ignore[misc]
        def _on_step(self) -> bool:
            if not marks or time.perf_counter() - marks[-1][1] > 0.2:
                marks.append((self.num_timesteps, time.perf_counter()))
            return True

    model.learn(steps, callback=_Marks())
    (output / env_id).mkdir(parents=True)
    model.save(output / f"{env_id}.zip")
    if settings.normalize is not None:
        env.save(str(output / env_id / "vecnormalize.pkl"))
    return _rate(marks, algorithm, env_id)


def _rate(marks: list[tuple[int, float]], algorithm: str, env_id: str) -> float:
    """From a tenth of the training, or when learning starts if that is later, to the last mark."""
    waits = load_hyperparameters(algorithm, env_id).model.get("learning_starts", 0)
    first = max(marks[-1][0] / 10, waits + 1)
    later = [mark for mark in marks if mark[0] >= first]
    return (later[-1][0] - later[0][0]) / (later[-1][1] - later[0][1])


def run_side(side: str, algorithm: str, env_id: str, steps: int, seed: int) -> dict[str, Any]:
    """One training in this process; its rate, and the returns of what it learned."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "agent"
        if side == "squeezerl":
            rate = learn_with_squeezerl(algorithm, env_id, steps, seed, output)
        else:
            threads = 1 if side == "sb3-one-thread" else None
            rate = learn_with_sb3(algorithm, env_id, steps, seed, output, threads)
        agent = load_agent(output / f"{env_id}.zip")
        played = evaluate(load_actor(agent), env_id, episodes=_EPISODES)
    return {"steps_per_second": rate, "mean_return": played.mean_return}


def compare(algorithm: str, env_id: str, steps: int, seeds: int) -> dict[str, Any]:
    """All sides in turn, seed by seed, each in a process of its own."""
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in _SIDES}
    for seed in range(seeds):
        for side in _SIDES:
            command = [sys.executable, __file__, "--side", side, "--algorithms", algorithm]
            command += ["--env", env_id, "--steps", str(steps), "--seed", str(seed)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            runs[side].append(json.loads(done.stdout.splitlines()[-1]))
            print(algorithm, seed, side, runs[side][-1], file=sys.stderr)
    rates = {side: [run["steps_per_second"] for run in runs[side]] for side in _SIDES}
    returns = {side: [run["mean_return"] for run in runs[side]] for side in _SIDES}
    difference = np.subtract(returns["squeezerl"], returns["sb3"])
    return {
        "algorithm": algorithm,
        "env_id": env_id,
        "steps": steps,
        "seeds": seeds,
        "steps_per_second": rates,
        "median_ratio": {
            side: median(
                ours / theirs for ours, theirs in zip(rates["squeezerl"], rates[side], strict=True)
            )
            for side in _SIDES[1:]
        },
        "mean_returns": returns,
        "return_difference_to_sb3": to_json(mean_interval(difference, np.random.default_rng(0))),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--algorithms", nargs="+", default=["ppo", "trpo"])
    parser.add_argument("--env", default="HalfCheetah-v4")
    parser.add_argument("--steps", type=int, default=50_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--side", choices=_SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    if arguments.side:
        (algorithm,) = arguments.algorithms
        result = run_side(arguments.side, algorithm, arguments.env, arguments.steps, arguments.seed)
        print(json.dumps(result))
        return
    report = {
        "host": to_json(host_facts()),
        "comparisons": [
            compare(algorithm, arguments.env, arguments.steps, arguments.seeds)
            for algorithm in arguments.algorithms
        ],
    }
    text = json.dumps(report, indent=2) + "\n"
    if arguments.output:
        arguments.output.write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()
