from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from squeezerl.network.action_head import ActionHead

LOW, HIGH = np.float32([-1, 0.5, -3]), np.float32([2, 0.75, -1])
OUTPUTS = nps.arrays(np.float32, (4, 3), elements=st.floats(-100, 100, width=32))


@given(OUTPUTS)
def test_clip_keeps_each_action_between_its_own_bounds(outputs: npt.NDArray[Any]) -> None:
    actions = ActionHead.box("clip", LOW, HIGH)(torch.from_numpy(outputs))
    np.testing.assert_array_equal(actions, np.clip(outputs, LOW, HIGH))


@given(OUTPUTS)
def test_tanh_stretches_to_each_actions_own_bounds(outputs: npt.NDArray[Any]) -> None:
    actions = ActionHead.box("tanh", LOW, HIGH)(torch.from_numpy(outputs)).numpy()
    expected = LOW + (np.tanh(outputs.astype(np.float64)) + 1) / 2 * (HIGH - LOW)
    np.testing.assert_allclose(actions, expected, rtol=0, atol=1e-6)


@given(OUTPUTS, st.floats(0.1, 5))
def test_mean_is_clipped_before_the_tanh(outputs: npt.NDArray[Any], bound: float) -> None:
    actions = ActionHead.box("tanh", LOW, HIGH, clip_mean=bound)(torch.from_numpy(outputs))
    clipped = torch.from_numpy(outputs.clip(-bound, bound))
    np.testing.assert_array_equal(actions, ActionHead.box("tanh", LOW, HIGH)(clipped))


def test_saturated_tanh_reaches_both_bounds() -> None:
    outputs = torch.tensor([[-50.0] * 3, [50.0] * 3])
    actions = ActionHead.box("tanh", LOW, HIGH)(outputs)
    np.testing.assert_allclose(actions, [LOW, HIGH], rtol=1e-6)


@given(OUTPUTS)
def test_argmax_gives_indices_and_the_first_of_equals(outputs: npt.NDArray[Any]) -> None:
    head = ActionHead.argmax()
    actions = head(torch.from_numpy(outputs))
    assert actions.dtype == torch.int64
    np.testing.assert_array_equal(actions, outputs.argmax(axis=1))


def test_head_does_not_share_the_callers_bounds() -> None:
    low, high = LOW.copy(), HIGH.copy()
    head = ActionHead.box("clip", low, high)
    low -= 5
    high += 5
    np.testing.assert_array_equal(head.low, LOW)
    np.testing.assert_array_equal(head.high, HIGH)


def test_only_argmax_is_discrete() -> None:
    assert ActionHead.argmax().is_discrete
    assert not ActionHead.box("clip", LOW, HIGH).is_discrete
    assert not ActionHead.box("tanh", LOW, HIGH).is_discrete
