from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from balancing import SOURCE, balancing_agent
from small_policies import demo_network, demo_observations, make_artifact
from squeezerl.errors import MeasurementError
from squeezerl.measurement.payload import import_runtime, write_payload
from squeezerl.network.arithmetic import act


@pytest.mark.parametrize("runtime", ["ort", "torch", "sb3"])
def test_what_is_loaded_acts_like_the_policy(runtime: str, tmp_path: Path) -> None:
    write_payload(make_artifact(demo_network(), "float"), runtime, tmp_path / "payload")
    actor = import_runtime(tmp_path / "payload")(1)
    seen = demo_observations()[:5]
    np.testing.assert_allclose(actor.act(seen), act(demo_network(), seen), rtol=0, atol=1e-5)


@pytest.mark.parametrize("runtime", ["torch", "sb3"])
def test_a_policy_that_a_runtime_cannot_run_is_refused(runtime: str, tmp_path: Path) -> None:
    int8 = make_artifact(balancing_agent().network, "int8:dynamic", source=SOURCE)
    with pytest.raises(MeasurementError, match="int8 models run in ONNX Runtime only"):
        write_payload(int8, runtime, tmp_path / "payload")
    assert list(tmp_path.iterdir()) == []
