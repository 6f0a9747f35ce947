from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from balancing import SOURCE
from small_policies import demo_observations, demo_policy, make_actor
from squeezerl.errors import InvalidArgumentError, MeasurementError
from squeezerl.measurement.payload import (
    check_runtimes,
    import_runtime,
    is_on_gpu,
    write_payload,
)
from squeezerl.measurement.subject import Subject
from squeezerl.methods.compress import compress
from squeezerl.methods.specs import DynamicQuantization

FLOAT = Subject("demo", SOURCE, compress(demo_policy()).model.SerializeToString(), demo_policy())
INT8 = Subject(
    "int8",
    SOURCE,
    compress(demo_policy(), DynamicQuantization()).model.SerializeToString(),
    None,
    "int8 models run in ONNX Runtime only",
)


@pytest.mark.parametrize("runtime", ["ort", "torch", "sb3"])
def test_what_is_loaded_acts_like_the_policy(runtime: str, tmp_path: Path) -> None:
    write_payload(FLOAT, runtime, tmp_path / "payload")
    policy = import_runtime(tmp_path / "payload")(1)
    seen = demo_observations()[:5]
    expected = make_actor(compress(demo_policy()).model).act(seen)
    np.testing.assert_allclose(policy.act(seen), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("subject", "runtime", "options"),
    [
        (FLOAT, "ort", {"row_by_row": False}),
        (INT8, "ort", {"row_by_row": True}),  # a dynamically quantized policy
        (FLOAT, "torch", {"device": "cpu"}),
        (FLOAT, "torch-cuda", {"device": "cuda"}),
        (FLOAT, "sb3", {"algorithm": SOURCE.algorithm}),
    ],
)
def test_a_runtime_is_told_how_to_load(
    subject: Subject, runtime: str, options: dict[str, Any], tmp_path: Path
) -> None:
    write_payload(subject, runtime, tmp_path / "payload")
    loading = json.loads((tmp_path / "payload" / "loading.json").read_text())
    assert loading["options"].items() >= options.items()


@pytest.mark.parametrize("runtime", ["torch", "sb3"])
def test_a_policy_that_a_runtime_cannot_run_is_refused(runtime: str, tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match="ONNX Runtime only"):
        write_payload(INT8, runtime, tmp_path / "payload")
    assert list(tmp_path.iterdir()) == []


def test_runtimes_are_known_by_name() -> None:
    check_runtimes(["ort", "torch", "torch-cuda", "sb3"])
    with pytest.raises(InvalidArgumentError, match="unknown runtime 'tflite'; known are ort"):
        check_runtimes(["ort", "tflite"])
    assert [name for name in ("ort", "torch", "torch-cuda", "sb3") if is_on_gpu(name)] == [
        "torch-cuda"
    ]
