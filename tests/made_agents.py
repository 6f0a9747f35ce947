"""Tiny agents with random weights, made and saved by Stable-Baselines3 itself.

And where those lie that other people published.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.spaces import Box

from squeezerl.records import AgentSource, SourceFile

PUBLISHED_AGENTS = Path(__file__).resolve().parents[2] / "shared" / "agents"
# Published as well, each with something that the others do not have.
SPECIAL_AGENTS = PUBLISHED_AGENTS.with_name("agents-more")
# What users give as `activation_fn`: classes of torch, or partials with their arguments.
ACTIVATIONS: dict[str, tuple[Any, ...]] = {
    name: (name,)
    for name in (
        "ReLU", "Tanh", "ELU", "LeakyReLU", "Sigmoid", "Softplus", "SELU", "SiLU",
        "GELU", "Mish", "Hardtanh", "Softsign", "PReLU", "ReLU6",
    )
} | {
    "GELUTanh": ("GELU", {"approximate": "tanh"}),
    "GELUNone": ("GELU", "none"),
    "LeakyReLU-0.1": ("LeakyReLU", 0.1),
    "LeakyReLU-keyword": ("LeakyReLU", {"negative_slope": np.float64(0.3), "inplace": True}),
    "LeakyReLU-positional": ("LeakyReLU", 0.2, True),
    "ELU-0.5": ("ELU", 0.5),
    "Hardtanh-0.5": ("Hardtanh", -0.5, {"max_val": 2}),
    "PReLU-1": ("PReLU", {"init": 0.1}),
    "PReLU-8": ("PReLU", 8),
}  # fmt: skip


class SpacesOnly(gym.Env):
    """An environment of the given spaces; its dynamics are noise."""

    def __init__(self, observation_space: gym.Space, action_space: gym.Space) -> None:
        self.observation_space = observation_space
        self.action_space = action_space

    def reset(self, **keywords: Any) -> tuple[Any, dict[str, Any]]:
        super().reset(**keywords)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.observation_space.sample(), 0.0, False, False, {}


def _pendulum() -> gym.Env:
    return gym.make("Pendulum-v1")


def _cartpole() -> gym.Env:
    return gym.make("CartPole-v1")


def _asymmetric() -> gym.Env:
    low, high = np.float32([-1, -0.2, 0.5]), np.float32([2, 0.1, 0.75])
    return SpacesOnly(Box(-np.inf, np.inf, (5,)), Box(low, high))


def _two_dimensional() -> gym.Env:
    low = np.float32([[-1, -0.2], [-0.5, -3]])
    high = np.float32([[2, 0.1], [0.75, 0.5]])
    return SpacesOnly(Box(-np.inf, np.inf, (3, 2)), Box(low, high))


def _bytes() -> gym.Env:
    return SpacesOnly(Box(0, 255, (6,), np.uint8), Box(-1, 1, (2,)))


@dataclass(frozen=True)
class Recipe:
    """How to make an agent; `activation_fn` is named, the networks are [16, 8] unless set.

    They are [8, 8] where a PReLU has eight slopes.
    """

    algorithm: str
    env: Callable[[], gym.Env] = _pendulum
    policy_kwargs: dict[str, Any] = field(default_factory=dict)
    use_sde: bool | None = None
    normalized: bool = False
    policy: str = "MlpPolicy"


RECIPES = {
    "ppo": Recipe("PPO"),
    "a2c-discrete": Recipe("A2C", _cartpole),
    "trpo": Recipe("TRPO"),
    "ddpg": Recipe("DDPG"),
    "td3": Recipe("TD3"),
    "sac": Recipe("SAC"),
    "tqc": Recipe("TQC"),
    "dqn": Recipe("DQN", _cartpole),
    "qrdqn": Recipe("QRDQN", _cartpole, {"n_quantiles": 7}),
    "sac-gsde": Recipe("SAC", use_sde=True),
    "sac-gsde-unclipped": Recipe("SAC", policy_kwargs={"clip_mean": 0.0}, use_sde=True),
    "tqc-gsde-asymmetric": Recipe("TQC", _asymmetric, {"clip_mean": 0.5}, use_sde=True),
    "a2c-gsde": Recipe("A2C", use_sde=True),
    "ppo-gsde-squashed": Recipe("PPO", _asymmetric, {"squash_output": True}, use_sde=True),
    "ars": Recipe("ARS"),
    "ars-clipped": Recipe("ARS", policy_kwargs={"squash_output": False}, normalized=True),
    "ars-discrete": Recipe("ARS", _cartpole),
    "ars-linear": Recipe("ARS", policy="LinearPolicy"),
    "ars-linear-squashed": Recipe(
        "ARS", _asymmetric, {"squash_output": True, "with_bias": True}, policy="LinearPolicy"
    ),
    "ppo-linear": Recipe("PPO", policy_kwargs={"net_arch": []}),
    "sac-linear": Recipe("SAC", policy_kwargs={"net_arch": {"pi": [], "qf": [4]}}),
    "td3-linear": Recipe("TD3", policy_kwargs={"net_arch": {"pi": [], "qf": [4]}}),
    "dqn-linear": Recipe("DQN", _cartpole, {"net_arch": []}),
    "ppo-normalized": Recipe("PPO", normalized=True),
    "dqn-normalized": Recipe("DQN", _cartpole, normalized=True),
    "ppo-asymmetric": Recipe("PPO", _asymmetric),
    "ppo-two-dimensional": Recipe("PPO", _two_dimensional, normalized=True),
    "sac-two-dimensional": Recipe("SAC", _two_dimensional, normalized=True),
    "ddpg-two-dimensional": Recipe("DDPG", _two_dimensional),
    "ppo-bytes": Recipe("PPO", _bytes),
    # The last of the hidden layers has an activation where a linear layer stands apart from them.
    "sac-prelu": Recipe("SAC", policy_kwargs={"activation_fn": ACTIVATIONS["PReLU-8"]}),
    "td3-prelu": Recipe("TD3", policy_kwargs={"activation_fn": ACTIVATIONS["PReLU-8"]}),
    "dqn-leaky": Recipe("DQN", _cartpole, {"activation_fn": ACTIVATIONS["LeakyReLU-0.1"]}),
    "qrdqn-prelu": Recipe("QRDQN", _cartpole, {"activation_fn": ACTIVATIONS["PReLU-8"]}),
} | {
    f"ppo-{name}": Recipe("PPO", policy_kwargs={"activation_fn": made})
    for name, made in ACTIVATIONS.items()
}


@dataclass(frozen=True)
class MadeAgent:
    """A saved agent, with the model and normaliser that Stable-Baselines3 still holds."""

    path: Path
    model: Any
    normalizer: Any

    def observations(self, count: int, seed: int = 0) -> npt.NDArray[Any]:
        """Random observations (count, ...) of the space's own type."""
        space = self.model.observation_space
        rng = np.random.default_rng(seed)
        if space.dtype == np.uint8:
            return rng.integers(0, 256, (count, *space.shape), dtype=np.uint8)
        return rng.normal(scale=2.0, size=(count, *space.shape)).astype(np.float32)

    def expected_actions(self, observations: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """What Stable-Baselines3 does in these raw observations."""
        if self.normalizer is not None:
            observations = self.normalizer.normalize_obs(observations)
        return self.model.predict(observations, deterministic=True)[0]


def make_agent(recipe: str, folder: Path) -> MadeAgent:
    """Make the agent of a recipe, with its zip and any vecnormalize.pkl in `folder`."""
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    made = RECIPES[recipe]
    env: Any = DummyVecEnv([made.env])
    if made.normalized:
        env = VecNormalize(env)
        rng = np.random.default_rng(1)
        env.obs_rms.update(rng.normal(2.0, 5.0, (50, *env.observation_space.shape)))
        env.save(folder / "vecnormalize.pkl")
    model = make_model(made, env)
    model.save(folder / f"{recipe}.zip")
    return MadeAgent(folder / f"{recipe}.zip", model, env if made.normalized else None)


def make_model(made: Recipe, env: Any, policy: Any = None) -> Any:
    """The recipe's model for an environment, with random weights and biases of seed 0."""
    import sb3_contrib
    import stable_baselines3
    import torch

    library = stable_baselines3 if hasattr(stable_baselines3, made.algorithm) else sb3_contrib
    policy = policy or made.policy
    layers = {} if policy == "LinearPolicy" else {"net_arch": [16, 8]}
    policy_kwargs = layers | made.policy_kwargs
    if isinstance(activation := policy_kwargs.get("activation_fn"), tuple):
        name, *values = activation
        keywords = values.pop() if values and isinstance(values[-1], dict) else {}
        given = partial(getattr(torch.nn, name), *values, **keywords)
        policy_kwargs["activation_fn"] = given if values or keywords else given.func
        if activation == ("PReLU", 8):
            policy_kwargs["net_arch"] = [8, 8]
    settings: dict[str, Any] = {}
    if made.algorithm in ("DDPG", "TD3", "SAC", "TQC", "CrossQ", "DQN", "QRDQN"):
        settings["buffer_size"] = 1
    elif made.algorithm not in ("A2C", "ARS"):
        settings |= {"n_steps": 8, "batch_size": 8}
    if made.use_sde is not None:
        settings["use_sde"] = made.use_sde
    model = getattr(library, made.algorithm)(
        policy, env, policy_kwargs=policy_kwargs, device="cpu", **settings
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.policy.parameters():
            parameter.normal_(0.0, 0.5, generator=generator)
    return model


def made_source(
    path: str = "agent.zip",
    *,
    sha256: str = "0" * 64,
    algorithm: str = "ppo",
    env_id: str | None = "CartPole-v1",
    env_kwargs: dict[str, Any] | None = None,
) -> AgentSource:
    """The provenance of an agent that is not in any file."""
    return AgentSource(
        kind="stable-baselines3",
        path=path,
        algorithm=algorithm,
        env_id=env_id,
        env_kwargs=env_kwargs or {},
        files=(SourceFile(role="checkpoint", name=Path(path).name, sha256=sha256),),
        versions={"stable-baselines3": "2.9.2"},
    )
