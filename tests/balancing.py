"""A policy that balances the cart pole, built by hand so that pruning has a known effect.

Of its hidden neurons, removed in this order by their norm: `idle` ones do nothing, one feels the
pole's angular velocity, the others its angle. Without the velocity the pole falls early.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
import torch
from gymnasium.spaces import Box, Discrete

from made_agents import Recipe, made_source, make_model
from squeezerl.agents.load import Agent
from squeezerl.evaluation.environment import Environment
from squeezerl.network.network import Head, Layer, Network

Weights = npt.NDArray[np.float32]

MAX_STEPS = 100
ENV_KWARGS = {"max_episode_steps": MAX_STEPS}
ANGLE, VELOCITY = 2, 3
RETAIN = 0.7  # lenient enough that ten episodes can say "keeps"

SOURCE = made_source("balancing.zip", sha256="1" * 64)


def cart_pole() -> Environment:
    """CartPole-v1 in EnvPool, cut after `MAX_STEPS` steps."""
    return Environment.find("CartPole-v1", ENV_KWARGS, backend="envpool")


def balancing_agent(width: int = 20, idle: int = 10) -> Agent:
    """The agent with so many hidden neurons; it keeps its return while only idle ones go."""
    hidden, output = _weights(width, idle)
    return _agent(hidden, output, np.zeros(2, np.float32))


def untrained_agent(width: int = 20) -> Agent:
    """An agent that pushes to the same side whatever happens; worse than random."""
    hidden, output = np.zeros((width, 4), np.float32), np.zeros((2, width), np.float32)
    return _agent(hidden, output, np.array([1.0, 0.0], np.float32))


def _agent(hidden: Weights, output: Weights, bias: Weights) -> Agent:
    network = Network(
        layers=(
            Layer(weight=hidden, bias=np.zeros(len(hidden), np.float32), activation="Tanh"),
            Layer(weight=output, bias=bias),
        ),
        head=Head(kind="argmax"),
        observation_shape=(4,),
        action_shape=(),
    )
    return Agent(network, SOURCE)


def save_balancing_agent(path: Path, width: int = 20, idle: int = 10) -> Path:
    """The same agent as a Stable-Baselines3 checkpoint."""
    import gymnasium
    from stable_baselines3.common.vec_env import DummyVecEnv

    recipe = Recipe("PPO", policy_kwargs={"net_arch": {"pi": [width], "vf": [1]}})
    model: Any = make_model(recipe, DummyVecEnv([lambda: gymnasium.make("CartPole-v1")]))
    hidden, output = _weights(width, idle)
    state = model.policy.state_dict() | {
        "mlp_extractor.policy_net.0.weight": torch.tensor(hidden),
        "mlp_extractor.policy_net.0.bias": torch.zeros(width),
        "action_net.weight": torch.tensor(output),
        "action_net.bias": torch.zeros(2),
    }
    model.policy.load_state_dict(state)
    model.save(path)
    return path


def _weights(width: int, idle: int) -> tuple[Weights, Weights]:
    hidden = np.full((width, 4), 1e-4)
    output = np.full((2, width), 1e-4)
    angle = slice(idle + 1, width)
    hidden[idle], hidden[angle] = np.eye(4)[VELOCITY], np.eye(4)[ANGLE]
    # What both outputs share does not change the argmax, but makes a neuron look important.
    push = 0.5 / (width - idle - 1)
    output[:, idle] = [-0.1, 0.1]
    output[:, angle] = [[2 - push], [2 + push]]
    return hidden.astype(np.float32), output.astype(np.float32)


class Constant(gymnasium.Env[Any, Any]):
    """One step that is worth the action; all observations are the same."""

    observation_space = Box(-1, 1, (4,))
    action_space = Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return np.ones(4, np.float32), {}

    def step(self, action: Any) -> Any:
        return np.ones(4, np.float32), 1.0 - action, True, False, {}


gymnasium.register("tests/Constant-v0", Constant)
