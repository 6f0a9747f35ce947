"""Train the agent that SqueezeRL bundles: PPO on HalfCheetah-v5, one million steps.

The output is an rl-zoo folder, so the bundled agent is loaded exactly as a downloaded one is:

    python scripts/train_demo_agent.py --output build/demo_agent

The hyperparameters are those that rl-baselines3-zoo publishes for PPO on HalfCheetah
(hyperparams/ppo.yml), with smaller networks so that the file stays small. The agent that is bundled
is the better of seeds 0 and 1 (5,024 and 6,205 over 100 episodes). Each took 22 minutes on one core
of a busy two-core machine.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import gymnasium
import torch
import yaml
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

ENV_ID = "HalfCheetah-v5"
TIMESTEPS = 1_000_000
GAMMA = 0.98
NET_ARCH = {"pi": [128, 128], "vf": [64, 64]}


def train(output: Path, seed: int, timesteps: int) -> Path:
    """Train and save to `output/ppo/<env>_1`; returns that folder."""
    torch.set_num_threads(1)
    venv = VecNormalize(DummyVecEnv([lambda: gymnasium.make(ENV_ID)]), gamma=GAMMA)
    model = PPO(
        "MlpPolicy",
        venv,
        n_steps=512,
        batch_size=64,
        n_epochs=20,
        gamma=GAMMA,
        gae_lambda=0.92,
        clip_range=0.1,
        ent_coef=0.000401762,
        learning_rate=2.0633e-05,
        max_grad_norm=0.8,
        vf_coef=0.58096,
        policy_kwargs={
            "log_std_init": -2,
            "ortho_init": False,
            "activation_fn": torch.nn.ReLU,
            "net_arch": NET_ARCH,
        },
        seed=seed,
        device="cpu",
        verbose=1,
    )
    start = time.perf_counter()
    model.learn(timesteps, log_interval=50)
    print(f"trained {timesteps} steps in {time.perf_counter() - start:.0f} s")

    folder = output / "ppo" / f"{ENV_ID}_1"
    settings = folder / ENV_ID
    settings.mkdir(parents=True, exist_ok=True)
    model.save(folder / f"{ENV_ID}.zip")
    venv.save(str(settings / "vecnormalize.pkl"))
    arguments = {"algo": "ppo", "env": ENV_ID, "seed": seed, "n_timesteps": timesteps}
    (settings / "args.yml").write_text(yaml.safe_dump(arguments))
    config = {"normalize": True, "gamma": GAMMA, "policy": "MlpPolicy", "net_arch": NET_ARCH}
    (settings / "config.yml").write_text(yaml.safe_dump(config))
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=TIMESTEPS)
    arguments = parser.parse_args()
    print(train(arguments.output, arguments.seed, arguments.steps))


if __name__ == "__main__":
    main()
