"""Stable-Baselines3's `predict`, as most people run an agent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch._dynamo

from squeezerl.network.state import load_policy
from squeezerl.runtimes.bare.torch_eager import peak_of
from squeezerl.runtimes.sb3_predictor import Sb3Predictor, import_sb3

# The library's memory is told apart from the model's; an optimizer would import torch._dynamo.
import_sb3()


class Sb3Policy:
    """VecNormalize, where the agent has it, and `model.predict(deterministic=True)`."""

    def __init__(self, predictor: Sb3Predictor) -> None:
        self._predictor = predictor

    def act(self, observations: Any) -> Any:
        """See `BarePolicy`."""
        return self._predictor.predict(observations)

    def working_bytes(self, observations: Any) -> int | None:
        """The peak of torch's allocator over one `act`; numpy's part is not told."""
        return peak_of(lambda: self.act(observations))

    def gpu_memory(self) -> None:
        """None: it runs on the CPU."""


def load(payload: Path, *, threads: int, options: dict[str, Any]) -> Sb3Policy:
    """Load the policy's state at `payload`; options: `algorithm`."""
    torch.set_num_threads(threads)
    return Sb3Policy(Sb3Predictor(load_policy(payload).to_network(), options["algorithm"]))
