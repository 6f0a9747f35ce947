"""ONNX Runtime, as the README tells users to deploy an artifact."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from squeezerl.runtimes.ort_session import make_session


class OrtPolicy:
    """A policy in ONNX Runtime.

    `row_by_row` models get a batch in single rows, since a batch would give other actions.
    """

    def __init__(self, model: bytes, *, threads: int, row_by_row: bool) -> None:
        self._session = make_session(model, threads=threads)
        self._model, self._threads = model, threads
        self._input = self._session.get_inputs()[0].name
        self._outputs = [self._session.get_outputs()[0].name]
        self._row_by_row = row_by_row

    def act(self, observations: Any) -> Any:
        """See `BarePolicy`."""
        if self._row_by_row and len(observations) > 1:
            return np.concatenate([self.act(row[np.newaxis]) for row in observations])
        return self._session.run(self._outputs, {self._input: observations})[0]

    def working_bytes(self, observations: Any) -> int | None:
        """The largest operator's inputs and outputs, from ONNX Runtime's own profile.

        A policy is a chain, so the two ends of one operator are all that is alive at a time.
        """
        with tempfile.TemporaryDirectory() as folder:
            session = make_session(
                self._model, threads=self._threads, profile=Path(folder) / "profile"
            )
            batch = observations[:1] if self._row_by_row else observations
            session.run(self._outputs, {self._input: batch})
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        sizes = [
            int(event["args"]["activation_size"]) + int(event["args"]["output_size"])
            for event in events
            if "activation_size" in event.get("args", {})
        ]
        return max(sizes, default=None)

    def gpu_memory(self) -> None:
        """None: it runs on the CPU."""


def load(payload: Path, *, threads: int, options: dict[str, Any]) -> OrtPolicy:
    """Load the ONNX model at `payload`; options: `row_by_row`."""
    return OrtPolicy(payload.read_bytes(), threads=threads, row_by_row=options["row_by_row"])
