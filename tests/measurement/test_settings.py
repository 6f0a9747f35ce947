from __future__ import annotations

import dataclasses

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from squeezerl.errors import InvalidArgumentError
from squeezerl.measurement.settings import (
    Settings,
    Workload,
)

ROWS = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)


def test_a_workload_knows_its_observations() -> None:
    record = Workload(env_id=None, observations=ROWS).record
    assert record.count == 50
    assert len(record.sha256) == 64
    again = Workload(env_id=None, observations=np.asfortranarray(ROWS)).record
    assert again == record
    assert Workload(env_id=None, observations=ROWS[::-1]).record != record


@given(st.floats(), st.floats())
def test_settings_take_what_they_can_measure_and_nothing_else(
    seconds: float, precision: float
) -> None:
    possible = 0.1 <= seconds <= 60 and 0.001 <= precision <= 1
    try:
        settings = Settings(seconds=seconds, precision=precision)
    except InvalidArgumentError:
        assert not possible
    else:
        assert possible
        assert dataclasses.replace(settings) == settings
