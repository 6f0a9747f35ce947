"""An agent as Stable-Baselines3's users run it, rebuilt around a policy without unpickling.

Stable-Baselines3 is imported when a predictor is made.
"""

from __future__ import annotations

from typing import Any, final

import gymnasium
import numpy as np
import numpy.typing as npt
import torch
from gymnasium.spaces import Box, Discrete

from squeezerl.agents.sb3 import actor_state
from squeezerl.errors import UnsupportedPolicyError
from squeezerl.network.action_head import ActionHead
from squeezerl.network.activations import ACTIVATIONS
from squeezerl.network.normalizer import ObservationNormalizer
from squeezerl.network.parts import policy_layers
from squeezerl.network.policy import LinearLayer, Policy

# Algorithm → the family of its policies, as in `CheckpointMetadata`.
FAMILIES = {
    "ppo": "actor-critic",
    "a2c": "actor-critic",
    "trpo": "actor-critic",
    "sac": "sac",
    "tqc": "tqc",
    "td3": "td3",
    "ddpg": "td3",
    "dqn": "dqn",
    "qrdqn": "qrdqn",
}
_CONTRIBUTED = ("trpo", "tqc", "qrdqn")
_HEADS = {
    "actor-critic": ("clip", "argmax"),
    "sac": ("tanh",),
    "tqc": ("tanh",),
    "td3": ("tanh",),
    "dqn": ("argmax",),
    "qrdqn": ("argmax",),
}


@final
class Sb3Predictor:
    """A policy inside a model of Stable-Baselines3, behind a VecNormalize if it has a normaliser.

    The critics are as wide as the actor, which is Stable-Baselines3's default, and random:
    `predict` does not ask them.

    Args:
        policy: pruned or not; its weights are copied.
        algorithm: as `AgentSource.algorithm` has it, for example "ppo".

    Raises:
        UnsupportedPolicyError: if the algorithm's models cannot act as this policy does, or if
            Stable-Baselines3 is not installed.
    """

    def __init__(self, policy: Policy, algorithm: str) -> None:
        layers = policy_layers(policy)
        _check(layers, policy.head, algorithm)
        env = _stand_in(policy, len(layers[-1].weight))
        make_model = algorithm_class(algorithm)
        with torch.random.fork_rng(devices=[]):  # the weights are drawn first, and then replaced
            self._model = make_model("MlpPolicy", env, device="cpu", **_settings(layers, algorithm))
        weights = self._model.policy.state_dict()
        self._model.policy.load_state_dict(weights | actor_state(FAMILIES[algorithm], layers))
        self._normalizer = (
            None if policy.normalizer is None else _vec_normalize(policy.normalizer, env)
        )

    def predict(self, observations: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Actions (batch, *action_shape) for raw observations (batch, *observation_shape)."""
        if self._normalizer is not None:
            observations = self._normalizer.normalize_obs(observations)
        actions: npt.NDArray[Any] = self._model.predict(observations, deterministic=True)[0]
        return actions


def _check(layers: list[LinearLayer], head: ActionHead, algorithm: str) -> None:
    if algorithm not in FAMILIES:
        raise UnsupportedPolicyError(
            f"algorithm {algorithm!r} is not supported; supported are {', '.join(FAMILIES)}"
        )
    name = algorithm.upper()
    heads = _HEADS[FAMILIES[algorithm]]
    if head.kind not in heads:
        raise UnsupportedPolicyError(
            f"{name} turns outputs into actions by {' or '.join(heads)}, this policy by {head.kind}"
        )
    if head.clip_mean is not None:
        raise UnsupportedPolicyError(
            "the policy bounds its outputs before the tanh, as gSDE does; models with gSDE are not "
            "rebuilt"
        )
    if not (torch.isfinite(head.low).all() and torch.isfinite(head.high).all()):
        raise UnsupportedPolicyError("Stable-Baselines3 takes finite action bounds only")
    if not layers or layers[-1].activation is not None:
        raise UnsupportedPolicyError(f"the last layer of {name}'s networks has no activation")
    activations = [str(layer.activation) for layer in layers[:-1]]
    if "None" in activations or len(set(activations)) > 1:
        raise UnsupportedPolicyError(
            f"{name}'s networks have the same activation after every hidden layer, this policy has "
            f"{', '.join(activations)}"
        )


def _settings(layers: list[LinearLayer], algorithm: str) -> dict[str, Any]:
    policy_kwargs: dict[str, Any] = {"net_arch": [len(layer.weight) for layer in layers[:-1]]}
    if layers[0].activation is not None:
        policy_kwargs["activation_fn"] = ACTIVATIONS[layers[0].activation]
    if algorithm == "qrdqn":
        policy_kwargs["n_quantiles"] = 1
    # Nothing will be trained: the least that each algorithm takes without a warning.
    least: dict[str, Any] = {"buffer_size": 1}
    if FAMILIES[algorithm] == "actor-critic":
        least = {"n_steps": 2} if algorithm == "a2c" else {"n_steps": 2, "batch_size": 2}
    return {"policy_kwargs": policy_kwargs, **least}


def import_sb3() -> Any:
    """The package stable_baselines3, imported.

    Raises:
        UnsupportedPolicyError: if it is not installed.
    """
    try:
        import stable_baselines3
    except ImportError as error:
        raise _missing(error) from error
    return stable_baselines3


def import_contrib() -> Any:
    """The package sb3_contrib, imported.

    Raises:
        UnsupportedPolicyError: if it is not installed.
    """
    try:
        import sb3_contrib
    except ImportError as error:
        raise _missing(error) from error
    return sb3_contrib


def _missing(error: ImportError) -> UnsupportedPolicyError:
    return UnsupportedPolicyError(
        f"{error.name} is not installed, and is needed to run or train agents in it; "
        "install it with: pip install 'squeezerl[train]'"
    )


def algorithm_class(algorithm: str) -> Any:
    """The class of an algorithm by its name in lower case.

    Raises:
        UnsupportedPolicyError: if the package that has it is not installed.
    """
    library = import_contrib() if algorithm in _CONTRIBUTED else import_sb3()
    return getattr(library, algorithm.upper())


def _stand_in(policy: Policy, outputs: int) -> Any:
    """An environment of which there are the spaces only: a model asks for no more to predict."""
    env: Any = gymnasium.Env()
    env.observation_space = Box(-np.inf, np.inf, policy.observation_shape, np.float32)
    if policy.head.is_discrete:
        env.action_space = Discrete(outputs)
    else:
        bounds = (policy.head.low, policy.head.high)
        env.action_space = Box(*(x.reshape(policy.action_shape).numpy().copy() for x in bounds))
    return env


def _vec_normalize(normalizer: ObservationNormalizer, env: Any) -> Any:
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    wrapped: Any = VecNormalize(
        DummyVecEnv([lambda: env]),
        training=False,
        norm_reward=False,
        clip_obs=normalizer.clip,
        epsilon=0.0,
    )
    shape = env.observation_space.shape
    with np.errstate(divide="ignore"):  # a feature of unbounded variance is a constant 0
        wrapped.obs_rms.var = (normalizer.inverse_std.double().numpy() ** -2).reshape(shape)
    wrapped.obs_rms.mean = normalizer.mean.double().numpy().reshape(shape)
    return wrapped
