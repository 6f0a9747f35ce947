"""The policy of a model in training, as `load_agent` will read it from the saved one."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete

from squeezerl.agents.metadata import CheckpointMetadata
from squeezerl.agents.sb3 import build_policy
from squeezerl.agents.spaces import BoxSpace, DiscreteSpace
from squeezerl.errors import UnsupportedPolicyError
from squeezerl.network.normalizer import ObservationNormalizer
from squeezerl.network.policy import Policy
from squeezerl.training.algorithms import Algorithm


def policy_of(model: Any, algorithm: Algorithm) -> Policy:
    """A copy of the model's deterministic policy, with its normaliser, on the CPU."""
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
    state = {name: value.detach().cpu() for name, value in model.policy.state_dict().items()}
    return build_policy(metadata, state, _normalizer(model.get_vec_normalize_env()))


def _box(space: Any) -> BoxSpace:
    if not isinstance(space, Box):
        raise UnsupportedPolicyError(f"{type(space).__name__} spaces are not supported yet")
    low, high = (np.asarray(bound, dtype=np.float32).ravel() for bound in (space.low, space.high))
    return BoxSpace(space.shape, str(space.dtype), low, high)


def _normalizer(vec_normalize: Any) -> ObservationNormalizer | None:
    if vec_normalize is None or not vec_normalize.norm_obs:
        return None
    return ObservationNormalizer(
        vec_normalize.obs_rms.mean.ravel(),
        vec_normalize.obs_rms.var.ravel(),
        epsilon=vec_normalize.epsilon,
        clip=vec_normalize.clip_obs,
    )
