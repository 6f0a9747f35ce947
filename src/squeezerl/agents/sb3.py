"""Stable-Baselines3's names for weights, family by family, turned into a `Policy`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from squeezerl.agents.metadata import CheckpointMetadata
from squeezerl.agents.spaces import BoxSpace, DiscreteSpace
from squeezerl.agents.weights import read_linear, read_sequential
from squeezerl.errors import CheckpointError, UnsupportedPolicyError
from squeezerl.network.action_head import ActionHead
from squeezerl.network.normalizer import ObservationNormalizer
from squeezerl.network.policy import LinearLayer, Policy

# Family → the Sequential with the actor's layers, and the last layer where that stands outside.
_LAYERS = {
    "actor-critic": "mlp_extractor.policy_net",
    "sac": "actor.latent_pi",
    "tqc": "actor.latent_pi",
    "td3": "actor.mu",
    "dqn": "q_net.q_net",
    "qrdqn": "quantile_net.quantile_net",
}
_LAST_LAYER = {"actor-critic": "action_net", "sac": "actor.mu", "tqc": "actor.mu"}


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


def actor_modules(family: str) -> tuple[str, ...]:
    """The modules of Stable-Baselines3's policy that hold the actor's layers, in order."""
    return (_LAYERS[family], *([_LAST_LAYER[family]] if family in _LAST_LAYER else []))


def actor_state(family: str, layers: Sequence[LinearLayer]) -> dict[str, Tensor]:
    """The actor's weights as a family names them, which `build_policy` reads back.

    A QR-DQN network gets the one quantile that the others were folded into.
    """
    # An activation stands between two layers, so the layers have the even places.
    names = [f"{_LAYERS[family]}.{2 * index}" for index in range(len(layers))]
    if family in _LAST_LAYER:
        names[-1] = _LAST_LAYER[family]
    state: dict[str, Tensor] = {}
    for name, layer in zip(names, layers, strict=True):
        state |= {f"{name}.weight": layer.weight, f"{name}.bias": layer.bias}
    return state


def _actor_critic(metadata: CheckpointMetadata, state: Mapping[str, Tensor]) -> list[LinearLayer]:
    shared = "mlp_extractor.shared_net"  # SB3 before 1.8
    return [
        *read_sequential(state, shared, metadata.activation),
        *read_sequential(state, _LAYERS[metadata.family], metadata.activation),
        read_linear(state, _LAST_LAYER[metadata.family], None),
    ]


def _sac(metadata: CheckpointMetadata, state: Mapping[str, Tensor]) -> list[LinearLayer]:
    # With gSDE, `mu` is a Sequential of the layer and a clip.
    mean = _LAST_LAYER[metadata.family]
    return [
        *read_sequential(state, _LAYERS[metadata.family], metadata.activation),
        read_linear(state, mean if f"{mean}.weight" in state else f"{mean}.0", None),
    ]


def _joined(metadata: CheckpointMetadata, state: Mapping[str, Tensor]) -> list[LinearLayer]:
    """The last layer stands among the others, but no activation of theirs follows it."""
    layers = read_sequential(state, _LAYERS[metadata.family], metadata.activation)
    if not layers:
        raise CheckpointError("the weights hold no actor network")
    return [*layers[:-1], LinearLayer(layers[-1].weight, layers[-1].bias, None)]


def _qrdqn(metadata: CheckpointMetadata, state: Mapping[str, Tensor]) -> list[LinearLayer]:
    """The Q-value is the mean of its quantiles, a linear map: it is folded into the last layer."""
    layers = _joined(metadata, state)
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
    "td3": _joined,
    "dqn": _joined,
    "qrdqn": _qrdqn,
}


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
