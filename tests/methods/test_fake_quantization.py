from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from squeezerl.methods.fake_quantization import FakeQuantizedLinear

BOTH = pytest.mark.parametrize("per_feature", [False, True])


def _linear(inputs: int = 5, outputs: int = 7, seed: int = 0) -> nn.Linear:
    generator = torch.Generator().manual_seed(seed)
    linear = nn.Linear(inputs, outputs)
    with torch.no_grad():
        for parameter in linear.parameters():
            parameter.normal_(generator=generator)
    return linear


def _inputs(count: int = 200, features: int = 5, seed: int = 1) -> Tensor:
    """Features of different widths and centres."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(count, features, generator=generator)
    return values * torch.linspace(0.1, 3, features) + torch.linspace(-1, 2, features)


def _ready(linear: nn.Linear | None = None, seen: Tensor | None = None, **options: Any) -> Any:
    """A layer in acting mode that has seen these inputs and is enabled."""
    layer = FakeQuantizedLinear(_linear() if linear is None else linear, **options).eval()
    with torch.no_grad():
        layer(_inputs() if seen is None else seen)
    layer.end_window()
    layer.enabled = True
    return layer


def _levels_of_the_weights(layer: Any) -> list[int]:
    """How many weights differ, for each output neuron, read from the outputs for unit inputs."""
    # Neither 0 nor the unit is moved by rounding: they are the ends of the range.
    layer.load_range(torch.tensor(0.0), torch.tensor(1.0))
    with torch.no_grad():
        zero = layer(torch.zeros(1, layer.in_features))
        weights = (layer(torch.eye(layer.in_features)) - zero).double()
        largest = layer.weight.abs().amax(dim=1)
    return [
        len(torch.unique((w / b * 127).round())) for w, b in zip(weights.T, largest, strict=True)
    ]


@BOTH
def test_before_it_is_enabled_it_is_the_linear_layer_bit_for_bit(per_feature: bool) -> None:
    linear = _linear()
    layer = FakeQuantizedLinear(linear, per_feature=per_feature)
    for training in (True, False):
        layer.train(training)
        assert torch.equal(layer(_inputs()), linear(_inputs()))
        layer.end_window()
    layer.enabled = True
    assert not torch.equal(layer(_inputs()), linear(_inputs()))


def test_enabled_without_a_range_it_is_still_the_linear_layer() -> None:
    linear = _linear()
    layer = FakeQuantizedLinear(linear)
    layer.enabled = True
    layer.end_window()  # nothing was seen
    assert not layer.is_ready
    assert torch.equal(layer(_inputs()), linear(_inputs()))
    with pytest.raises(RuntimeError, match="nothing was observed"):
        layer.range_state()


def test_parameters_are_the_same_objects_under_the_same_names() -> None:
    linear = _linear()
    layer = _ready(linear, per_feature=True)
    assert layer.weight is linear.weight
    assert layer.bias is linear.bias
    assert list(layer.state_dict()) == list(linear.state_dict())
    assert [id(p) for p in layer.parameters()] == [id(p) for p in linear.parameters()]


@pytest.mark.parametrize("per_channel", [True, False])
def test_weights_lie_on_the_int8_grid(per_channel: bool) -> None:
    linear = nn.Linear(2000, 3)
    layer = _ready(linear, torch.zeros(1, 2000), per_channel=per_channel)
    layer.load_range(torch.tensor(0.0), torch.tensor(1.0))
    with torch.no_grad():
        rounded = (layer(torch.eye(2000)) - layer(torch.zeros(1, 2000))).T.double()
        bound = linear.weight.detach().abs().double()
        bound = bound.amax(dim=1, keepdim=True) if per_channel else bound.max()
    codes = rounded / bound * 127
    np.testing.assert_allclose(codes, codes.round(), atol=1e-3)
    assert codes.abs().max() == pytest.approx(127, abs=1e-3)
    for row in codes.round():
        assert 100 < len(torch.unique(row)) <= 255
    np.testing.assert_allclose(rounded, linear.weight.detach(), atol=float(bound.max()) / 250)


def test_per_channel_each_neuron_has_a_grid_of_its_own() -> None:
    linear = _linear(500, 2)
    with torch.no_grad():
        linear.weight[0] *= 1e-3
    fine, coarse = (
        _levels_of_the_weights(_ready(linear, torch.zeros(1, 500), per_channel=per_channel))
        for per_channel in (True, False)
    )
    assert min(fine) > 50
    assert coarse[0] <= 2  # one grid for all is too coarse for the small ones


def test_inputs_lie_on_a_grid_of_at_most_256_levels() -> None:
    linear = nn.Linear(1, 1)
    with torch.no_grad():
        linear.weight.fill_(1.0)
        linear.bias.zero_()
    values = torch.linspace(-1, 3, 10_000).unsqueeze(1)
    layer = _ready(linear, values)
    with torch.no_grad():
        outputs = layer(values)
    assert 200 < len(torch.unique(outputs)) <= 256
    assert (outputs - values).abs().max() <= layer.input_scale().scale / 2 + 1e-5
    with torch.no_grad():
        assert layer(torch.zeros(1, 1)).item() == 0.0


def test_each_feature_is_rounded_as_finely_as_its_own_range_allows() -> None:
    linear = nn.Linear(2, 2)
    with torch.no_grad():
        linear.weight.copy_(torch.eye(2))
        linear.bias.zero_()
    grid = torch.linspace(-1, 1, 1000)
    values = torch.stack([grid * 1000, 5 + grid / 1000], dim=1)
    with torch.no_grad():
        errors = {
            per_feature: (_ready(linear, values, per_feature=per_feature)(values) - values).abs()
            for per_feature in (False, True)
        }
    assert errors[False][:, 1].max() > 1.0
    assert errors[True][:, 1].max() < 3e-5
    assert errors[True][:, 0].max() < 5.0


@BOTH
def test_it_stays_close_to_the_linear_layer(per_feature: bool) -> None:
    linear = _linear()
    layer = _ready(linear, per_feature=per_feature)
    error = (layer(_inputs()) - linear(_inputs())).abs().max()
    assert 0 < error < 0.3


def test_gradients_pass_straight_through() -> None:
    linear = _linear()
    layer = _ready(linear)
    layer.train()
    inputs = _inputs().requires_grad_()
    layer(inputs).square().sum().backward()
    outputs = layer(inputs).detach()

    scale = layer.input_scale()
    codes = (inputs.detach() / scale.scale + scale.zero_point).round().clamp(0, 255)
    rounded = (codes - scale.zero_point) * scale.scale
    torch.testing.assert_close(linear.weight.grad, (2 * outputs).T @ rounded, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(linear.bias.grad, 2 * outputs.sum(dim=0), rtol=1e-4, atol=1e-3)
    assert inputs.grad.abs().sum() > 0


@BOTH
def test_inputs_beyond_the_range_get_no_gradient_and_those_within_do(per_feature: bool) -> None:
    layer = _ready(
        nn.Linear(3, 2), torch.tensor([[-1.0, -1, -1], [1, 1, 1]]), per_feature=per_feature
    )
    inputs = torch.tensor([[0.5, 5.0, -5.0], [0.0, 0.9, -0.9]], requires_grad=True)
    layer(inputs).sum().backward()
    assert inputs.grad[0].eq(0).tolist() == [False, True, True]
    assert inputs.grad[1].eq(0).tolist() == [False, False, False]
    with torch.no_grad():
        at_the_end = layer(torch.tensor([[0.5, 1.0, -1.0]]))
        # As at the end of the range, but for the rounding there.
        torch.testing.assert_close(layer(inputs[:1]), at_the_end, rtol=0, atol=0.01)


@BOTH
def test_second_derivatives_exist(per_feature: bool) -> None:
    layer = _ready(per_feature=per_feature)
    layer.train()
    loss = torch.tanh(layer(_inputs())).square().mean()
    gradients = torch.autograd.grad(loss, list(layer.parameters()), create_graph=True)
    product = sum((gradient * torch.ones_like(gradient)).sum() for gradient in gradients)
    second = torch.autograd.grad(product, list(layer.parameters()))
    assert all(torch.isfinite(values).all() for values in second)
    assert all(values.abs().sum() > 0 for values in second)


@BOTH
def test_the_range_changes_when_a_window_ends_and_only_then(per_feature: bool) -> None:
    layer = _ready(per_feature=per_feature)
    before = copy.deepcopy(layer.range_state())
    fixed = layer(_inputs())
    layer(_inputs() * 100)
    assert all(map(torch.equal, layer.range_state(), before))
    assert torch.equal(layer(_inputs()), fixed)
    layer.end_window()
    assert not any(torch.equal(*pair) for pair in zip(layer.range_state(), before, strict=True))


def test_the_range_widens_at_once_and_narrows_slowly() -> None:
    layer = _ready(seen=torch.tensor([[-1.0] * 5, [2.0] * 5]))
    assert [value.item() for value in layer.range_state()] == [-1.0, 2.0]
    layer(torch.tensor([[-1.0] * 5, [8.0] * 5]))
    layer.end_window()
    assert [value.item() for value in layer.range_state()] == [-1.0, 8.0]
    layer(torch.tensor([[0.0] * 5, [4.0] * 5]))
    layer.end_window()
    low, high = (value.item() for value in layer.range_state())
    assert -1.0 < low < -0.5
    assert 7.0 < high < 8.0
    for _ in range(2000):
        layer(torch.tensor([[0.0] * 5, [4.0] * 5]))
        layer.end_window()
    np.testing.assert_allclose([v.item() for v in layer.range_state()], [0.0, 4.0], atol=1e-3)


@given(
    st.lists(
        st.lists(st.floats(-100, 100, width=32), min_size=2, max_size=2), min_size=1, max_size=6
    )
)
def test_a_range_always_holds_what_the_last_window_saw(windows: list[list[float]]) -> None:
    for per_feature in (False, True):
        layer = FakeQuantizedLinear(nn.Linear(1, 1), per_feature=per_feature).eval()
        for window in windows:
            layer(torch.tensor(window).unsqueeze(1))
            layer.end_window()
            low, high = (value.item() for value in layer.range_state())
            assert low <= min(window)
            assert high >= max(window)
        everything = [value for window in windows for value in window]
        assert min(everything) <= low
        assert high <= max(everything)


@pytest.mark.parametrize(("observes", "sees"), [("acting", False), ("training", True)])
def test_it_watches_while_acting_or_while_training(observes: Any, sees: bool) -> None:
    for training in (True, False):
        layer = FakeQuantizedLinear(_linear(), observes=observes).train(training)
        layer(_inputs())
        layer.end_window()
        assert layer.is_ready == (training == sees)


@BOTH
def test_weights_that_changed_count_once_the_mode_is_set(per_feature: bool) -> None:
    layer = _ready(per_feature=per_feature)
    with torch.no_grad():
        before = layer(_inputs())
        layer.weight.mul_(2)
        layer.bias.mul_(2)
        layer.train()
        layer.eval()
        after = layer(_inputs())
    torch.testing.assert_close(after, 2 * before, rtol=1e-3, atol=1e-3)


@BOTH
def test_acting_and_learning_compute_the_same(per_feature: bool) -> None:
    layer = _ready(per_feature=per_feature)
    with torch.no_grad():
        acting = [layer(_inputs()) for _ in range(2)]
    layer.train()
    assert torch.equal(acting[0], acting[1])
    assert torch.equal(acting[0], layer(_inputs()))


@BOTH
def test_a_range_can_be_taken_and_given_back(per_feature: bool) -> None:
    layer = _ready(per_feature=per_feature)
    other = FakeQuantizedLinear(_linear(), per_feature=per_feature).eval()
    other.load_range(*layer.range_state())
    other.enabled = True
    with torch.no_grad():
        assert torch.equal(layer(_inputs()), other(_inputs()))


@BOTH
@pytest.mark.parametrize("value", [0.0, 5.0, -3.0])
def test_features_that_never_vary_give_finite_numbers(value: float, per_feature: bool) -> None:
    seen = torch.full((10, 5), value)
    linear = _linear()
    layer = _ready(linear, seen, per_feature=per_feature)
    outputs = layer(seen)
    torch.testing.assert_close(outputs, linear(seen), rtol=0.02, atol=0.1)
    outputs.sum().backward()
    assert torch.isfinite(linear.weight.grad).all()
    assert torch.isfinite(layer(seen + 1)).all()


def test_weights_that_are_all_zero_give_finite_numbers() -> None:
    linear = nn.Linear(5, 2)
    with torch.no_grad():
        linear.weight.zero_()
        linear.bias.zero_()
    outputs = _ready(linear)(_inputs())
    assert torch.equal(outputs, torch.zeros_like(outputs))
