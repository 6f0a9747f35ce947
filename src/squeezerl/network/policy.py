"""The policy: a torch module that is complete from raw observation to environment action."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from squeezerl.network.action_head import ActionHead
from squeezerl.network.activations import make_activation
from squeezerl.network.normalizer import ObservationNormalizer


@dataclass(frozen=True)
class LinearLayer:
    """Weights of one layer: weight (out, in), bias (out,), and the activation behind it."""

    weight: Tensor
    bias: Tensor
    activation: str | None


class Policy(nn.Module):
    """Observation → action: normaliser, network, action head.

    Args:
        layers: the network, in order.
        head: turns the network's outputs into actions.
        normalizer: applied to the observation first, if given.
        observation_shape: of one observation; it is flattened before the network.
        action_shape: of one action; `()` for discrete actions.
    """

    def __init__(
        self,
        layers: Sequence[LinearLayer],
        head: ActionHead,
        *,
        normalizer: ObservationNormalizer | None,
        observation_shape: tuple[int, ...],
        action_shape: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.normalizer = normalizer
        self.network = nn.Sequential()
        for index, layer in enumerate(layers):
            out_features, in_features = layer.weight.shape
            linear = nn.Linear(in_features, out_features, device="meta")
            linear.weight = _filled(linear.weight, layer.weight)
            linear.bias = _filled(linear.bias, layer.bias)
            self.network.add_module(f"layer{index}", linear)
            if layer.activation is not None:
                self.network.add_module(f"activation{index}", make_activation(layer.activation))
        self.head = head
        self.observation_shape = observation_shape
        self.action_shape = action_shape
        self.eval()

    def forward(self, observations: Tensor) -> Tensor:
        """Actions (batch, *action_shape) for raw observations (batch, *observation_shape)."""
        features = observations.flatten(start_dim=1)
        if self.normalizer is not None:
            features = self.normalizer(features)
        actions: Tensor = self.head(self.network(features))
        return actions.reshape(len(observations), *self.action_shape)

    def linear_layers(self) -> dict[str, nn.Linear]:
        """The linear layers by name, in order."""
        return {n: m for n, m in self.network.named_children() if isinstance(m, nn.Linear)}

    @property
    def parameter_count(self) -> int:
        """Weights and biases of the network."""
        return sum(p.numel() for p in self.network.parameters())


def _filled(parameter: Tensor, values: Tensor) -> nn.Parameter:
    """What `to_empty` and `copy_` would make; the former imports sympy, 40 MB for nothing else."""
    return nn.Parameter(torch.empty(parameter.shape).copy_(values.detach()))
