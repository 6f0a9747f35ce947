"""Stable-Baselines3's `predict`, as most people run an agent."""

from __future__ import annotations

from typing import final

from squeezerl.errors import UnsupportedPolicyError
from squeezerl.network.network import Network
from squeezerl.runtimes.base import RUNTIMES, Actions, Actor, Deployed, Observations, Rows, Runtime
from squeezerl.runtimes.sb3_predictor import (
    CONTRIBUTED,
    Sb3Predictor,
    check_fits,
    import_contrib,
    import_sb3,
)
from squeezerl.runtimes.torch_eager import QUANTIZED, peak_of


@final
class Sb3Actor(Actor):
    """VecNormalize, where the agent has it, and `model.predict(deterministic=True)`."""

    def __init__(self, network: Network, algorithm: str) -> None:
        super().__init__(network)
        self._predictor = Sb3Predictor(network, algorithm)

    def act(self, observations: Observations, rows: Rows | None = None) -> Actions:
        """See `Actor`."""
        return self._predictor.predict(self._checked(observations))

    def working_bytes(self, observations: Observations) -> int | None:
        """The peak of torch's allocator over one `act`; NumPy's part is not known."""
        return peak_of(lambda: self.act(observations))


@final
class StableBaselines3(Runtime):
    """Stable-Baselines3 on the CPU."""

    name = "sb3"
    package = "stable-baselines3"
    install = "squeezerl[train]"

    def import_library(self, algorithm: str) -> None:
        """See `Runtime`."""
        # Loading a model would import torch._dynamo; that is the library's memory, not the model's.
        import torch._dynamo  # noqa: F401

        import_sb3()
        if algorithm in CONTRIBUTED:
            import_contrib()

    def refusal(self, network: Network, algorithm: str) -> str | None:
        """See `Runtime`."""
        if network.is_quantized:
            return QUANTIZED
        try:
            check_fits(network, algorithm)
        except UnsupportedPolicyError as error:
            return str(error)
        return None

    def load(self, deployed: Deployed, *, threads: int = 1) -> Sb3Actor:
        """See `Runtime`."""
        import torch

        torch.set_num_threads(threads)
        return Sb3Actor(deployed.network, deployed.algorithm)


RUNTIMES.register("sb3", StableBaselines3())
