"""Builds a network from Stable-Baselines3's weights, whose names differ by family."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from squeezerl.agents.sources.stable_baselines3.metadata import (
    BoxSpace,
    CheckpointMetadata,
    DiscreteSpace,
)
from squeezerl.agents.torch_file import State, checked, read_linear, read_sequential
from squeezerl.errors import CheckpointError, NetworkError, UnsupportedPolicyError
from squeezerl.network.network import (
    Head,
    HeadKind,
    Layer,
    Network,
    Normalizer,
    Sampling,
    as_float,
)

# Family → the Sequential with the actor's layers, and the last layer where that stands outside.
_LAYERS = {
    "actor-critic": "mlp_extractor.policy_net",
    "sac": "actor.latent_pi",
    "tqc": "actor.latent_pi",
    "td3": "actor.mu",
    "dqn": "q_net.q_net",
    "qrdqn": "quantile_net.quantile_net",
    "ars": "action_net",
}
_LAST_LAYER = {"actor-critic": "action_net", "sac": "actor.mu", "tqc": "actor.mu"}


def build_network(
    metadata: CheckpointMetadata, state: State, normalizer: Normalizer | None
) -> Network:
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
    space = metadata.action_space
    _check_chain(layers, features, _output_size(space))
    if isinstance(space, DiscreteSpace) and space.kind == "MultiBinary":
        layers[-1] = _with_no(layers[-1])
    if normalizer is not None and normalizer.mean.shape != (features,):
        raise CheckpointError(
            f"the normaliser has {normalizer.mean.shape[0]} features, the observation {features}: "
            "they belong to different agents"
        )
    if metadata.is_image:
        normalizer = _divided(normalizer, features)
    return Network(
        layers=tuple(layers),
        head=_head(metadata),
        observation_shape=metadata.observation_space.shape,
        action_shape=space.shape,
        normalizer=normalizer,
        observation_parts=metadata.parts,
    )


def _with_no(layer: Layer) -> Layer:
    """Add an output that is always 0, the logit of "no", before each output, that of "yes"."""
    weight, bias = (
        np.stack([np.zeros_like(x), x], axis=1).reshape(-1, *x.shape[1:])
        for x in map(as_float, (layer.weight, layer.bias))
    )
    return replace(layer, weight=weight, bias=bias)


def _divided(normalizer: Normalizer | None, features: int) -> Normalizer:
    """The normaliser, or none, and a division by 255 after it."""
    if normalizer is None:
        ones = np.ones(features, np.float32)
        normalizer = Normalizer(mean=0 * ones, inverse_std=ones, clip=255.0)
    return Normalizer(
        mean=normalizer.mean,
        inverse_std=as_float(normalizer.inverse_std) / np.float32(255),
        clip=normalizer.clip / 255,
    )


def build_sampled(metadata: CheckpointMetadata, state: State, network: Network) -> Network | None:
    """The policy that `predict(deterministic=False)` draws from; `None` if there is none.

    The noise of gSDE is no draw for each observation, and the value-based and deterministic
    algorithms explore from outside. A distribution that is not finite does not count either.

    Args:
        metadata: of the checkpoint.
        state: its weights.
        network: the deterministic policy.
    """
    last, layers = network.layers[-1], network.layers
    sampling = Sampling()
    try:
        if metadata.family in ("sac", "tqc"):
            spread = read_linear(state, "actor.log_std", None)
            pairs = ((last.weight, spread.weight), (last.bias, spread.bias))
            weight, bias = (np.concatenate([as_float(x) for x in pair]) for pair in pairs)
            layers = (*layers[:-1], replace(last, weight=weight, bias=bias))
        elif metadata.family != "actor-critic":
            return None
        elif not network.head.is_discrete:
            sampling = Sampling(deviation=np.exp(checked(state, "log_std")))
        return network.replace(layers=layers, head=replace(network.head, sampling=sampling))
    except (CheckpointError, UnsupportedPolicyError, NetworkError, ValueError):
        return None


def actor_modules(family: str) -> tuple[str, ...]:
    """The modules of Stable-Baselines3's policy that hold the actor's layers, in order."""
    return (_LAYERS[family], *([_LAST_LAYER[family]] if family in _LAST_LAYER else []))


def actor_state(family: str, layers: Sequence[Layer]) -> dict[str, npt.NDArray[np.float32]]:
    """The actor's weights under the names of a family; `build_network` reads them back.

    A QR-DQN network gets one quantile, which stands for all.
    """
    # An activation stands between two layers, so the layers have the even places.
    names = [f"{_LAYERS[family]}.{2 * index}" for index in range(len(layers))]
    if family in _LAST_LAYER:
        names[-1] = _LAST_LAYER[family]
    state: dict[str, npt.NDArray[np.float32]] = {}
    for index, (name, layer) in enumerate(zip(names, layers, strict=True)):
        state |= {f"{name}.weight": as_float(layer.weight), f"{name}.bias": as_float(layer.bias)}
        if layer.slopes:
            slopes = np.array(layer.slopes, np.float32)
            state[f"{_LAYERS[family]}.{2 * index + 1}.weight"] = slopes
    return state


def _actor_critic(metadata: CheckpointMetadata, state: State) -> list[Layer]:
    shared = "mlp_extractor.shared_net"  # SB3 before 1.8
    return [
        *read_sequential(state, shared, metadata.activation),
        *read_sequential(state, _LAYERS[metadata.family], metadata.activation),
        read_linear(state, _LAST_LAYER[metadata.family], None),
    ]


def _sac(metadata: CheckpointMetadata, state: State) -> list[Layer]:
    # With gSDE, `mu` is a Sequential of the layer and a clip.
    mean = _LAST_LAYER[metadata.family]
    return [
        *read_sequential(state, _LAYERS[metadata.family], metadata.activation),
        read_linear(state, mean if f"{mean}.weight" in state else f"{mean}.0", None),
    ]


def _joined(metadata: CheckpointMetadata, state: State) -> list[Layer]:
    """The last layer stands among the others, but no activation of theirs follows it."""
    name = _LAYERS[metadata.family]
    layers = read_sequential(state, name, metadata.activation, ends_linear=True)
    if not layers:
        raise CheckpointError("the weights hold no actor network")
    return layers


def _qrdqn(metadata: CheckpointMetadata, state: State) -> list[Layer]:
    """The Q-value is the mean of its quantiles, a linear map: it is folded into the last layer."""
    layers = _joined(metadata, state)
    weight, bias = as_float(layers[-1].weight), as_float(layers[-1].bias)
    actions = _output_size(metadata.action_space)
    if not len(weight) or len(weight) % actions:
        raise CheckpointError(f"{len(weight)} quantile outputs for {actions} actions")
    folded = Layer(
        weight=_mean(weight.reshape(-1, actions, weight.shape[1])),
        bias=_mean(bias.reshape(-1, actions)),
    )
    return [*layers[:-1], folded]


def _ars(metadata: CheckpointMetadata, state: State) -> list[Layer]:
    """All of its layers have biases, or none of them has one.

    Before sb3-contrib 1.4, the layer of a linear policy stood alone.
    """
    state = {re.sub(r"action_net\.(?=[a-z])", "action_net.0.", n): x for n, x in state.items()}
    if not any(name.endswith(".bias") for name in state):
        zeros = {
            f"{name.removesuffix('.weight')}.bias": np.zeros(len(tensor), np.float32)
            for name, tensor in state.items()
            if name.endswith(".weight") and tensor.ndim == 2
        }
        state = {**state, **zeros}
    return _joined(metadata, state)


def _mean(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    mean: npt.NDArray[np.float32] = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean


_READERS = {
    "actor-critic": _actor_critic,
    "sac": _sac,
    "tqc": _sac,
    "td3": _joined,
    "dqn": _joined,
    "qrdqn": _qrdqn,
    "ars": _ars,
}


def _output_size(space: BoxSpace | DiscreteSpace) -> int:
    return space.outputs if isinstance(space, DiscreteSpace) else math.prod(space.shape)


def _check_chain(layers: list[Layer], features: int, outputs: int) -> None:
    width = features
    for index, layer in enumerate(layers):
        if layer.in_features != width:
            raise CheckpointError(
                f"layer {index} takes {layer.in_features} features, but gets {width}"
            )
        width = layer.out_features
    if width != outputs:
        raise CheckpointError(f"the network has {width} outputs, the action space needs {outputs}")


def _head(metadata: CheckpointMetadata) -> Head:
    space = metadata.action_space
    if isinstance(space, DiscreteSpace):
        return Head(kind="argmax", groups=space.counts if space.shape else ())
    if metadata.is_squashed and not (
        np.isfinite(space.low).all() and np.isfinite(space.high).all()
    ):
        raise CheckpointError("squashed actions need finite bounds")
    clip_mean = metadata.clip_mean if metadata.family in ("sac", "tqc") else None
    kind: HeadKind = "tanh" if metadata.is_squashed else "clip"
    return Head(kind=kind, low=space.low, high=space.high, clip_mean=clip_mean)
