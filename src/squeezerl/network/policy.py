"""A float network as a torch module, for training, pruning and torch's own runtime."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from squeezerl.errors import NetworkError
from squeezerl.network.activations import ACTIVATIONS, TORCH_CLASSES, Activation
from squeezerl.network.network import LOG_DEVIATION, Head, IntegerTensor, Layer, Network, Normalizer

# The class in torch of each activation, for who uses them with torch's default settings.
TORCH_ACTIVATIONS: dict[str, type[nn.Module]] = {name: getattr(nn, name) for name in TORCH_CLASSES}


def make_activation(text: str) -> nn.Module:
    """The module of an activation with its settings, for example of "LeakyReLU:0.1"."""
    activation = Activation.of(text)
    if activation.name == "GELUTanh":
        return nn.GELU(approximate="tanh")
    if activation.is_learned:
        module = nn.PReLU(len(activation.parameters))
        module.weight = nn.Parameter(torch.tensor(activation.parameters))
        return module
    made: nn.Module = TORCH_ACTIVATIONS[activation.name](*activation.parameters)
    return made


def activation_text(module: nn.Module) -> str:
    """The text of a module that `make_activation` made, or of the same one from elsewhere."""
    name = type(module).__name__
    if isinstance(module, nn.PReLU):
        return str(Activation(name, tuple(_array(module.weight).tolist())))
    if isinstance(module, nn.GELU) and module.approximate == "tanh":
        return "GELUTanh"
    return str(Activation(name, tuple(getattr(module, n) for n in ACTIVATIONS[name].defaults)))


class ObservationNormalizer(nn.Module):
    """clip((observation - mean) * inverse_std, -clip, clip), as `Normalizer` has it."""

    mean: Tensor
    inverse_std: Tensor

    def __init__(self, normalizer: Normalizer) -> None:
        super().__init__()
        self.register_buffer("mean", _tensor(normalizer.mean))
        self.register_buffer("inverse_std", _tensor(normalizer.inverse_std))
        self.clip = normalizer.clip

    def forward(self, observations: Tensor) -> Tensor:
        """Normalise observations (batch, features)."""
        return ((observations - self.mean) * self.inverse_std).clamp(-self.clip, self.clip)


class ActionHead(nn.Module):
    """What turns a network's outputs into actions, as `Head` has it."""

    low: Tensor
    high: Tensor
    deviation: Tensor | None

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.kind, self.clip_mean = head.kind, head.clip_mean
        self.groups = head.groups
        self.has_own_deviation = head.has_own_deviation
        fixed = head.deviation
        self.register_buffer("deviation", None if fixed is None else _tensor(fixed))
        self.register_buffer("low", _tensor(head.low))
        self.register_buffer("high", _tensor(head.high))

    def forward(self, outputs: Tensor, noise: Tensor | None = None) -> Tensor:
        """Turn outputs (batch, n) into actions: (batch, features), or indices (batch[, groups]).

        `noise` is that of `Sampling`; without it, the action is the one without sampling.
        """
        if self.has_own_deviation:
            outputs, logarithm = outputs.chunk(2, dim=1)
            if noise is not None:
                noise = noise * logarithm.clamp(*LOG_DEVIATION).exp()
        elif self.deviation is not None and noise is not None:
            noise = noise * self.deviation
        if noise is not None:
            outputs = outputs + noise
        if self.kind == "argmax":
            if not self.groups:
                return outputs.argmax(dim=1)
            parts = torch.split(outputs, list(self.groups), dim=1)
            return torch.stack([part.argmax(dim=1) for part in parts], dim=1)
        if self.kind == "tanh":
            if self.clip_mean is not None:
                outputs = outputs.clamp(-self.clip_mean, self.clip_mean)
            return self.low + 0.5 * (torch.tanh(outputs) + 1.0) * (self.high - self.low)
        return torch.minimum(torch.maximum(outputs, self.low), self.high)


class InputSkip(nn.Module):
    """Stands before a layer that takes the network's input behind the value before it."""


class Layers(nn.Sequential):
    """The layers one after the other, with their skips."""

    def forward(self, features: Tensor) -> Tensor:
        """Outputs (batch, outputs) of features (batch, features)."""
        value = features
        for module in self:
            if isinstance(module, InputSkip):
                value = torch.cat([value, features], dim=1)
            else:
                value = module(value)
        return value


class Policy(nn.Module):
    """Observation → action: normaliser, network, action head.

    Its weights are copies. `network` is a Sequential of "layer0", "activation0", "layer1", ...;
    `head` and `normalizer` are those of the network that the policy was made from.

    Raises:
        NetworkError: if the network is quantized.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        if network.is_quantized:
            raise NetworkError("the network is quantized; torch gets networks in float32 only")
        self.normalizer = (
            None if network.normalizer is None else ObservationNormalizer(network.normalizer)
        )
        self.network = Layers()
        for name, layer in network.named_layers.items():
            if layer.skip:
                self.network.add_module(name.replace("layer", "skip"), InputSkip())
            linear = nn.Linear(layer.in_features, layer.out_features, device="meta")
            # `to_empty` would do the same, but imports sympy, 40 MB for nothing else.
            linear.weight = nn.Parameter(_tensor(layer.weight))
            linear.bias = nn.Parameter(_tensor(layer.bias))
            self.network.add_module(name, linear)
            if layer.activation is not None:
                self.network.add_module(
                    name.replace("layer", "activation"), make_activation(layer.activation)
                )
        self.head = ActionHead(network.head)
        self._template = network
        self.eval()

    def to_network(self) -> Network:
        """The policy as it stands, as data; normaliser and head are those that it was made with."""
        layers: list[Layer] = []
        skip = False
        for module in self.network:
            if isinstance(module, InputSkip):
                skip = True
            elif isinstance(module, nn.Linear):
                layers.append(
                    Layer(weight=_array(module.weight), bias=_array(module.bias), skip=skip)
                )
                skip = False
            else:
                layers[-1] = dataclasses.replace(layers[-1], activation=activation_text(module))
        return self._template.replace(layers=tuple(layers))

    def forward(self, observations: Tensor, noise: Tensor | None = None) -> Tensor:
        """Actions (batch, *action_shape) for raw observations (batch, *observation_shape).

        `noise` is that of `Sampling`; without it, actions are those without sampling.
        """
        features = observations.flatten(start_dim=1)
        if self.normalizer is not None:
            features = self.normalizer(features)
        actions: Tensor = self.head(self.network(features), noise)
        return actions.reshape(len(observations), *self._template.action_shape)

    def linear_layers(self) -> dict[str, nn.Linear]:
        """The linear layers by name, in order."""
        return {n: m for n, m in self.network.named_children() if isinstance(m, nn.Linear)}


def _tensor(array: npt.NDArray[np.float32] | IntegerTensor) -> Tensor:
    if isinstance(array, IntegerTensor):
        raise NetworkError("the network is quantized; torch gets networks in float32 only")
    return torch.tensor(array)


def _array(tensor: Tensor) -> npt.NDArray[np.float32]:
    return tensor.detach().cpu().numpy().astype(np.float32, copy=True)
