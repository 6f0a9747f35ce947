"""Torch in eager mode, on the CPU or on an NVIDIA GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from squeezerl.errors import MeasurementError
from squeezerl.network.policy import Policy
from squeezerl.network.state import load_policy


class TorchPolicy:
    """A policy as a torch module. On a GPU every `act` ends when its actions are on the host."""

    def __init__(self, policy: Policy, *, device: str) -> None:
        self._policy = policy.to(device)
        self._cuda = device != "cpu"
        self._device = device

    def act(self, observations: Any) -> Any:
        """See `BarePolicy`."""
        with torch.inference_mode():
            batch = torch.from_numpy(observations)
            if not self._cuda:
                return self._policy(batch).numpy()
            actions = self._policy(batch.to(self._device)).cpu()
            torch.cuda.synchronize()
            return actions.numpy()

    def working_bytes(self, observations: Any) -> int | None:
        """The allocator's peak over one `act`."""
        if self._cuda:
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            self.act(observations)
            return torch.cuda.max_memory_allocated() - before
        return peak_of(lambda: self.act(observations))

    def gpu_memory(self) -> dict[str, int] | None:
        """What torch's allocator gave out and what it holds."""
        if not self._cuda:
            return None
        return {
            "allocated": torch.cuda.memory_allocated(),
            "reserved": torch.cuda.memory_reserved(),
        }


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


def load(payload: Path, *, threads: int, options: dict[str, Any]) -> TorchPolicy:
    """Load the policy's state at `payload`; options: `device`.

    Raises:
        MeasurementError: if the GPU that was asked for is not there.
    """
    if options["device"] != "cpu" and not torch.cuda.is_available():
        raise MeasurementError(
            "torch sees no NVIDIA GPU (torch-cuda needs one, and a build of torch for CUDA)"
        )
    torch.set_num_threads(threads)
    return TorchPolicy(load_policy(payload), device=options["device"])
