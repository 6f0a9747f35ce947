"""What a measuring process loads: a deployed policy in a folder, by the name of its runtime.

One half of it runs before the measuring process starts and the other inside it, where nothing may
be imported that does not belong to the runtime; so the imports stand in the functions.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from squeezerl.runtimes.base import Actor, Deployed

_POLICY, _RUNTIME = "policy", "runtime.json"


def write_payload(deployed: Deployed, runtime: str, folder: Path) -> None:
    """Write what the runtime loads into a new folder.

    Raises:
        MeasurementError: if the runtime cannot run the policy.
    """
    from squeezerl.errors import MeasurementError
    from squeezerl.runtimes.base import RUNTIMES, Payload

    if refusal := RUNTIMES.get(runtime).refusal(deployed.network, deployed.algorithm):
        raise MeasurementError(refusal)
    folder.mkdir()
    Payload.of(deployed).save(folder / _POLICY)
    names = {"name": runtime, "algorithm": deployed.algorithm}
    (folder / _RUNTIME).write_text(json.dumps(names), encoding="utf-8")


def import_runtime(payload: Path) -> Callable[[int], Actor]:
    """Inside the measuring process: import the runtime and its library.

    Returns:
        A function that loads the policy for a number of threads.
    """
    from squeezerl.runtimes.base import RUNTIMES, Payload

    names = json.loads((payload / _RUNTIME).read_text(encoding="utf-8"))
    runtime = RUNTIMES.get(names["name"])
    runtime.import_library(names["algorithm"])

    def load_policy(threads: int) -> Actor:
        return runtime.load(Payload.load(payload / _POLICY), threads=threads)

    return load_policy
