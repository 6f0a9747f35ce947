"""Stable-Baselines3's names for weights, family by family, turned into a `Policy`."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from torch import Tensor

from squeezerl.agents.metadata import CheckpointMetadata
from squeezerl.agents.spaces import BoxSpace, DiscreteSpace
from squeezerl.agents.weights import read_linear, read_sequential
from squeezerl.errors import CheckpointError, UnsupportedPolicyError
from squeezerl.policy.action_head import ActionHead
from squeezerl.policy.normalizer import ObservationNormalizer
from squeezerl.policy.policy import LinearLayer, Policy


def build_policy(
    metadata: CheckpointMetadata,
    state: Mapping[str, Tensor],
    normalizer: ObservationNormalizer | None,
) -> Policy:
    """The deterministic policy, as `predict(deterministic=True)` computes it.

    Raises:
        CheckpointError: if weights, spaces and normaliser do not fit together.
        UnsupportedPolicyError: if the weights hold more than a multilayer perceptron.
    """
    extractor = next((key for key in state if "features_extractor." in key), None)
    if extractor is not None:
        raise UnsupportedPolicyError(
            f"the policy has a features extractor with weights ({extractor!r}, a CNN or a custom "
            "one); only multilayer perceptrons are supported yet"
        )
    layers = _READERS[metadata.family](metadata, state)
    features = math.prod(metadata.observation_space.shape)
    outputs = _output_size(metadata.action_space)
    _check_chain(layers, features, outputs)
    if normalizer is not None and normalizer.mean.numel() != features:
        raise CheckpointError(
            f"the normaliser has {normalizer.mean.numel()} features, the observation {features}: "
            "they belong to different agents"
        )
    return Policy(
        layers,
        _head(metadata),
        normalizer=normalizer,
        observation_shape=metadata.observation_space.shape,
        action_shape=(
            metadata.action_space.shape if isinstance(metadata.action_space, BoxSpace) else ()
        ),
    )


def _actor_critic(metadata: CheckpointMetadata, state: Mapping[str, Tensor]) -> list[LinearLayer]:
    extractor = "mlp_extractor"
    return [
        *read_sequential(state, f"{extractor}.shared_net", metadata.activation),  # SB3 before 1.8
        *read_sequential(state, f"{extractor}.policy_net", metadata.activation),
        read_linear(state, "action_net", None),
    ]


def _sac(metadata: CheckpointMetadata, state: Mapping[str, Tensor]) -> list[LinearLayer]:
    # With gSDE, `mu` is a Sequential of the layer and a clip.
    last = "actor.mu" if "actor.mu.weight" in state else "actor.mu.0"
    return [
        *read_sequential(state, "actor.latent_pi", metadata.activation),
        read_linear(state, last, None),
    ]


def _td3(metadata: CheckpointMetadata, state: Mapping[str, Tensor]) -> list[LinearLayer]:
    return _without_last_activation(read_sequential(state, "actor.mu", metadata.activation))


def _dqn(metadata: CheckpointMetadata, state: Mapping[str, Tensor]) -> list[LinearLayer]:
    return _without_last_activation(read_sequential(state, "q_net.q_net", metadata.activation))


def _qrdqn(metadata: CheckpointMetadata, state: Mapping[str, Tensor]) -> list[LinearLayer]:
    """The Q-value is the mean of its quantiles, a linear map: it is folded into the last layer."""
    layers = _without_last_activation(
        read_sequential(state, "quantile_net.quantile_net", metadata.activation)
    )
    last, actions = layers[-1], _output_size(metadata.action_space)
    if not len(last.weight) or len(last.weight) % actions:
        raise CheckpointError(f"{len(last.weight)} quantile outputs for {actions} actions")
    weight = last.weight.reshape(-1, actions, last.weight.shape[1]).mean(dim=0)
    bias = last.bias.reshape(-1, actions).mean(dim=0)
    return [*layers[:-1], LinearLayer(weight, bias, None)]


_READERS = {
    "actor-critic": _actor_critic,
    "sac": _sac,
    "tqc": _sac,
    "td3": _td3,
    "dqn": _dqn,
    "qrdqn": _qrdqn,
}


def _without_last_activation(layers: list[LinearLayer]) -> list[LinearLayer]:
    if not layers:
        raise CheckpointError("the weights hold no actor network")
    return [*layers[:-1], LinearLayer(layers[-1].weight, layers[-1].bias, None)]


def _output_size(space: BoxSpace | DiscreteSpace) -> int:
    return space.n if isinstance(space, DiscreteSpace) else math.prod(space.shape)


def _check_chain(layers: list[LinearLayer], features: int, outputs: int) -> None:
    width = features
    for index, layer in enumerate(layers):
        if layer.weight.shape[1] != width:
            raise CheckpointError(
                f"layer {index} takes {layer.weight.shape[1]} features, but gets {width}"
            )
        width = len(layer.weight)
    if width != outputs:
        raise CheckpointError(f"the network has {width} outputs, the action space needs {outputs}")


def _head(metadata: CheckpointMetadata) -> ActionHead:
    space = metadata.action_space
    if isinstance(space, DiscreteSpace):
        return ActionHead.argmax()
    squashed = metadata.family != "actor-critic" or metadata.squashed_gsde
    if squashed and not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
        raise CheckpointError("squashed actions need finite bounds")
    clip_mean = metadata.clip_mean if metadata.family in ("sac", "tqc") else None
    return ActionHead.box(
        "tanh" if squashed else "clip", space.low, space.high, clip_mean=clip_mean
    )
