from __future__ import annotations

import pickle

import pytest

from squeezerl.errors import HyperparameterError
from squeezerl.training.model import schedule


def test_a_number_stays_as_it_is() -> None:
    assert schedule(3e-4) == 3e-4


@pytest.mark.parametrize(("progress", "value"), [(1.0, 3e-4), (0.5, 1.5e-4), (0.0, 0.0)])
def test_a_linear_schedule_falls_to_0(progress: float, value: float) -> None:
    linear = schedule("lin_3e-4")
    assert callable(linear)
    assert linear(progress) == pytest.approx(value)


def test_a_saved_schedule_needs_stable_baselines3_only() -> None:
    saved = pickle.dumps(schedule("lin_0.1"))
    assert b"squeezerl" not in saved
    assert pickle.loads(saved)(0.5) == pytest.approx(0.05)


@pytest.mark.parametrize("text", ["", "lin_", "lin_x", "lin_nan", "lin_inf", "3e-4", "exp_0.1"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(HyperparameterError, match="is not a schedule; write lin_"):
        schedule(text)
