"""ONNX Runtime, with the options that it has by default but for the number of threads."""

from __future__ import annotations

import copy
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
import numpy.typing as npt

from squeezerl.errors import ArtifactError
from squeezerl.formats.base import FORMATS
from squeezerl.network.activations import Activation
from squeezerl.network.network import NOISE, Network
from squeezerl.runtimes.base import RUNTIMES, Actions, Actor, Deployed, Observations, Rows, Runtime

if TYPE_CHECKING:
    import onnxruntime

# What a session takes, by the names of its inputs.
Feed = dict[str, npt.NDArray[np.float32]]

# The kernels of these round a number otherwise at the end of a buffer, so that a batch gives other
# actions than its rows.
_UNEVEN_ACTIVATIONS = {"ELU", "SELU", "Softplus", "Mish"}


@final
class OnnxActor(Actor):
    """A policy in ONNX Runtime.

    A batch is run in one call only where that gives, bit for bit, the actions of one row at a time:
    never where a scale is computed at run time, which is then taken over the batch, and else once
    the first batch of that size has shown it on this machine's kernels.

    Raises:
        ArtifactError: if ONNX Runtime cannot load the model.
    """

    def __init__(self, network: Network, model: bytes, *, threads: int) -> None:
        super().__init__(network)
        try:
            self._session = _session(model, threads)
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            raise ArtifactError(f"ONNX Runtime cannot load the model ({error})") from error
        self._model, self._threads = model, threads
        self._run = self._session.run
        self._input = self._session.get_inputs()[0].name
        self._outputs = [self._session.get_outputs()[0].name]
        self._network, self._run_batch = network, self._run
        self._row_by_row = network.is_dynamic or _is_uneven(network)
        self._checked_sizes = {1}

    def for_batches(self) -> OnnxActor:
        """An actor that gives the same actions and runs batches at once.

        Where scales are computed at run time, that is another graph with a scale for each row, in
        the same session options. Its first batch of each size is compared with single rows, too.
        """
        if not self._network.is_dynamic:
            return self
        # A deployed policy that plays single observations needs no `onnx`.
        from squeezerl.formats.onnx import to_onnx

        model = to_onnx(self._network, separate_rows=True).SerializeToString()
        twin = copy.copy(self)
        twin._run_batch = _session(model, self._threads).run
        twin._row_by_row = _is_uneven(self._network)
        twin._checked_sizes = {1}
        return twin

    def act(self, observations: Observations, rows: Rows | None = None) -> Actions:
        """See `Actor`."""
        observations = self._checked(observations)
        size = len(observations)
        feed: Feed = {self._input: observations}
        if self._noise is not None:
            feed[NOISE] = self._noise.draw(np.arange(size) if rows is None else rows)
        if size == 1:
            return self._whole(feed)
        if size in self._checked_sizes and not self._row_by_row:
            return self._batch(feed)
        if size == 0:
            dtype = np.float32 if self.choices is None else np.int64
            return np.empty((0, *self.action_shape), dtype)
        each = np.concatenate(
            [
                self._whole({name: value[row : row + 1] for name, value in feed.items()})
                for row in range(size)
            ]
        )
        if not self._row_by_row:
            self._row_by_row = not np.array_equal(each, self._batch(feed))
            self._checked_sizes.add(size)
        return each

    def working_bytes(self, observations: Observations) -> int | None:
        """The largest operator's inputs and outputs, from ONNX Runtime's own profile.

        A policy is a chain, so the two ends of one operator are all that is alive at a time.
        """
        with tempfile.TemporaryDirectory() as folder:
            session = _session(self._model, self._threads, profile=Path(folder) / "profile")
            batch = observations[:1] if self._row_by_row else observations
            feed: Feed = {self._input: batch}
            if self._noise is not None:
                feed[NOISE] = np.zeros((len(batch), self._noise.width), np.float32)
            session.run(self._outputs, feed)
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        sizes = [
            int(event["args"]["activation_size"]) + int(event["args"]["output_size"])
            for event in events
            if "activation_size" in event.get("args", {})
        ]
        return max(sizes, default=None)

    def _whole(self, feed: Feed) -> Actions:
        actions: Actions = self._run(self._outputs, feed)[0]
        return actions

    def _batch(self, feed: Feed) -> Actions:
        actions: Actions = self._run_batch(self._outputs, feed)[0]
        return actions


@final
class OnnxRuntime(Runtime):
    """ONNX Runtime on the CPU."""

    name = "ort"
    package = install = "onnxruntime"
    draws = True

    def import_library(self, algorithm: str) -> None:
        """See `Runtime`."""
        _library()

    def load(self, deployed: Deployed, *, threads: int = 1) -> OnnxActor:
        """See `Runtime`."""
        return OnnxActor(deployed.network, deployed.model, threads=threads)


RUNTIMES.register("ort", OnnxRuntime())


def _is_uneven(network: Network) -> bool:
    """Whether kernels of its activations round a number otherwise at the end of a buffer."""
    return any(
        layer.activation is not None and Activation.of(layer.activation).name in _UNEVEN_ACTIVATIONS
        for layer in network.layers
    )


def load_network(network: Network) -> OnnxActor:
    """The actor of a network that is not in a file yet, as its file would act."""
    return OnnxActor(network, FORMATS.get("onnx").write(network), threads=1)


def _session(
    model: bytes, threads: int, profile: Path | None = None
) -> onnxruntime.InferenceSession:
    """A session; `profile` begins the name of a file for ONNX Runtime's own profile, if wanted."""
    onnxruntime = _library()

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    return onnxruntime.InferenceSession(
        model,
        options,
        providers=["CPUExecutionProvider"],
        enable_fallback=False,  # which would print, and try the same again
    )


def _library() -> Any:
    """The package, imported.

    Without this variable it starts telemetry and leaves a file in the temporary directory.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime
