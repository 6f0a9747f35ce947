"""What a training is told: every parameter, with its default, in one frozen object."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from squeezerl.errors import InvalidArgumentError
from squeezerl.evaluation.evaluate import MAX_EPISODES, MAX_SEED
from squeezerl.methods.pruning import StructuredPruning
from squeezerl.methods.trained_int8 import QuantizationAwareTraining

MAX_STEPS = 10_000_000_000
TICKET_CHOICES = ("l1", "l2", "random")
# Each tracker, and the packages that it needs: Weights & Biases reads TensorBoard's files.
TRACKERS: dict[str, tuple[str, ...]] = {
    "tensorboard": ("tensorboard",),
    "wandb": ("wandb", "tensorboard"),
}


def check_tracker(track: str | None) -> None:
    """Check that there is such a tracker, and that its packages are installed.

    Raises:
        InvalidArgumentError: if not.
    """
    if track is not None and track not in TRACKERS:
        raise InvalidArgumentError(f"`track` {track!r} is not one of {', '.join(TRACKERS)}")
    for package in TRACKERS[track] if track else ():
        if importlib.util.find_spec(package) is None:
            raise InvalidArgumentError(
                f"`track={track}` needs {package}, which is not installed; "
                f"install it with: pip install 'squeezerl[{track}]'"
            )


@dataclass(frozen=True, kw_only=True)
class QatConfig:
    """How a policy is trained for int8.

    Args:
        spec: how weights and activations will be quantized.
        warmup: share of the training that runs in float, while the ranges are only observed.
        critic: quantize the critic as well. It is not deployed, so float serves it better.

    Raises:
        InvalidArgumentError: if `warmup` is out of range.
    """

    spec: QuantizationAwareTraining = field(default_factory=QuantizationAwareTraining)
    warmup: float = 0.1
    critic: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.warmup < 1:
            raise InvalidArgumentError(
                f"`warmup` is a share of the training, at least 0 and below 1, not {self.warmup}"
            )


@dataclass(frozen=True, kw_only=True)
class TicketConfig:
    """A lottery ticket: which neurons of a finished training learn again from their first weights.

    Args:
        of: folder of the finished training.
        choice: "l1" or "l2" for the neurons that pruning with this norm keeps, or "random".
        ratio: share of each hidden layer's neurons to leave out, as in `StructuredPruning`.

    Raises:
        SqueezeRLError: if the choice or the ratio is not allowed.
    """

    of: str | Path
    choice: str = "l2"
    ratio: float = 0.5

    def __post_init__(self) -> None:
        if self.choice not in TICKET_CHOICES:
            raise InvalidArgumentError(
                f"`choice` {self.choice!r} is not one of {', '.join(TICKET_CHOICES)}"
            )
        self.pruning()

    def pruning(self) -> StructuredPruning:
        """The pruning that this is a ticket of; a random ticket is as large as an L2 one."""
        return StructuredPruning(norm="l1" if self.choice == "l1" else "l2", ratio=self.ratio)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that a training can be told.

    Example:
        >>> config = TrainConfig(algorithm="sac", env="Hopper-v4", steps=50_000, qat=QatConfig())

    Args:
        algorithm: "trpo", "ppo", "ddpg", "td3", "sac", "a2c", "tqc", "dqn" or "qrdqn".
        env: a registered id, or `module:Id`. By default the environment of the agent that the
            training starts from (`init` or `ticket`); without such an agent it must be given.
        env_kwargs: passed to the environment.
        backend: "envpool" or "gymnasium" to insist on one.
        steps: environment steps, counted over all parallel environments. By default the published
            number for this environment, or 1,000,000.
        seed: of everything random; 0 by default.
        hyperparameters: paths of rl-zoo files and "key:value" pairs, which change the published
            settings; or a mapping with all settings as rl-zoo names them, which replaces them.
        qat: train for int8; the artifact to deploy is then in the folder `int8` of the output.
        init: agent whose weights to start from.
        prune: silence neurons as the training goes on; the artifact without them is then in the
            folder `pruned` of the output.
        ticket: train a lottery ticket of a finished training. Everything else that decides the
            result is then the original's and can be left out.
        evaluations: number of evaluations, spread evenly over the training.
        eval_episodes: complete episodes in each evaluation.
        checkpoint_seconds: time between checkpoints.
        track: "tensorboard" or "wandb", to log curves there.
        device: "auto", "cpu", "cuda" or "cuda:N".
        threads: number of threads that torch uses.

    Raises:
        InvalidArgumentError: if a value is out of range, or two exclude each other.
    """

    algorithm: str
    env: str | None = None
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    backend: str = "auto"
    steps: int | None = None
    seed: int | None = None
    hyperparameters: Sequence[str] | Mapping[str, Any] = ()
    qat: QatConfig | None = None
    init: str | Path | None = None
    prune: StructuredPruning | None = None
    ticket: TicketConfig | None = None
    evaluations: int = 20
    eval_episodes: int = 10
    checkpoint_seconds: float = 120.0
    track: str | None = None
    device: str = "auto"
    threads: int = 1

    def __post_init__(self) -> None:
        for name, value, kind in (
            ("qat", self.qat, QatConfig),
            ("prune", self.prune, StructuredPruning),
            ("ticket", self.ticket, TicketConfig),
        ):
            if value is not None and not isinstance(value, kind):
                raise InvalidArgumentError(f"`{name}` must be a {kind.__name__}, not {value!r}")
        if self.prune is not None and self.qat is not None:
            raise InvalidArgumentError("`prune` and `qat` exclude each other in one training")
        given = {"init": self.init, "qat": self.qat, "prune": self.prune}
        others = [name for name, value in given.items() if value is not None]
        if self.ticket is not None and others:
            other = others[0]
            raise InvalidArgumentError(
                f"`ticket` and `{other}` exclude each other: a ticket starts from the weights that "
                "its original started from, and is trained as the original was"
            )
        for name, number, least, most in (
            ("steps", self.steps, 1, MAX_STEPS),
            ("seed", self.seed, 0, MAX_SEED),
            ("evaluations", self.evaluations, 1, 10_000),
            ("eval_episodes", self.eval_episodes, 1, MAX_EPISODES),
            ("checkpoint_seconds", self.checkpoint_seconds, 0, 10**9),
            ("threads", self.threads, 1, 1024),
        ):
            if number is not None and not least <= number <= most:
                raise InvalidArgumentError(f"`{name}` must be {least} to {most:,}, not {number}")
        if self.device not in ("auto", "cpu") and not self.device.startswith("cuda"):
            raise InvalidArgumentError(
                f"`device` {self.device!r} is not one of auto, cpu, cuda, cuda:N"
            )
        if self.track is not None and self.track not in TRACKERS:
            raise InvalidArgumentError(
                f"`track` {self.track!r} is not one of {', '.join(TRACKERS)}"
            )
