"""What a measuring process loads: a policy in a folder, by the name of its runtime.

This is the only file of the room that knows how a runtime is found and fed. One half of it runs
before the measuring process starts and the other inside it, where nothing may be imported that
does not belong to the runtime; so the imports stand in the functions.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from squeezerl.errors import InvalidArgumentError, MeasurementError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from squeezerl.measurement.subject import Subject
    from squeezerl.runtimes.bare.policy import BarePolicy

_POLICY, _LOADING = "policy", "loading.json"


def check_runtimes(names: Iterable[str]) -> None:
    """Check that there are runtimes of these names.

    Raises:
        InvalidArgumentError: if one is unknown.
    """
    from squeezerl.runtimes.bare.policy import RUNTIMES

    if unknown := [name for name in names if name not in RUNTIMES]:
        raise InvalidArgumentError(
            f"unknown runtime {unknown[0]!r}; known are {', '.join(RUNTIMES)}"
        )


def is_on_gpu(runtime: str) -> bool:
    """Whether a runtime computes on a GPU."""
    from squeezerl.runtimes.bare.policy import GPU_RUNTIMES

    return runtime in GPU_RUNTIMES


def write_payload(subject: Subject, runtime: str, folder: Path) -> None:
    """Write what the runtime loads into a new folder.

    Raises:
        MeasurementError: if the runtime cannot run the policy.
    """
    import onnx

    from squeezerl.network.state import save_policy
    from squeezerl.runtimes.bare.policy import module_name
    from squeezerl.runtimes.onnx_actor import acts_row_by_row

    if runtime != "ort" and subject.policy is None:
        raise MeasurementError(str(subject.no_policy))
    folder.mkdir()
    if runtime == "ort":
        (folder / _POLICY).write_bytes(subject.model)
        model = onnx.load_model_from_string(subject.model)
        options: dict[str, Any] = {"row_by_row": acts_row_by_row(model)}
    else:
        assert subject.policy is not None
        save_policy(subject.policy, folder / _POLICY)
        device = "cuda" if is_on_gpu(runtime) else "cpu"
        options = {"algorithm": subject.source.algorithm, "device": device}
    loading = {"module": module_name(runtime, subject.source.algorithm), "options": options}
    (folder / _LOADING).write_text(json.dumps(loading), encoding="utf-8")


def import_runtime(payload: Path) -> Callable[[int], BarePolicy]:
    """Inside the measuring process: import the runtime.

    Returns:
        A function that loads the policy for a number of threads.
    """
    loading = json.loads((payload / _LOADING).read_text(encoding="utf-8"))
    load = importlib.import_module(loading["module"]).load

    def load_policy(threads: int) -> BarePolicy:
        policy: BarePolicy = load(payload / _POLICY, threads=threads, options=loading["options"])
        return policy

    return load_policy
