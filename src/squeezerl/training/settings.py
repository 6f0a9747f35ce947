"""What a training is: everything that decides its result, and how it is watched."""

from __future__ import annotations

from dataclasses import dataclass

from squeezerl.errors import InvalidArgumentError
from squeezerl.evaluation.environment import Environment
from squeezerl.evaluation.evaluate import check_numbers
from squeezerl.training.algorithms import Algorithm
from squeezerl.training.hyperparameters import Hyperparameters
from squeezerl.training.qat import QatSettings
from squeezerl.training.tickets import TicketSettings

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
        ticket: neurons of a finished training to start with, at their initial weights.
        device: "cpu", "cuda" or "auto".
        threads: of torch.
        evaluations: how often to evaluate, evenly over the training.
        eval_episodes: complete episodes each time.
        checkpoint_seconds: time between checkpoints.
        track: where to log to, see `tracking`.

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
    ticket: TicketSettings | None = None
    device: str = "auto"
    threads: int = 1
    evaluations: int = 20
    eval_episodes: int = 10
    checkpoint_seconds: float = 120.0
    track: str | None = None

    def __post_init__(self) -> None:
        if self.ticket is not None and (self.init is not None or self.qat is not None):
            other = "init" if self.init is not None else "qat"
            raise InvalidArgumentError(
                f"--ticket-of and --{other} exclude each other: a ticket starts from the weights "
                "that its original started from, and is trained as that was"
            )
        check_numbers(self.eval_episodes, self.seed)
        for name, value, least, most in (
            ("steps", self.steps, 1, MAX_STEPS),
            ("threads", self.threads, 1, 1024),
            ("evaluations", self.evaluations, 1, 10_000),
            ("checkpoint-seconds", self.checkpoint_seconds, 0, 10**9),
        ):
            if not least <= value <= most:
                raise InvalidArgumentError(f"{name} must be {least} to {most:,}, not {value}")
        waits = self.hyperparameters.model.get("learning_starts", 0)
        if not self.algorithm.on_policy and waits >= self.steps:
            raise InvalidArgumentError(
                f"{self.algorithm.name} would learn nothing: it collects {waits:,} steps first, of "
                f"{self.steps:,}; more steps, or --hyperparams learning_starts:{self.steps // 10}"
            )

    @property
    def env_name(self) -> str:
        """The environment's id without the module that registers it: the name of its files."""
        return file_name(self.environment.id)


def file_name(env_id: str) -> str:
    """An environment's name in the names of files, without the module that registers it."""
    return env_id.rpartition(":")[2].replace("/", "-")
