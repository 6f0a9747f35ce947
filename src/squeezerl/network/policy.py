"""The policy: a network in torch, complete from raw observation to environment action."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from squeezerl.errors import UnsupportedPolicyError
from squeezerl.network.action_head import ActionHead
from squeezerl.network.network import Float, Head, IntegerTensor, Layer, Network, Normalizer
from squeezerl.network.normalizer import ObservationNormalizer

# The activations in `squeezerl.network.activations`, by the same names.
TORCH_ACTIVATIONS: dict[str, type[nn.Module]] = {
    cls.__name__: cls
    for cls in (nn.ReLU, nn.Tanh, nn.ELU, nn.LeakyReLU, nn.Sigmoid, nn.Softplus, nn.SELU, nn.SiLU)
}


def make_activation(name: str) -> nn.Module:
    """A new activation with torch's default settings, as Stable-Baselines3 makes them."""
    if name not in TORCH_ACTIVATIONS:
        raise UnsupportedPolicyError(
            f"activation {name!r} is not supported; supported are "
            f"{', '.join(sorted(TORCH_ACTIVATIONS))}"
        )
    return TORCH_ACTIVATIONS[name]()


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

    @classmethod
    def from_network(cls, network: Network) -> Self:
        """The network in torch; it shares no memory with it.

        Raises:
            UnsupportedPolicyError: if the network holds integers, which cannot be trained.
        """
        integers = [name for name, x in network.tensors() if isinstance(x, IntegerTensor)]
        if integers or network.roundings:
            raise UnsupportedPolicyError(
                f"{', '.join([*integers, *network.roundings])}: a network of integers has no form "
                "in torch"
            )
        head, normalizer = network.head, None
        if network.normalizer is not None:
            normalizer = ObservationNormalizer.from_inverse_std(
                torch.tensor(network.normalizer.mean),
                torch.tensor(network.normalizer.inverse_std),
                clip=network.normalizer.clip,
            )
        return cls(
            [
                LinearLayer(torch.tensor(layer.weight), torch.tensor(layer.bias), layer.activation)
                for layer in network.layers
            ],
            ActionHead(head.kind, head.low, head.high, clip_mean=head.clip_mean),
            normalizer=normalizer,
            observation_shape=network.observation_shape,
            action_shape=network.action_shape,
        )

    def to_network(self) -> Network:
        """The policy as data; it shares no memory with it.

        Raises:
            UnsupportedPolicyError: if the policy holds more than linear layers and activations.
            NetworkError: if its parts do not fit together.
        """
        from squeezerl.network.parts import policy_layers

        def array(tensor: Tensor) -> Float:
            return np.array(tensor.detach().cpu(), np.float32, order="C")

        normalizer = None
        if self.normalizer is not None:
            normalizer = Normalizer(
                mean=array(self.normalizer.mean),
                inverse_std=array(self.normalizer.inverse_std),
                clip=self.normalizer.clip,
            )
        return Network(
            layers=tuple(
                Layer(
                    weight=array(layer.weight), bias=array(layer.bias), activation=layer.activation
                )
                for layer in policy_layers(self)
            ),
            head=Head(
                kind=self.head.kind,
                low=array(self.head.low),
                high=array(self.head.high),
                clip_mean=self.head.clip_mean,
            ),
            observation_shape=self.observation_shape,
            action_shape=self.action_shape,
            normalizer=normalizer,
        )

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
