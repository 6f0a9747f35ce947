"""The network of a model in training, as `load_agent` will read it from the saved model."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete

from squeezerl.agents.sources.stable_baselines3.metadata import (
    BoxSpace,
    CheckpointMetadata,
    DiscreteSpace,
)
from squeezerl.agents.sources.stable_baselines3.network import build_network
from squeezerl.agents.sources.stable_baselines3.vecnormalize import make_normalizer
from squeezerl.errors import UnsupportedPolicyError
from squeezerl.network.network import Network, Normalizer
from squeezerl.training.algorithms import Algorithm


def network_of(model: Any, algorithm: Algorithm) -> Network:
    """A copy of the model's deterministic policy, with its normaliser."""
    use_sde = bool(getattr(model, "use_sde", False))
    clip_mean = getattr(getattr(model, "actor", None), "clip_mean", 0.0) if use_sde else 0.0
    metadata = CheckpointMetadata(
        family=algorithm.family,
        algorithm=algorithm.name,
        observation_space=_box(model.observation_space),
        action_space=(
            DiscreteSpace(int(model.action_space.n))
            if isinstance(model.action_space, Discrete)
            else _box(model.action_space)
        ),
        activation=model.policy.activation_fn.__name__,
        squashed_gsde=use_sde and bool(getattr(model.policy, "squash_output", False)),
        clip_mean=clip_mean if clip_mean > 0 else None,
    )
    state = {
        name: value.detach().cpu().numpy() for name, value in model.policy.state_dict().items()
    }
    return build_network(metadata, state, _normalizer(model.get_vec_normalize_env()))


def _box(space: Any) -> BoxSpace:
    if not isinstance(space, Box):
        raise UnsupportedPolicyError(f"{type(space).__name__} spaces are not supported yet")
    low, high = (np.asarray(bound, dtype=np.float32).ravel() for bound in (space.low, space.high))
    return BoxSpace(space.shape, str(space.dtype), low, high)


def _normalizer(vec_normalize: Any) -> Normalizer | None:
    if vec_normalize is None or not vec_normalize.norm_obs:
        return None
    return make_normalizer(
        vec_normalize.obs_rms.mean,
        vec_normalize.obs_rms.var,
        epsilon=vec_normalize.epsilon,
        clip=vec_normalize.clip_obs,
    )
