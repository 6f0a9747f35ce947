"""Quantization-aware training: the layers of a model's actor, fake-quantized in place."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from squeezerl.agents.sources.stable_baselines3.network import actor_modules
from squeezerl.errors import SpecError
from squeezerl.methods.base import Given
from squeezerl.methods.fake_quantization import FakeQuantizedLinear, Observes
from squeezerl.methods.integers import fold_feature_ranges
from squeezerl.methods.recipe import Recipe
from squeezerl.methods.trained_int8 import QuantizationAwareTraining
from squeezerl.network.network import Network
from squeezerl.training.algorithms import Algorithm
from squeezerl.training.config import QatConfig

# Family → the modules of the critic, for those who want it in int8 as well.
_CRITICS = {
    "actor-critic": ("mlp_extractor.value_net", "value_net"),
    "sac": ("critic",),
    "tqc": ("critic",),
    "td3": ("critic",),
    "dqn": (),  # actor and critic are one network
}


class FakeQuantizedActor:
    """The fake-quantized layers of one model; `export` gives the integer policy they simulate.

    Args:
        model: of Stable-Baselines3. Its optimizers may exist already: the parameters stay the same
            objects.
        algorithm: the model's.
        settings: how to train.

    Raises:
        SpecError: if the spec keeps layers that do not exist.
    """

    def __init__(self, model: Any, algorithm: Algorithm, settings: QatConfig) -> None:
        self._spec = settings.spec
        names = [
            name
            for prefix in actor_modules(algorithm.family)
            for name in linear_names(model.policy, prefix)
        ]
        known = [f"layer{index}" for index in range(len(names))]
        if unknown := set(self._spec.keep) - set(known):
            raise SpecError(f"keep names {sorted(unknown)}; the layers are {', '.join(known)}")
        self._actor = {
            layer: _replace(model.policy, name, self._spec, first=layer == "layer0")
            for layer, name in zip(known, names, strict=True)
            if layer not in self._spec.keep
        }
        self._critic = {
            name: _replace(model.policy, name, self._spec, observes="training")
            for prefix in (_CRITICS[algorithm.family] if settings.critic else ())
            for name in linear_names(model.policy, prefix)
        }

    @property
    def recipe(self) -> Recipe:
        """The recipe of the artifacts that are made of this actor."""
        return Recipe((self._spec,))

    def end_window(self) -> None:
        """Adapt the ranges to what was observed since the last call."""
        for layer in self._layers.values():
            layer.end_window()

    def enable(self) -> None:
        """From now on the policy acts and learns in simulated int8."""
        for layer in self._layers.values():
            layer.enabled = True

    @property
    def is_enabled(self) -> bool:
        """Whether the policy acts in simulated int8."""
        return all(layer.enabled for layer in self._actor.values())

    @property
    def is_ready(self) -> bool:
        """Whether every layer of the actor has a range to quantize with."""
        return all(layer.is_ready for layer in self._actor.values())

    def export(self, network: Network) -> Network:
        """The integer network with the weights of `network`, the model's own in float."""
        first = self._actor.get("layer0")
        if first is not None and first.per_feature:
            center, half_range = first.feature_ranges()
            network = fold_feature_ranges(network, _array(center), _array(half_range))
        roundings = {name: layer.input_scale() for name, layer in self._actor.items()}
        return self._spec.apply(network, Given(roundings=roundings))

    def state(self) -> dict[str, Any]:
        """The ranges, and whether int8 is on, for a checkpoint; `load_state` is the inverse."""
        ranges: dict[str, tuple[Tensor, Tensor]] = {
            name: layer.range_state() for name, layer in self._layers.items() if layer.is_ready
        }
        return {"enabled": self.is_enabled, "ranges": ranges}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave."""
        for name, (low, high) in state["ranges"].items():
            self._layers[name].load_range(low, high)
        if state["enabled"]:
            self.enable()

    @property
    def _layers(self) -> dict[str, FakeQuantizedLinear]:
        return self._actor | self._critic


def _array(tensor: Tensor) -> npt.NDArray[np.float32]:
    array: npt.NDArray[np.float32] = tensor.detach().cpu().numpy()
    return array


def linear_names(policy: nn.Module, prefix: str) -> list[str]:
    """The names of the linear layers in a module, in order; the module may itself be one."""
    return [
        f"{prefix}.{name}".rstrip(".")
        for name, module in policy.get_submodule(prefix).named_modules()
        if isinstance(module, nn.Linear)
    ]


def _replace(
    policy: nn.Module,
    name: str,
    spec: QuantizationAwareTraining,
    *,
    first: bool = False,
    observes: Observes = "acting",
) -> FakeQuantizedLinear:
    linear = policy.get_submodule(name)
    assert isinstance(linear, nn.Linear)
    layer = FakeQuantizedLinear(
        linear,
        per_channel=spec.per_channel,
        per_feature=first and spec.per_feature,
        observes=observes,
    )
    layer.train(linear.training)
    policy.set_submodule(name, layer)
    return layer
