"""Feature ranges folded into a policy: its first layer then sees values in [-1, 1]."""

from __future__ import annotations

import torch
from torch import Tensor

from squeezerl.network.normalizer import ObservationNormalizer
from squeezerl.network.parts import policy_layers
from squeezerl.network.policy import LinearLayer, Policy


def fold_feature_ranges(policy: Policy, center: Tensor, half_range: Tensor) -> Policy:
    """The same policy with its normaliser and first layer rescaled, feature by feature.

    Within the ranges it acts as before; beyond them a feature is held at its bound. One scale per
    tensor then rounds each feature as finely as its own range allows.

    Args:
        policy: stays as it is.
        center: of the range of each feature that enters the first layer, (features,).
        half_range: of the same, above 0. The ranges lie within the normaliser's clip.
    """
    normalizer = policy.normalizer
    mean, inverse_std = torch.zeros_like(center), torch.ones_like(center)
    if normalizer is not None:
        mean, inverse_std = normalizer.mean, normalizer.inverse_std
    first, *others = policy_layers(policy)
    layer = LinearLayer(
        first.weight * half_range, first.bias + first.weight @ center, first.activation
    )
    return Policy(
        [layer, *others],
        policy.head,
        normalizer=ObservationNormalizer.from_inverse_std(
            mean + center / inverse_std, inverse_std / half_range, clip=1.0
        ),
        observation_shape=policy.observation_shape,
        action_shape=policy.action_shape,
    )
