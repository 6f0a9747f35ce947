"""A linear layer that learns as it will act in int8, in float arithmetic.

Scheme of Jacob et al. 2018 (arXiv 1712.05877, section 3): weights and inputs are rounded to the
int8 grid on the way forward, and gradients pass as if they were not (straight-through estimator,
Bengio et al. 2013, arXiv 1308.3432).
"""

from __future__ import annotations

from typing import Literal, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from squeezerl.methods.integers import LEVELS, affine_rounding, symmetric_rounding
from squeezerl.network.network import Rounding

_INT8_MAX = 127
# A window that is narrower than the range pulls it in by this share; one that is wider, at once.
# At 0.1, a policy that did the same for long lost sight of what it meets when it falls: on Hopper,
# features of standard deviation 1 were held within 0.6.
_SHRINK = 0.01
# Half range of a feature that never varied: what it does later hardly weighs.
_LEAST_HALF_RANGE = 1e-6

Observes = Literal["acting", "training"]


@final
class FakeQuantizedLinear(nn.Module):
    """A linear layer with int8 weights and int8 inputs, both simulated.

    It shares the parameters of the layer that it replaces and has the same names for them. Until
    `enabled` it computes what that layer computes, and only watches the range of its inputs.

    The range widens at once to what a window saw and narrows slowly, so that it follows a policy
    that learns. It changes in `end_window` only: between, the policy is one fixed function, which
    the probability ratios of PPO and TRPO rely on.

    Args:
        linear: the layer to replace.
        per_channel: one weight scale per output neuron instead of one for all.
        per_feature: each input feature has its own range. The features are scaled by it before
            they are rounded, and the weights take the inverse; `fold` gives that to the policy.
        observes: whether inputs count in evaluation mode (while acting) or in training mode.
    """

    def __init__(
        self,
        linear: nn.Linear,
        *,
        per_channel: bool = True,
        per_feature: bool = False,
        observes: Observes = "acting",
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self.enabled = False
        self._per_channel, self.per_feature = per_channel, per_feature
        self._observes = observes
        # Not buffers: the layer's state is that of the float layer, for whoever loads it.
        self._window: tuple[Tensor, Tensor] | None = None
        self._range: tuple[Tensor, Tensor] | None = None
        self._cached: tuple[Tensor, Tensor] | None = None

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs (batch, out_features) of inputs (batch, in_features)."""
        if self.training == (self._observes == "training"):
            self._observe(inputs.detach())
        if not self.enabled or self._range is None:
            return functional.linear(inputs, self.weight, self.bias)
        scale = self.input_scale()
        if self.per_feature:
            center, half_range = self.feature_ranges()
            inputs = ((inputs - center) / half_range).clamp(-1.0, 1.0)
        rounded = torch.fake_quantize_per_tensor_affine(
            inputs, scale.scale, scale.zero_point, 0, LEVELS
        )
        return functional.linear(rounded, *self._rounded_parameters(scale))

    def end_window(self) -> None:
        """Let the range follow what was seen since the last call."""
        if self._window is None:
            return
        low, high = self._window
        if self._range is not None:
            old_low, old_high = self._range
            low = torch.minimum(low, torch.lerp(old_low, low, _SHRINK))
            high = torch.maximum(high, torch.lerp(old_high, high, _SHRINK))
        self._range, self._window, self._cached = (low, high), None, None

    @property
    def is_ready(self) -> bool:
        """Whether there is a range to quantize with."""
        return self._range is not None

    def input_scale(self) -> Rounding:
        """Of what is rounded: the inputs, or the inputs scaled per feature."""
        if self.per_feature:
            return symmetric_rounding(1.0)
        low, high = self.range_state()
        return affine_rounding(low.item(), high.item())

    def feature_ranges(self) -> tuple[Tensor, Tensor]:
        """Centre and half range of each input feature, both (in_features,)."""
        low, high = self.range_state()
        return (low + high) / 2, ((high - low) / 2).clamp_min(_LEAST_HALF_RANGE)

    def range_state(self) -> tuple[Tensor, Tensor]:
        """Lowest and highest input, for each feature or for all; `load_range` takes them back.

        Raises:
            RuntimeError: if no window has ended yet.
        """
        if self._range is None:
            raise RuntimeError("nothing was observed yet")
        return self._range

    def load_range(self, low: Tensor, high: Tensor) -> None:
        """Go on with a range that `range_state` gave."""
        self._range, self._cached = (low.to(self.weight), high.to(self.weight)), None

    def train(self, mode: bool = True) -> FakeQuantizedLinear:
        """As torch's; weights can have changed, so none are remembered beyond."""
        self._cached = None
        return super().train(mode)

    def _observe(self, inputs: Tensor) -> None:
        flat = inputs.reshape(-1, self.in_features)
        low, high = torch.aminmax(flat, dim=0) if self.per_feature else torch.aminmax(flat)
        if self._window is not None:
            low, high = torch.minimum(low, self._window[0]), torch.maximum(high, self._window[1])
        self._window = (low, high)

    def _rounded_parameters(self, scale: Rounding) -> tuple[Tensor, Tensor]:
        """Weight and bias on the grids that they will have: int8, and int32 of their product."""
        if self._cached is not None:
            return self._cached
        weight: Tensor = self.weight
        bias: Tensor = self.bias
        if self.per_feature:
            center, half_range = self.feature_ranges()
            weight, bias = weight * half_range, bias + functional.linear(center, weight)
        with torch.no_grad():
            bound = weight.abs().amax(dim=1) if self._per_channel else weight.abs().max()
            step = (bound / _INT8_MAX).clamp_min(torch.finfo(weight.dtype).tiny)
        parameters = (
            _straight_through(weight, step.unsqueeze(-1)),
            _straight_through(bias, step * scale.scale),
        )
        if not self.training and not torch.is_grad_enabled():
            self._cached = parameters  # while acting, weights stay as they are
        return parameters


def _straight_through(values: Tensor, step: Tensor) -> Tensor:
    """Multiples of the step; the gradient is that of the values themselves.

    Torch's own function for rounding per channel does the same in six times the time.
    """
    with torch.no_grad():
        change = torch.round(values / step).mul_(step).sub_(values)
    return values + change
