"""Quantization-aware training: the layers of a model's actor, fake-quantized in place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from squeezerl.agents.sources.stable_baselines3.network import actor_modules
from squeezerl.errors import InvalidArgumentError, SpecError
from squeezerl.methods.compress import compress
from squeezerl.methods.fake_quantization import FakeQuantizedLinear, Observes
from squeezerl.methods.fold import fold_feature_ranges
from squeezerl.methods.result import CompressedPolicy
from squeezerl.methods.specs import QuantizationAwareTraining
from squeezerl.network.policy import Policy
from squeezerl.training.algorithms import Algorithm

# Family → where the critic's layers are, for those who ask for an int8 critic, too.
_CRITICS = {
    "actor-critic": ("mlp_extractor.value_net", "value_net"),
    "sac": ("critic",),
    "tqc": ("critic",),
    "td3": ("critic",),
    "dqn": (),  # actor and critic are one network
}


@dataclass(frozen=True, kw_only=True)
class QatSettings:
    """How a policy is trained for int8.

    Args:
        spec: what the policy will be.
        warmup: share of the training in float, in which the ranges are only observed.
        critic: fake-quantize the critic, too; it is not deployed, so float serves it better.
    """

    spec: QuantizationAwareTraining
    warmup: float = 0.1
    critic: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.warmup < 1:
            raise InvalidArgumentError(
                f"qat-warmup {self.warmup} is a share of the training: at least 0, below 1"
            )


def check_supports_qat(algorithm: Algorithm) -> None:
    """Raise an `InvalidArgumentError` if the algorithm's policies cannot be trained for int8."""
    if algorithm.family == "qrdqn":
        raise InvalidArgumentError(
            "--qat: a QR-DQN policy acts on the mean of its quantiles, which is not on the int8 "
            "grid that they were trained on; use dqn, or compress the trained agent"
        )


class FakeQuantizedActor:
    """The fake-quantized layers of one model; `export` gives the integer policy they stand for.

    Args:
        model: of Stable-Baselines3, with its optimizers made: the parameters stay the same ones.
        algorithm: the model's.
        settings: how to train.

    Raises:
        SpecError: if the spec keeps layers that do not exist.
    """

    def __init__(self, model: Any, algorithm: Algorithm, settings: QatSettings) -> None:
        self._spec = settings.spec
        names = [
            name
            for prefix in actor_modules(algorithm.family)
            for name in _linear_names(model.policy, prefix)
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
            for name in _linear_names(model.policy, prefix)
        }

    def end_window(self) -> None:
        """Let the ranges follow what was seen since the last call."""
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

    def export(self, policy: Policy) -> CompressedPolicy:
        """The integer policy with the weights of `policy`, the model's own in float."""
        first = self._actor.get("layer0")
        if first is not None and first.per_feature:
            center, half_range = first.feature_ranges()
            policy = fold_feature_ranges(policy, center.cpu(), half_range.cpu())
        scales = {name: layer.input_scale() for name, layer in self._actor.items()}
        return compress(policy, self._spec, scales=scales)

    def state(self) -> dict[str, Any]:
        """Ranges and switch, for a checkpoint; `load_state` is its inverse."""
        ranges: dict[str, tuple[Tensor, Tensor]] = {
            name: layer.range_state() for name, layer in self._layers.items() if layer.is_ready
        }
        return {"enabled": self.is_enabled, "ranges": ranges}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        for name, (low, high) in state["ranges"].items():
            self._layers[name].load_range(low, high)
        if state["enabled"]:
            self.enable()

    @property
    def _layers(self) -> dict[str, FakeQuantizedLinear]:
        return self._actor | self._critic


def _linear_names(policy: nn.Module, prefix: str) -> list[str]:
    """The linear layers in the module of that name, in order; itself, if it is one."""
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
