"""A policy taken apart into what it was built from, and whether its parts fit together."""

from __future__ import annotations

import math

from torch import nn

from squeezerl.errors import ArtifactError, UnsupportedPolicyError
from squeezerl.network.policy import LinearLayer, Policy, make_activation


def policy_layers(policy: Policy) -> list[LinearLayer]:
    """The layers that `Policy` would build this network from; they share its weights.

    Raises:
        UnsupportedPolicyError: if the network holds more than linear layers and activations.
    """
    layers: list[LinearLayer] = []
    for module in policy.network:
        if isinstance(module, nn.Linear):
            layers.append(LinearLayer(module.weight.detach(), module.bias.detach(), None))
            continue
        name = type(module).__name__
        if not layers or layers[-1].activation is not None:
            raise UnsupportedPolicyError(f"{name} stands where a linear layer should")
        if repr(module) != repr(make_activation(name)):
            raise UnsupportedPolicyError(f"{module} has other settings than {name}'s own")
        layers[-1] = LinearLayer(layers[-1].weight, layers[-1].bias, name)
    return layers


def check_policy(policy: Policy) -> None:
    """Whether the parts fit together, which torch would see at the first observation or never.

    Raises:
        ArtifactError: if one does not.
    """
    width = math.prod(policy.observation_shape)
    if policy.normalizer is not None and policy.normalizer.mean.shape != (width,):
        raise ArtifactError(f"a normaliser of {len(policy.normalizer.mean)} features for {width}")
    for name, layer in policy.linear_layers().items():
        if layer.in_features != width:
            raise ArtifactError(f"{name} takes {layer.in_features} features, but gets {width}")
        width = layer.out_features
    bounds, head = policy.head.low.shape, policy.head
    if head.is_discrete:
        fits = policy.action_shape == ()
    else:
        fits = math.prod(policy.action_shape) == width and bounds == head.high.shape == (width,)
    if not fits:
        raise ArtifactError(
            f"{width} outputs, bounds of shape {tuple(bounds)} and actions of shape "
            f"{policy.action_shape} do not fit together"
        )
