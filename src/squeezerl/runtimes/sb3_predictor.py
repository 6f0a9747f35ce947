"""A network inside a model of Stable-Baselines3, as that library's users run an agent.

The model is made anew around the network's weights; nothing is unpickled. Torch, Gymnasium and
Stable-Baselines3 are imported when a predictor is made.
"""

from __future__ import annotations

from functools import partial
from typing import Any, final

import numpy as np
import numpy.typing as npt

from squeezerl.agents.sources.stable_baselines3.network import actor_state
from squeezerl.errors import UnsupportedPolicyError
from squeezerl.network.network import Network, Normalizer, as_float

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
    "ars": "ars",
}
CONTRIBUTED = ("trpo", "tqc", "qrdqn", "ars")
_HEADS = {
    "actor-critic": ("clip", "argmax"),
    "sac": ("tanh",),
    "tqc": ("tanh",),
    "td3": ("tanh",),
    "dqn": ("argmax",),
    "qrdqn": ("argmax",),
    "ars": ("clip", "tanh", "argmax"),
}


@final
class Sb3Predictor:
    """A network inside a model of Stable-Baselines3, and its normaliser as a VecNormalize.

    The critics are as wide as the actor, which is Stable-Baselines3's default, and random, since
    `predict` does not use them.

    Args:
        network: pruned or not, in floats; its weights are copied.
        algorithm: as `AgentSource.algorithm` has it, for example "ppo".

    Raises:
        UnsupportedPolicyError: if the algorithm's models cannot act as this network does, or if
            Stable-Baselines3 is not installed.
    """

    def __init__(self, network: Network, algorithm: str) -> None:
        import torch

        check_fits(network, algorithm)
        layers = network.layers
        env = _stand_in(network)
        make_model = algorithm_class(algorithm)
        with torch.random.fork_rng(devices=[]):  # the weights are drawn first, and then replaced
            self._model = make_model(
                "MlpPolicy", env, device="cpu", **_settings(network, algorithm)
            )
        weights = self._model.policy.state_dict()
        state = actor_state(FAMILIES[algorithm], layers)
        actor = {name: torch.tensor(array) for name, array in state.items()}
        for name, tensor in actor.items():
            module = self._model.policy.get_submodule(name.rpartition(".")[0])
            if isinstance(module, torch.nn.PReLU):  # made with one slope
                module.weight = torch.nn.Parameter(tensor)
        self._model.policy.load_state_dict(weights | actor)
        self._normalizer = (
            None if network.normalizer is None else _vec_normalize(network.normalizer, env)
        )

    def predict(self, observations: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Actions (batch, *action_shape) for raw observations (batch, *observation_shape)."""
        if self._normalizer is not None:
            observations = self._normalizer.normalize_obs(observations)
        actions: npt.NDArray[Any] = self._model.predict(observations, deterministic=True)[0]
        return actions


def check_fits(network: Network, algorithm: str) -> None:
    """Raise an `UnsupportedPolicyError` if models of the algorithm cannot act as a network does."""
    layers, head = network.layers, network.head
    if algorithm not in FAMILIES:
        raise UnsupportedPolicyError(
            f"{f'algorithm {algorithm!r}' if algorithm else 'an agent of an unknown algorithm'} is "
            f"not supported; supported are {', '.join(FAMILIES)}"
        )
    name = algorithm.upper()
    heads = _HEADS[FAMILIES[algorithm]]
    if head.kind not in heads:
        raise UnsupportedPolicyError(
            f"{name} turns outputs into actions by {' or '.join(heads)}, this policy by {head.kind}"
        )
    if head.groups and FAMILIES[algorithm] != "actor-critic":
        raise UnsupportedPolicyError(f"{name} makes one choice, this policy {len(head.groups)}")
    if head.sampling is not None:
        raise UnsupportedPolicyError(
            "Stable-Baselines3 draws noise of its own, which depends on the batch; run a policy "
            "that draws its actions in ort or torch"
        )
    if head.clip_mean is not None:
        raise UnsupportedPolicyError(
            "the policy bounds its outputs before the tanh, as gSDE does; models with gSDE are not "
            "rebuilt"
        )
    if not (np.isfinite(head.low).all() and np.isfinite(head.high).all()):
        raise UnsupportedPolicyError("Stable-Baselines3 takes finite action bounds only")
    if network.is_quantized:
        raise UnsupportedPolicyError("Stable-Baselines3 runs networks of floats only")
    if any(layer.skip for layer in layers):
        raise UnsupportedPolicyError("Stable-Baselines3 has no networks with an input skip")
    if layers[-1].activation is not None:
        raise UnsupportedPolicyError(f"the last layer of {name}'s networks has no activation")
    # Each PReLU has slopes of its own.
    activations = ["PReLU" if x.slopes else str(x.activation) for x in layers[:-1]]
    if "None" in activations or len(set(activations)) > 1:
        raise UnsupportedPolicyError(
            f"{name}'s networks have the same activation after every hidden layer, this policy has "
            f"{', '.join(activations)}"
        )


def _settings(network: Network, algorithm: str) -> dict[str, Any]:
    from squeezerl.network.policy import TORCH_ACTIVATIONS, make_activation

    layers = network.layers
    policy_kwargs: dict[str, Any] = {"net_arch": [layer.out_features for layer in layers[:-1]]}
    if layers[0].activation is not None:
        policy_kwargs["activation_fn"] = (
            TORCH_ACTIVATIONS["PReLU"]
            if layers[0].slopes
            else partial(make_activation, layers[0].activation)
        )
    if algorithm == "qrdqn":
        policy_kwargs["n_quantiles"] = 1
    # Nothing will be trained, so this is the least that each algorithm takes without a warning.
    least: dict[str, Any] = {"buffer_size": 1}
    if algorithm == "ars":
        policy_kwargs["squash_output"] = network.head.kind == "tanh"
        least = {}
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
    library = import_contrib() if algorithm in CONTRIBUTED else import_sb3()
    return getattr(library, algorithm.upper())


def _stand_in(network: Network) -> Any:
    """An environment that has spaces and nothing else, which is all that a model predicts with."""
    import gymnasium
    from gymnasium.spaces import Box, Discrete, MultiDiscrete

    env: Any = gymnasium.Env()
    env.observation_space = Box(-np.inf, np.inf, network.observation_shape, np.float32)
    if network.head.groups:
        env.action_space = MultiDiscrete(network.head.groups)
    elif network.choices is not None:
        env.action_space = Discrete(*network.choices)
    else:
        bounds = (network.head.low, network.head.high)
        env.action_space = Box(*(x.reshape(network.action_shape).copy() for x in bounds))
    return env


def _vec_normalize(normalizer: Normalizer, env: Any) -> Any:
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
        wrapped.obs_rms.var = (as_float(normalizer.inverse_std).astype(np.float64) ** -2).reshape(
            shape
        )
    wrapped.obs_rms.mean = as_float(normalizer.mean).astype(np.float64).reshape(shape)
    return wrapped
