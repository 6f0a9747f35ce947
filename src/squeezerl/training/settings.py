"""What a training is: everything that decides its result, and how it is watched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from squeezerl.compression.specs import spec_to_json
from squeezerl.errors import InvalidArgumentError
from squeezerl.evaluation.environment import Environment
from squeezerl.evaluation.evaluate import check_numbers
from squeezerl.training.algorithms import Algorithm
from squeezerl.training.hyperparameters import Hyperparameters
from squeezerl.training.qat import QatSettings

TRACKERS = ("tensorboard", "wandb")
MAX_STEPS = 10_000_000_000


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """One training.

    Args:
        algorithm: one of `ALGORITHMS`.
        environment: where to train and evaluate.
        hyperparameters: for this algorithm.
        steps: environment steps, all environments together.
        seed: of everything random.
        qat: train for int8; `None` for a float policy.
        init: checkpoint of an agent whose weights to start from.
        device: "cpu", "cuda" or "auto".
        threads: of torch.
        evaluations: how often to evaluate, evenly over the training.
        eval_episodes: complete episodes each time.
        checkpoint_seconds: time between checkpoints.
        track: where to log to.

    Raises:
        InvalidArgumentError: if a number or a name is out of range.
    """

    algorithm: Algorithm
    environment: Environment
    hyperparameters: Hyperparameters
    steps: int = 1_000_000
    seed: int = 0
    qat: QatSettings | None = None
    init: str | None = None
    device: str = "auto"
    threads: int = 1
    evaluations: int = 20
    eval_episodes: int = 10
    checkpoint_seconds: float = 120.0
    track: str | None = None

    def __post_init__(self) -> None:
        check_numbers(self.eval_episodes, self.seed)
        for name, value, least, most in (
            ("steps", self.steps, 1, MAX_STEPS),
            ("threads", self.threads, 1, 1024),
            ("evaluations", self.evaluations, 1, 10_000),
            ("checkpoint-seconds", self.checkpoint_seconds, 0, 10**9),
        ):
            if not least <= value <= most:
                raise InvalidArgumentError(f"{name} must be {least} to {most:,}, not {value}")
        if self.track not in (None, *TRACKERS):
            raise InvalidArgumentError(f"track {self.track!r} is not one of {', '.join(TRACKERS)}")

    @property
    def env_name(self) -> str:
        """The environment's id without the module that registers it: the name of its files."""
        return self.environment.id.rpartition(":")[2].replace("/", "-")

    def identity(self) -> Mapping[str, Any]:
        """What must be the same for a training to be continued, as plain data."""
        qat = self.qat and {
            "spec": spec_to_json(self.qat.spec),
            "warmup": self.qat.warmup,
            "critic": self.qat.critic,
        }
        return {
            "algorithm": self.algorithm.name,
            "environment": self.environment.id,
            "env_kwargs": dict(self.environment.kwargs),
            "seed": self.seed,
            "hyperparameters": dict(self.hyperparameters.raw),
            "qat": qat,
            "init": self.init,
        }
