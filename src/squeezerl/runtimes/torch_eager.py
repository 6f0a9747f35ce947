"""Torch in eager mode, on the CPU or on an NVIDIA GPU."""

from __future__ import annotations

from typing import Any, final

import numpy as np

from squeezerl.errors import MeasurementError
from squeezerl.network.network import Network
from squeezerl.runtimes.base import RUNTIMES, Actions, Actor, Deployed, Observations, Rows, Runtime

QUANTIZED = "the model is quantized: int8 models run in ONNX Runtime only, not in torch"


@final
class TorchActor(Actor):
    """A policy as a torch module. On a GPU every `act` ends when its actions are on the host."""

    def __init__(self, network: Network, *, device: str) -> None:
        import torch

        from squeezerl.network.policy import Policy

        super().__init__(network)
        self._torch = torch
        self._policy = Policy(network).to(device)
        self._cuda, self._device = device != "cpu", device

    def act(self, observations: Observations, rows: Rows | None = None) -> Actions:
        """See `Actor`."""
        torch = self._torch
        with torch.inference_mode():
            given = [np.ascontiguousarray(self._checked(observations))]
            if self._noise is not None:
                given.append(self._noise.draw(np.arange(len(given[0])) if rows is None else rows))
            batch = [torch.from_numpy(array) for array in given]
            if not self._cuda:
                actions: Actions = self._policy(*batch).numpy()
                return actions
            on_host: Any = self._policy(*(part.to(self._device) for part in batch)).cpu()
            torch.cuda.synchronize()
            return on_host.numpy()  # type: ignore[no-any-return]

    def working_bytes(self, observations: Observations) -> int | None:
        """The allocator's peak over one `act`."""
        cuda = self._torch.cuda
        if self._cuda:
            cuda.reset_peak_memory_stats()
            before = cuda.memory_allocated()
            self.act(observations)
            return int(cuda.max_memory_allocated() - before)
        return peak_of(lambda: self.act(observations))

    def gpu_memory(self) -> dict[str, int] | None:
        """What torch's allocator gave out and what it holds."""
        if not self._cuda:
            return None
        cuda = self._torch.cuda
        return {"allocated": cuda.memory_allocated(), "reserved": cuda.memory_reserved()}


@final
class TorchRuntime(Runtime):
    """Torch on one device, "cpu" or "cuda"."""

    package = install = "torch"
    draws = True

    def __init__(self, name: str, device: str) -> None:
        self.name, self._device = name, device
        self.is_gpu = device != "cpu"

    def import_library(self, algorithm: str) -> None:
        """See `Runtime`."""
        import squeezerl.network.policy  # noqa: F401 - imports torch

    def problem(self) -> str | None:
        """See `Runtime`."""
        if (problem := super().problem()) is not None or not self.is_gpu:
            return problem
        import torch

        return None if torch.cuda.is_available() else "torch sees no NVIDIA GPU"

    def refusal(self, network: Network, algorithm: str) -> str | None:
        """See `Runtime`."""
        return QUANTIZED if network.is_quantized else None

    def load(self, deployed: Deployed, *, threads: int = 1) -> TorchActor:
        """See `Runtime`.

        Raises:
            MeasurementError: if the GPU that was asked for is not there.
        """
        import torch

        if self.is_gpu and not torch.cuda.is_available():
            raise MeasurementError(
                "torch sees no NVIDIA GPU (torch-cuda needs one, and a build of torch for CUDA)"
            )
        torch.set_num_threads(threads)
        return TorchActor(deployed.network, device=self._device)


RUNTIMES.register("torch", TorchRuntime("torch", "cpu"))
RUNTIMES.register("torch-cuda", TorchRuntime("torch-cuda", "cuda"))


def peak_of(call: Any) -> int | None:
    """Most bytes that torch's CPU allocator had given out at once during a call, if it tells."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    held = peak = 0
    try:
        for event in profiler.profiler.kineto_results.events():
            if event.name() == "[memory]":
                held += event.nbytes()
                peak = max(peak, held)
    except AttributeError:  # these are torch's inner parts, which other releases may lack
        return None
    return peak
